"""AdamW on flat fp32 buffers: one kernel per step, one norm, no sync per tensor.

The trained parameters of a group share one flat fp32 master buffer and one flat gradient buffer. An
fp32 parameter becomes a view of the master. A parameter in a lower precision (full or partial
training in bf16) is kept for the computation; its gradient is added to the fp32 buffer as soon as
it is computed, and the master is rounded back into it after each step. This costs 16 bytes per
parameter plus the low-precision copy, and needs no autocast in the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tunery.config.optimizers.adamw import AdamWConfig
from tunery.optimizers.base import ParamGroup, add_to, check_same
from tunery.optimizers.length import Length, length

Named = Sequence[tuple[str, nn.Parameter]]


@dataclass
class _Group:
    """Parameters with one weight decay, in one flat buffer."""

    names: list[str]
    params: list[nn.Parameter]
    master: nn.Parameter
    grad: Tensor
    low: list[Tensor]
    low_masters: list[Tensor]


class FlatAdamW:
    """AdamW (Loshchilov and Hutter 2019) with decoupled decay on matrices only.

    Args:
        config: Betas, epsilon, weight decay, clipping.
        groups: Trained parameters, all on one device; this object takes ownership of their data
            and gradients.
    """

    def __init__(self, config: AdamWConfig, groups: Sequence[ParamGroup]) -> None:
        self.length: Length = length
        self._max_norm = config.max_grad_norm
        self._groups: list[_Group] = []
        adamw_groups: list[dict[str, object]] = []
        for each in groups:
            for members, usual in _by_decay(each, config.weight_decay):
                decay = usual if each.weight_decay is None else each.weight_decay
                group = _flatten(members)
                self._groups.append(group)
                adamw_groups.append(
                    {"params": [group.master], "weight_decay": decay, "scale": each.lr_scale}
                )
        self.num_parameters = sum(group.master.numel() for group in self._groups)
        self._adamw = torch.optim.AdamW(
            adamw_groups, lr=0.0, betas=config.betas, eps=config.epsilon, fused=True
        )
        for group in self._groups:
            # Created now, not at the first step, so that a checkpoint of step 0 is complete.
            self._adamw.state[group.master] = {
                "step": torch.zeros((), dtype=torch.float32, device=group.master.device),
                "exp_avg": torch.zeros_like(group.master),
                "exp_avg_sq": torch.zeros_like(group.master),
            }

    @property
    def gradients(self) -> list[Tensor]:
        """The flat fp32 gradient buffers, one per group."""
        return [group.grad for group in self._groups]

    def zero(self) -> None:
        """Set all gradients to zero, in place."""
        for group in self._groups:
            group.grad.zero_()

    def grad_norm(self) -> Tensor:
        """Euclidean norm of the whole gradient, 0-dim fp32; non-finite if any part is."""
        return self.length(group.grad for group in self._groups)

    def step(self, learning_rate: float, grad_norm: float) -> None:
        """Clip by ``grad_norm`` (the value of ``grad_norm()``) and take one step."""
        if self._max_norm and grad_norm > self._max_norm:
            for group in self._groups:
                group.grad.mul_(self._max_norm / (grad_norm + 1e-6))
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate * group["scale"]
        self._adamw.step()
        self._round_back()

    def evaluating(self) -> AbstractContextManager[None]:
        """The weights being trained are the result."""
        return nullcontext()

    def is_finite(self) -> bool:
        """Whether every trained weight and every optimizer state is a finite number."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self._flat().values())

    def state(self) -> dict[str, Tensor]:
        """Masters and states, keyed ``kind/parameter name``; views, valid until the next step."""
        found: dict[str, Tensor] = {}
        for group in self._groups:
            moments = self._adamw.state[group.master]
            for kind in ("exp_avg", "exp_avg_sq"):
                for name, view in _views(group, moments[kind]):
                    found[f"{kind}/{name}"] = view
            for name, view in _views(group, group.master.detach()):
                found[f"weight/{name}"] = view
        found["step"] = self._adamw.state[self._groups[0].master]["step"]
        return found

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state returned by ``state()`` in another process, bit for bit.

        Raises:
            RunError: Names or shapes differ from the parameters trained here.
        """
        own = self.state()
        check_same(own, state)
        for name, target in own.items():
            with torch.no_grad():
                target.copy_(state[name])
        for group in self._groups:
            self._adamw.state[group.master]["step"].copy_(state["step"])
        self._round_back()

    def _flat(self) -> dict[str, Tensor]:
        flat: dict[str, Tensor] = {}
        for i, group in enumerate(self._groups):
            state = self._adamw.state[group.master]
            flat[f"master{i}"] = group.master.detach()
            flat[f"exp_avg{i}"], flat[f"exp_avg_sq{i}"] = state["exp_avg"], state["exp_avg_sq"]
        return flat

    def _round_back(self) -> None:
        for group in self._groups:
            if group.low:
                with torch.no_grad():
                    torch._foreach_copy_(group.low, group.low_masters)


def _by_decay(group: ParamGroup, decay: float) -> Iterator[tuple[Named, float]]:
    """Split a group into matrices, with decay, and vectors, without; empty parts are omitted."""
    matrices = [(name, param) for name, param in group.named if param.dim() >= 2]
    vectors = [(name, param) for name, param in group.named if param.dim() < 2]
    yield from ((found, rate) for found, rate in ((matrices, decay), (vectors, 0.0)) if found)


def _flatten(members: Named) -> _Group:
    params = [param for _, param in members]
    device, total = params[0].device, sum(param.numel() for param in params)
    with torch.no_grad():
        master = torch.empty(total, dtype=torch.float32, device=device)
        grad = torch.zeros(total, dtype=torch.float32, device=device)
        low: list[Tensor] = []
        low_masters: list[Tensor] = []
        offset = 0
        for param in params:
            end = offset + param.numel()
            weight_view = master[offset:end].view(param.shape)
            grad_view = grad[offset:end].view(param.shape)
            weight_view.copy_(param)
            if param.dtype == torch.float32:
                param.data, param.grad = weight_view, grad_view
            else:
                low.append(param)
                low_masters.append(weight_view)
                param.register_post_accumulate_grad_hook(add_to(grad_view))
            offset = end
    flat = nn.Parameter(master)
    flat.grad = grad
    return _Group([name for name, _ in members], params, flat, grad, low, low_masters)


def _views(group: _Group, flat: Tensor) -> list[tuple[str, Tensor]]:
    views: list[tuple[str, Tensor]] = []
    offset = 0
    for name, param in zip(group.names, group.params, strict=True):
        end = offset + math.prod(param.shape)
        views.append((name, flat[offset:end].view(param.shape)))
        offset = end
    return views
