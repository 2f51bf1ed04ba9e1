"""RMSNorm with a short backward pass, for models whose norm weights are frozen.

The forward pass is the model's own, bit for bit. Autograd would go back through its casts and
powers in ten passes over fp32 copies; here the closed form takes three. ``install`` replaces a
norm only after the closed form has agreed with autograd on random numbers; norms of one class may
differ (some of Gemma 4's have no weight), so each combination of settings is checked.

With y = w * x / rms(x), rms(x)^2 = mean(x^2) + eps and h = w * dy:
dx = (h - x * mean(h * x) / rms^2) / rms  (Zhang and Sennrich 2019).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


def install(model: nn.Module) -> int:
    """Give every RMSNorm that fits the closed form a fast backward pass; return their number."""
    count = 0
    for module in list(model.modules()):
        if isinstance(module, FastNorm):
            count += 1
            continue
        if not _looks_fit(module):
            continue
        marks = _marks(module)
        if marks not in _fast:
            _fast[marks] = _fast_class(module)
        fast = _fast[marks]
        if fast is not None:
            module.__class__ = fast
            count += 1
    return count


def uninstall(model: nn.Module) -> None:
    """Restore the original class of every norm."""
    for module in model.modules():
        if isinstance(module, FastNorm):
            module.__class__ = module.plain_class  # pyright: ignore[reportAttributeAccessIssue]


class FastNorm(nn.Module):
    """Mixin that precedes a model's own norm class."""

    plain_class: type[nn.Module]
    weight_offset: float

    def forward(self, x: Tensor) -> Tensor:
        """Same as the model's own norm."""
        weight: Tensor = self.weight  # pyright: ignore[reportAssignmentType]
        if not (torch.is_grad_enabled() and x.requires_grad) or weight.requires_grad:
            return self.plain_class.forward(self, x)
        return _Norm.apply(x, self)  # pyright: ignore[reportReturnType]


Marks = tuple[type[nn.Module], tuple[tuple[str, object], ...]]
_fast: dict[Marks, type[FastNorm] | None] = {}


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, module: FastNorm) -> Tensor:
        ctx.save_for_backward(x)
        ctx.module = module
        return module.plain_class.forward(module, x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (x,) = ctx.saved_tensors
        module: FastNorm = ctx.module
        weight: Tensor = module.weight  # pyright: ignore[reportAssignmentType]
        if module.weight_offset:
            weight = weight.float() + module.weight_offset
        h = grad_outputs[0] * weight
        width = x.shape[-1]
        power = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square_()
        inverse = (power / width + _epsilon(module)).rsqrt_()
        dot = (h * x).sum(-1, keepdim=True, dtype=torch.float32)
        dot.mul_(inverse.square()).mul_(-1.0 / width)
        grad = torch.addcmul(h.float(), x, dot).mul_(inverse)
        return grad.to(x.dtype), None


def _epsilon(module: nn.Module) -> float:
    epsilon = getattr(module, "variance_epsilon", None)
    return float(epsilon if epsilon is not None else getattr(module, "eps", 0.0))


def _looks_fit(module: nn.Module) -> bool:
    """Whether this is an RMSNorm with a single weight and nothing else."""
    weight = getattr(module, "weight", None)
    return (
        type(module).__name__.endswith("RMSNorm")
        and isinstance(weight, nn.Parameter)
        and weight.dim() == 1
        and [name for name, _ in module.named_parameters()] == ["weight"]
    )


def _marks(module: nn.Module) -> Marks:
    """What the formula may depend on: the class, and the instance's settings."""
    switches = ((k, v) for k, v in vars(module).items() if isinstance(v, bool | str | None))
    return type(module), tuple(sorted((k, str(v)) for k, v in switches if k != "training"))


def _fast_class(module: nn.Module) -> type[FastNorm] | None:
    """The fast class of a norm, or None if it uses a different formula."""
    kind = type(module)
    for offset in (0.0, 1.0):  # Gemma stores the weight minus one
        fast = type(kind.__name__, (FastNorm, kind), {"plain_class": kind, "weight_offset": offset})
        if _agrees(module, fast):
            return fast
    return None


def _agrees(module: nn.Module, fast: type[FastNorm]) -> bool:
    generator = torch.Generator().manual_seed(0)
    width = len(cast(Tensor, module.weight))
    kind = type(module)
    trial = kind.__new__(kind)
    nn.Module.__init__(trial)
    for name, value in vars(module).items():
        if name not in vars(trial):
            setattr(trial, name, value)
    trial.weight = nn.Parameter(torch.randn(width, generator=generator), requires_grad=False)
    x = torch.randn(3, width, generator=generator).requires_grad_()
    grad_out = torch.randn(3, width, generator=generator)
    try:
        (expected,) = torch.autograd.grad(trial(x), x, grad_out)
    except (TypeError, RuntimeError):  # a norm with different arguments or shapes
        return False
    trial.__class__ = fast
    (found,) = torch.autograd.grad(trial(x), x, grad_out)
    return bool(torch.allclose(found, expected, rtol=1e-4, atol=1e-5))
