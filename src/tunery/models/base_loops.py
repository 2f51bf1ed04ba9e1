"""Detect adapters whose base model is, directly or through other adapters, themselves."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path

from tunery.commands import quoted
from tunery.errors import ModelError
from tunery.i18n import t


class BaseLoop(Exception):
    """An adapter is, directly or through other adapters, its own base model.

    Args:
        chain: The folders of the loop; the first one is repeated at the end.
    """

    def __init__(self, chain: list[Path]) -> None:
        super().__init__()
        self.chain = chain

    def as_error(self, name: str, adapter: Path) -> ModelError:
        """The error for the user who asked for ``name``."""
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


RESOLVING: ContextVar[tuple[Path, ...]] = ContextVar("resolving", default=())
"""Folders of the adapters whose base models are being resolved, outermost first."""


def refuse_loop(adapter: Path) -> None:
    """Refuse an adapter whose base model is already being resolved.

    Raises:
        BaseLoop: With the loop.
    """
    passed, here = RESOLVING.get(), adapter.resolve()
    if here in passed:
        raise BaseLoop([*passed[passed.index(here) :], here])
