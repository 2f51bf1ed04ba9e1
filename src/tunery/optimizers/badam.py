"""BAdam (Luo et al. 2024): Adam on one block of parameters at a time, in turn.

Only the block being trained has gradients and moving averages; they lie in buffers of the size of
the largest block. All other parameters need no gradient, so the backward pass ends at the block.
The averages begin anew with each block. Which block is trained is a function of the number of steps
taken.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tunery.config.optimizers.badam import BAdamConfig
from tunery.optimizers.base import ParamGroup, check_same
from tunery.optimizers.length import Length, length

LAYER = re.compile(r"(?:^|\.)(\d+)\.")
"""The first number in a parameter's name is that of its decoder block."""
REST = "rest"
"""The block of the parameters that belong to no decoder block."""


@dataclass
class _Member:
    """One parameter and its fp32 master, which is the parameter itself if it is fp32."""

    name: str
    param: nn.Parameter
    master: Tensor
    decay: float
    scale: float
    grad: Tensor | None = None
    """Its part of the gradient buffer while its block is trained."""


class BlockAdam:
    """Adam with decoupled decay on matrices, on one block of parameters at a time.

    Args:
        config: Order of the blocks, betas, decay, clipping.
        groups: The trained parameters, all on one device.
    """

    def __init__(self, config: BAdamConfig, groups: Sequence[ParamGroup]) -> None:
        self.config = config
        self.length: Length = length
        found: dict[str, list[_Member]] = {}
        for group in groups:
            for name, param in group.named:
                usual = config.weight_decay if param.dim() >= 2 else 0.0
                decay = usual if group.weight_decay is None else group.weight_decay
                master = param.detach().float()  # the same memory if it is fp32
                made = _Member(name, param, master, decay, group.lr_scale)
                layer = LAYER.search(name)
                found.setdefault(layer[1] if layer else REST, []).append(made)
        rest = found.pop(REST, [])
        self._blocks = [found[number] for number in sorted(found, key=int)]
        if config.train_embeddings or not self._blocks:
            self._blocks.append(rest)
        else:
            for member in rest:
                member.param.requires_grad_(False)
        self._members = {m.name: m for block in self._blocks for m in block}
        self.num_parameters = sum(m.master.numel() for m in self._members.values())
        for member in self._members.values():
            if member.param.dtype != torch.float32:
                member.param.register_post_accumulate_grad_hook(_adding(member))
        size = max(sum(m.master.numel() for m in block) for block in self._blocks)
        device = self._blocks[0][0].master.device
        self._grad, self._average, self._square = (
            torch.zeros(size, dtype=torch.float32, device=device) for _ in range(3)
        )
        self._step = torch.zeros((), dtype=torch.int64)
        self._activate()

    @property
    def gradients(self) -> list[Tensor]:
        """The gradient of the block being trained, one flat fp32 buffer."""
        return [self._grad[: self._size]]

    def zero(self) -> None:
        """Set the gradient to zero, in place."""
        self._grad.zero_()

    def grad_norm(self) -> Tensor:
        """Euclidean norm of the gradient of the block being trained."""
        return self.length(self.gradients)

    def step(self, learning_rate: float, grad_norm: float) -> None:
        """Clip, take one step of the block, and go on to the next block if its turn is over."""
        limit = self.config.max_grad_norm
        if limit and grad_norm > limit:
            self._grad.mul_(limit / (grad_norm + 1e-6))
        (beta1, beta2), interval = self.config.betas, self.config.switch_interval
        inside = int(self._step) % interval + 1
        self._average.lerp_(self._grad, 1 - beta1)
        self._square.mul_(beta2).addcmul_(self._grad, self._grad, value=1 - beta2)
        root = self._square.div(1 - beta2**inside).sqrt_().add_(self.config.epsilon)
        update = self._average.div(1 - beta1**inside).div_(root)
        offset = 0
        with torch.no_grad():
            for member in self._block:
                rate, end = learning_rate * member.scale, offset + member.master.numel()
                member.master.mul_(1 - rate * member.decay)
                part = update[offset:end].view(member.master.shape)
                member.master.add_(part, alpha=-rate)
                _round_back(member)
                offset = end
        self._step += 1
        if int(self._step) % interval == 0:
            self._average.zero_()
            self._square.zero_()
            self._activate()

    def evaluating(self) -> AbstractContextManager[None]:
        """The weights being trained are the result."""
        return nullcontext()

    def is_finite(self) -> bool:
        """Whether every weight and every state is finite."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.state().values())

    def state(self) -> Mapping[str, Tensor]:
        """Masters of all blocks, and the averages of the block being trained."""
        weights = {f"weight/{name}": member.master for name, member in self._members.items()}
        averages = {"exp_avg/block": self._average, "exp_avg_sq/block": self._square}
        return {**averages, "step/block": self._step, **weights}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore a saved state, bit for bit."""
        check_same(self.state(), state)
        with torch.no_grad():
            for name, target in self.state().items():
                target.copy_(state[name])
        for member in self._members.values():
            _round_back(member)
        self._activate()

    def _activate(self) -> None:
        """Give the gradient buffer to the block whose turn it is."""
        for member in self._members.values():
            member.param.requires_grad_(False)
            member.param.grad = member.grad = None
        self._block, offset = self._blocks[self._turn()], 0
        self._grad.zero_()
        for member in self._block:
            end = offset + member.master.numel()
            member.grad = self._grad[offset:end].view(member.master.shape)
            member.param.requires_grad_(True)
            if member.param.dtype == torch.float32:
                member.param.grad = member.grad
            offset = end
        self._size = offset

    def _turn(self) -> int:
        """Index of the block to train: a function of the steps taken."""
        count = len(self._blocks)
        whole, place = divmod(int(self._step) // self.config.switch_interval, count)
        order = list(range(count))
        match self.config.switch_order:
            case "ascending":
                pass
            case "descending":
                order.reverse()
            case "random":
                random.Random(whole).shuffle(order)
        return order[place]


def _adding(member: _Member):
    def add(param: Tensor) -> None:
        if member.grad is not None and param.grad is not None:
            member.grad.add_(param.grad)
        param.grad = None

    return add


def _round_back(member: _Member) -> None:
    if member.param.dtype != torch.float32:
        with torch.no_grad():
            member.param.copy_(member.master)
