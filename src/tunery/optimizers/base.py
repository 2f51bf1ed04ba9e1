"""What the loop asks of an optimizer, and any optimizer of torch behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from tunery.config.optimizers import OptimizerKind
from tunery.errors import RunError
from tunery.i18n import t
from tunery.optimizers.length import Length, length


@dataclass(frozen=True, slots=True)
class ParamGroup:
    """Trained parameters that are treated alike.

    Args:
        named: Parameters by name, all on one device.
        lr_scale: Factor on the learning rate.
        weight_decay: In place of the setting's; None takes the setting, on matrices only.
    """

    named: Sequence[tuple[str, nn.Parameter]]
    lr_scale: float = 1.0
    weight_decay: float | None = None


class Optimizer(Protocol):
    """One optimizer over the trained parameters, whose data and gradients it owns.

    Gradients are added up in fp32 over the micro batches of a step. Nothing of it is random.
    """

    num_parameters: int
    length: Length
    """How ``grad_norm`` measures."""

    @property
    def gradients(self) -> list[Tensor]:
        """The fp32 gradients, in as many tensors as it keeps them."""
        ...

    def zero(self) -> None:
        """Set all gradients to zero, in place."""
        ...

    def grad_norm(self) -> Tensor:
        """Length of the whole gradient, a 0-dim fp32 tensor; non-finite if any part is."""
        ...

    def step(self, learning_rate: float, grad_norm: float) -> None:
        """Clip by ``grad_norm`` (what ``grad_norm()`` gave) and take one step."""
        ...

    def is_finite(self) -> bool:
        """Whether every trained weight and every state is a finite number."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """Weights in fp32 and states by ``kind/parameter name``: views, valid until a step."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what ``state()`` of another process gave, bit for bit.

        Raises:
            RunError: Names or shapes differ from the parameters trained here.
        """
        ...


class TorchOptimizer:
    """Any optimizers of torch over fp32 masters, as one.

    A parameter that is fp32 is its own master; for one in a lower precision a master is kept, its
    gradient is added to the master's as soon as it is computed, and the master is rounded back
    into it after each step.

    Args:
        config: Clipping and, through ``make``, the rest.
        groups: What is trained.
    """

    def __init__(self, config: OptimizerKind, groups: Sequence[ParamGroup]) -> None:
        self.config = config
        self.length: Length = length
        self.masters: dict[str, nn.Parameter] = {}
        self._scales: dict[str, float] = {}
        self.decays: dict[str, float] = {}
        self._low: list[tuple[nn.Parameter, nn.Parameter]] = []
        for group in groups:
            for name, param in group.named:
                self.masters[name] = self._master(param)
                self._scales[name] = group.lr_scale
                usual = config.weight_decay if param.dim() >= 2 else 0.0
                self.decays[name] = usual if group.weight_decay is None else group.weight_decay
        self.num_parameters = sum(master.numel() for master in self.masters.values())
        self._parts: list[torch.optim.Optimizer] = []

    def use(self, make: Any, names: Sequence[str], **settings: Any) -> None:
        """Give some of the parameters to an optimizer of torch.

        Args:
            make: Its class; called with parameter groups and ``settings``.
            names: The parameters, by name.
            settings: Further arguments.
        """
        if not names:
            return
        groups = [
            {
                "params": [self.masters[name]],
                "weight_decay": self.decays[name],
                "lr": 0.0,
                "scale": self._scales[name],
            }
            for name in names
        ]
        self._parts.append(make(groups, **settings))

    def ready(self) -> None:
        """Make every state now and not at the first step, so that a checkpoint is complete."""
        kept = {name: master.detach().clone() for name, master in self.masters.items()}
        self.zero()
        for part in self._parts:
            part.step()
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(kept[name])
        for tensor in self._states().values():
            tensor.zero_()

    @property
    def gradients(self) -> list[Tensor]:
        """The fp32 gradients, one per parameter."""
        return [master.grad for master in self.masters.values() if master.grad is not None]

    def zero(self) -> None:
        """Set all gradients to zero, in place."""
        torch._foreach_zero_(self.gradients)

    def grad_norm(self) -> Tensor:
        """Length of the whole gradient."""
        return self.length(self.gradients)

    def step(self, learning_rate: float, grad_norm: float) -> None:
        """Clip and take one step."""
        limit = self.config.max_grad_norm
        if limit and grad_norm > limit:
            torch._foreach_mul_(self.gradients, limit / (grad_norm + 1e-6))
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = learning_rate * group["scale"]
            part.step()
        self._round_back()

    def is_finite(self) -> bool:
        """Whether every weight and every state is finite."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.state().values())

    def state(self) -> Mapping[str, Tensor]:
        """Masters and states by ``kind/parameter name``."""
        weights = {f"weight/{name}": master.detach() for name, master in self.masters.items()}
        return {**self._states(), **weights}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over a saved state, bit for bit."""
        check_same(self.state(), state)
        with torch.no_grad():
            for name, target in self.state().items():
                target.copy_(state[name])
        self._round_back()

    def _states(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        by_master = {id(master): name for name, master in self.masters.items()}
        for part in self._parts:
            for master, state in part.state.items():
                for kind, value in state.items():
                    if isinstance(value, Tensor):
                        found[f"{kind}/{by_master[id(master)]}"] = value
        return found

    def _master(self, param: nn.Parameter) -> nn.Parameter:
        if param.dtype == torch.float32:
            param.grad = torch.zeros_like(param)
            return param
        master = nn.Parameter(param.detach().float())
        master.grad = torch.zeros_like(master)
        self._low.append((param, master))
        param.register_post_accumulate_grad_hook(add_to(master.grad))
        return master

    def _round_back(self) -> None:
        if self._low:
            low, masters = zip(*self._low, strict=True)
            with torch.no_grad():
                torch._foreach_copy_(list(low), list(masters))


def check_same(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Compare names and shapes of two states.

    Raises:
        RunError: They differ.
    """
    if own.keys() != saved.keys():
        odd = sorted(own.keys() ^ saved.keys())[:3]
        raise RunError(
            t("The checkpoint trains other parameters than this run: {names}.",
              names=", ".join(odd))
        )  # fmt: skip
    for name, target in own.items():
        if target.shape != saved[name].shape:
            raise RunError(
                t("The checkpoint's {name} has shape {saved}, this run's {own}.",
                  name=name, saved=tuple(saved[name].shape), own=tuple(target.shape))
            )  # fmt: skip


def add_to(grad: Tensor) -> Any:
    """A hook that moves a low-precision gradient into an fp32 one."""

    def add(param: Tensor) -> None:
        if param.grad is not None:
            grad.add_(param.grad)
            param.grad = None

    return add
