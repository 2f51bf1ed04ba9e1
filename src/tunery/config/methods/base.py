"""What every method declares before anything is loaded."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from tunery.config.base import Kind
from tunery.measures import LOSS, Measure

Produces = Literal["text", "scores"]
"""What a trained model returns: text, or a score for a text (a reward model)."""


LOGPROB_BYTES = 4
"""Bytes of a stored log-probability."""


class MethodKind(Kind):
    """What the model learns from a row.

    Attributes:
        rows: The kind of rows that it learns from, a name in ``data.kinds``.
        chats: Whether its rows are rendered by a chat template.
        replays: Whether rows answered by the base model itself can be mixed in.
        produces: What the trained model returns. Scores need a model with a scalar head; samples,
            replay and forgetting, which make a model write text, do not apply to it.
        measures: What it reports at each step and evaluation, the loss first.
        best: The measure that selects the best checkpoint and stops a run early.
        rate_scale: Its usual learning rates, relative to the adapter's.
        unit: What its loss is averaged over, in words.
        models: Settings of its own that name a further model, which the run reads.
    """

    rows: ClassVar[str]
    chats: ClassVar[bool] = True
    replays: ClassVar[bool] = False
    produces: ClassVar[Produces] = "text"
    measures: ClassVar[tuple[Measure, ...]] = (LOSS,)
    best: ClassVar[str] = LOSS.name
    rate_scale: ClassVar[float] = 1.0
    unit: ClassVar[str] = "tokens"
    models: ClassVar[tuple[str, ...]] = ()

    def other_models(self) -> dict[str, str]:
        """The names of the further models that are set, by the path of their setting."""
        named = {f"method.{field}": str(getattr(self, field) or "") for field in self.models}
        return {path: name for path, name in named.items() if name.strip()}

    @property
    def keeps_models(self) -> bool:
        """Whether the further models stay in memory while it trains; else they are read before."""
        return True

    def stored_bytes(self, trained_tokens: int, config: Any) -> int:
        """Bytes in the run folder for what it computes before the first step.

        Args:
            trained_tokens: Those of all rows, also the held-out ones.
            config: All settings of the run.
        """
        return 0

    def check_vocabulary(self, size: int) -> None:
        """Check the settings against the vocabulary that the models of the run share.

        Args:
            size: Number of tokens.

        Raises:
            ConfigError: A setting needs more tokens.
        """

    def check_continued(self) -> None:
        """Check whether a run of this method may continue from an existing adapter.

        Raises:
            ConfigError: It needs the model before training, which the adapter has changed.
        """

    def reported(self) -> tuple[Measure, ...]:
        """What it reports with these settings, the loss first; by default ``measures``."""
        return self.measures
