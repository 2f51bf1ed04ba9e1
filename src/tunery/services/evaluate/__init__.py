"""Evaluations of models on rows, run as jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._facade import names_of

if TYPE_CHECKING:
    from tunery.services.evaluate._evaluating import Wanted, as_csv, evaluate_job, start
    from tunery.services.evaluate._held_out import HeldOut, held_out
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "HeldOut", "Wanted", "as_csv", "evaluate_job", "held_out", "start",
]  # fmt: skip
