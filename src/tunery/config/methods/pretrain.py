"""The light half of continued pretraining."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from tunery.config.base import Finding
from tunery.config.methods.base import MethodKind
from tunery.i18n import t


class PretrainConfig(MethodKind):
    """Continued pretraining: learn every token of plain text."""

    build = "tunery.methods.likelihood:Likelihood"
    rows = "text"
    chats = False

    type: Literal["pretrain"] = "pretrain"
    """Continued pretraining on plain text."""

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Plain text has no template and no answers, and all of it is trained on."""
        if config.model.template is not None:
            yield (
                "model.template",
                t(
                    "model.template cannot be combined with method.type={kind}: plain "
                    "text has no template.",
                    kind=self.type,
                ),
                t("Remove model.template, or choose another method.type."),
            )
        if config.data.loss_on == "last":
            yield (
                "data.loss_on",
                t(
                    "data.loss_on=last cannot be combined with method.type={kind}: every "
                    "token is trained on.",
                    kind=self.type,
                ),
                t("Remove data.loss_on, or choose another method.type."),
            )
