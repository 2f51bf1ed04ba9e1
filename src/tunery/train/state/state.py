"""The state of a run besides weights and optimizer, saved as JSON in a checkpoint.

It contains no generator state. Every step seeds the generators from (seed, step), so dropout does
not depend on earlier draws: an evaluation, a resume or a halved micro batch in an earlier step
changes nothing.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch


@dataclass
class State:
    """The position of a run; only the loop and the measurements change it.

    Args:
        step: Steps done, including those skipped because of a non-finite gradient.
        tokens: Tokens computed so far.
        trained_tokens: Tokens that carried loss so far.
        elapsed_seconds: Time spent in steps, over all sessions of the run.
        micro_batch_tokens: Maximum tokens computed at once; halved when memory runs out.
        num_threads: CPU threads of the computation; a resumed run uses the same number.
        evaluated_at: Step of the last complete evaluation, -1 before the first.
        best_step: Step with the best evaluation.
        best_value: Its value of the deciding measure, by default the loss.
        evals_without_better: Evaluations since then.
        non_finite_in_row: Consecutive skipped steps.
        probe_loss_before: Loss on the general probe set before training, the forgetting baseline.
        stopped_early: Whether patience ran out.
        answered_before: Whether the sample prompts were answered before training; if not (a run of
            an earlier version), held-out rows are not answered later either.
        method: What the method's next steps need of the earlier ones.
    """

    step: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    elapsed_seconds: float = 0.0
    micro_batch_tokens: int = 0
    num_threads: int = 1
    evaluated_at: int = -1
    best_step: int | None = None
    best_value: float | None = None
    evals_without_better: int = 0
    non_finite_in_row: int = 0
    probe_loss_before: float | None = None
    stopped_early: bool = False
    answered_before: bool = False
    method: dict[str, float] = field(default_factory=dict[str, float])

    def as_dict(self) -> dict[str, Any]:
        """Plain data; ``from_dict`` restores exactly the same state."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> State:
        """Read a saved state; unknown keys from a later version are ignored."""
        known = {each.name for each in fields(cls)}
        named = {_FORMER.get(key, key): value for key, value in data.items()}
        return cls(**{key: value for key, value in named.items() if key in known})


_FORMER = {"best_loss": "best_value"}
"""Field names in earlier checkpoints, mapped to the current ones."""


def seed_step(seed: int, step: int) -> None:
    """Seed all generators for one step (step 0: creating the adapter)."""
    words = np.random.SeedSequence([seed, step]).generate_state(2, np.uint32)
    word = int(words[0]) << 32 | int(words[1])
    torch.manual_seed(word)  # also seeds every accelerator
    np.random.seed(int(words[0]))
    random.seed(word)
