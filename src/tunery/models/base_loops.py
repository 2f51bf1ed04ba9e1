"""Adapters that name themselves, or each other in a circle, as their base model."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path

from tunery.commands import quoted
from tunery.errors import ModelError
from tunery.i18n import t


class LeadsBack(Exception):
    """An adapter's base is, over whatever others, that adapter."""

    def __init__(self, chain: list[Path]) -> None:
        super().__init__()
        self.chain = chain

    def told(self, name: str, adapter: Path) -> ModelError:
        """The sentence for whoever asked for ``name``."""
        if len(self.chain) == 2:
            message = t("{path}: adapter_config.json names this adapter itself as its base model.",
                        path=self.chain[0])  # fmt: skip
        else:
            message = t("{path}: the base models of these adapters form a loop: {chain}.",
                        path=adapter, chain=" → ".join(map(str, self.chain)))  # fmt: skip
        return ModelError(
            message,
            fix=t("Set the base model it was trained on: tunery models base {name} MODEL",
                  name=quoted(name)),
            code="base_loop",
            path=adapter,
        )  # fmt: skip


ON_THE_WAY: ContextVar[tuple[Path, ...]] = ContextVar("on_the_way", default=())
"""The adapters whose base is being looked for."""


def refuse_loop(adapter: Path) -> None:
    """Refuse an adapter on the way to whose base it was passed already.

    Raises:
        LeadsBack: It was.
    """
    passed, here = ON_THE_WAY.get(), adapter.resolve()
    if here in passed:
        raise LeadsBack([*passed[passed.index(here) :], here])
