"""The learning rate schedule, a pure function of the step with no state to save or restore."""

from __future__ import annotations

import math

from tunery.config.optimizers import OptimizerKind

TIMESCALE = 10_000
"""Of the inverse square root without a warm-up, as in transformers."""


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
    decaying = max(1, num_steps - warmup)
    shape = _shape(config, step - 1 - warmup, decaying, warmup)
    return peak * (config.min_learning_rate_ratio * (1 - shape) + shape)


def _shape(config: OptimizerKind, done: int, steps: int, warmup: int) -> float:
    """The share of the peak after ``done`` of the ``steps`` that follow the warm-up, from 1 to 0.

    The formulas are those of transformers; ``rex`` is that of Chen et al. 2021.
    """
    progress = done / steps
    match config.schedule:
        case "constant":
            return 1.0
        case "linear":
            return 1 - progress
        case "cosine":
            return _cosine(progress)
        case "cosine_with_restarts":
            return _cosine(config.schedule_num_cycles * progress % 1.0)
        case "polynomial":
            return (1 - progress) ** config.schedule_power
        case "inverse_sqrt":
            timescale = warmup or TIMESCALE
            return math.sqrt(timescale / (done + timescale))
        case "rex":
            return (1 - progress) / (0.5 + 0.5 * (1 - progress))
        case "warmup_stable_decay":
            ratio = config.schedule_decay_ratio
            return _decayed(max(0.0, (progress - (1 - ratio)) / ratio), config.schedule_decay_type)


def _decayed(progress: float, kind: str) -> float:
    match kind:
        case "linear":
            return 1 - progress
        case "1-sqrt":
            return 1 - math.sqrt(progress)
        case _:
            return _cosine(progress)


def _cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))
