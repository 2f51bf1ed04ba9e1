"""What every method declares before anything is loaded."""

from __future__ import annotations

from typing import ClassVar

from tunery.config.base import Kind
from tunery.measures import LOSS, Measure


class MethodKind(Kind):
    """What the model learns from a row.

    Attributes:
        rows: The kind of rows that it learns from, a name in ``data.kinds``.
        chats: Whether its rows are rendered by a chat template.
        replays: Whether rows answered by the base model itself can be mixed in.
        reference: Whether it needs the model as it was before training.
        measures: What it reports at each step and evaluation, the loss first.
        best: The measure that selects the best checkpoint and stops a run early.
        rate_scale: Its usual learning rates, relative to the adapter's.
        unit: What its loss is averaged over, in words.
    """

    rows: ClassVar[str]
    chats: ClassVar[bool] = True
    replays: ClassVar[bool] = False
    reference: ClassVar[bool] = False
    measures: ClassVar[tuple[Measure, ...]] = (LOSS,)
    best: ClassVar[str] = LOSS.name
    rate_scale: ClassVar[float] = 1.0
    unit: ClassVar[str] = "tokens"
