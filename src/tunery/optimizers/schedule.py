"""The learning rate schedule, a pure function of the step with no state to save or restore."""

from __future__ import annotations

import math

from tunery.config.optimizers import OptimizerKind


def warmup_steps(config: OptimizerKind, num_steps: int) -> int:
    """Number of warm-up steps; always fewer than the steps of the run."""
    wanted = (
        config.warmup_steps
        if config.warmup_steps is not None
        else round(config.warmup_ratio * num_steps)
    )
    return min(wanted, max(0, num_steps - 1))


def learning_rate(step: int, num_steps: int, config: OptimizerKind) -> float:
    """Learning rate of one optimizer step.

    Args:
        step: 1 for the first step, ``num_steps`` for the last.
        num_steps: Steps of the whole run.
        config: Peak, shape, warm-up and floor.

    Returns:
        The rate: it rises linearly to the peak during warm-up (the first step is already above
        zero), then follows the schedule down towards ``min_learning_rate_ratio`` of the peak, which
        it would reach one step after the last, so that no step is wasted at a rate of zero.
    """
    peak, warmup = config.learning_rate, warmup_steps(config, num_steps)
    if step <= warmup:
        return peak * step / (warmup + 1)
    progress = (step - 1 - warmup) / max(1, num_steps - warmup)
    floor = config.min_learning_rate_ratio
    match config.schedule:
        case "constant":
            return peak
        case "linear":
            return peak * (floor + (1 - floor) * (1 - progress))
        case "cosine":
            return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress)))
