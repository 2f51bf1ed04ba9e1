"""Schedule-free AdamW of pytorch_optimizer.

Gradients are taken at y, between the base iterate z and the average x; the result is x. The library
switches between y and x by interpolation, which rounds. Here x is computed into the model and y is
put back from a copy, so that an evaluation or a checkpoint never changes the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from pytorch_optimizer import ScheduleFreeAdamW

from tunery.config.optimizers.schedule_free import ScheduleFreeConfig
from tunery.optimizers.base import ParamGroup, TorchOptimizer


class ScheduleFree(TorchOptimizer):
    """The ``schedule_free`` optimizer.

    Args:
        config: Betas, epsilon, decay, clipping.
        groups: The trained parameters.
    """

    counters = ("step", "weight_sum", "lr_max")

    def __init__(self, config: ScheduleFreeConfig, groups: Sequence[ParamGroup]) -> None:
        super().__init__(config, groups)
        self._away = 1 - 1 / config.betas[0]  # from y, away from z: x = y + away * (z - y)
        self.use(ScheduleFreeAdamW, list(self.masters), betas=config.betas, eps=config.epsilon)
        self.ready(copies=("z",))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Put the averaged weights into the model; this takes a copy of the trained weights."""
        state = dict(self._states())
        with torch.no_grad():
            kept = {name: param.detach().clone() for name, param in self.params.items()}
            for name, param in self.params.items():
                param.copy_(torch.lerp(self.masters[name], state[name]["z"], self._away))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, param in self.params.items():
                    param.copy_(kept[name])
