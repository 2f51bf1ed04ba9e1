"""The optimizer interface of the training loop, and a wrapper for any torch optimizers."""

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
    """Trained parameters that share the same options.

    Args:
        named: Parameters by name, all on one device.
        lr_scale: Factor on the learning rate.
        weight_decay: Overrides the setting; None applies the setting, to matrices only.
    """

    named: Sequence[tuple[str, nn.Parameter]]
    lr_scale: float = 1.0
    weight_decay: float | None = None


class Optimizer(Protocol):
    """An optimizer over the trained parameters; it owns their data and gradients.

    Gradients are accumulated in fp32 over the micro batches of a step. Everything is deterministic.
    """

    num_parameters: int
    length: Length
    """The function that ``grad_norm`` uses."""

    @property
    def gradients(self) -> list[Tensor]:
        """The fp32 gradients, one tensor per internal buffer."""
        ...

    def zero(self) -> None:
        """Set all gradients to zero, in place."""
        ...

    def grad_norm(self) -> Tensor:
        """Euclidean norm of the whole gradient, 0-dim fp32; non-finite if any part is."""
        ...

    def step(self, learning_rate: float, grad_norm: float) -> None:
        """Clip by ``grad_norm`` (the value of ``grad_norm()``) and take one step."""
        ...

    def is_finite(self) -> bool:
        """Whether every trained weight and every state is a finite number."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """fp32 weights and states, keyed ``kind/parameter name``; views, valid until a step."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state returned by ``state()`` in another process, bit for bit.

        Raises:
            RunError: Names or shapes differ from the parameters trained here.
        """
        ...


class TorchOptimizer:
    """Combines one or more torch optimizers over fp32 masters into one optimizer.

    An fp32 parameter is its own master. A parameter in a lower precision has a separate master: its
    gradient is added to the master's as soon as it is computed, and the master is rounded back
    into it after each step.

    Args:
        config: Clipping and weight decay; the other settings are passed to ``use``.
        groups: The trained parameters.
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
        """Assign some of the parameters to a torch optimizer.

        Args:
            make: The optimizer class; called with parameter groups and ``settings``.
            names: Names of the parameters.
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
        """Create all states now, not at the first step, so that a checkpoint is complete."""
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
        """Euclidean norm of the whole gradient."""
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
        """Masters and states, keyed ``kind/parameter name``."""
        weights = {f"weight/{name}": master.detach() for name, master in self.masters.items()}
        return {**self._states(), **weights}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore a saved state, bit for bit."""
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
    """Check that two states have the same names and shapes.

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
    """A hook that adds a low-precision gradient to an fp32 one and clears it."""

    def add(param: Tensor) -> None:
        if param.grad is not None:
            grad.add_(param.grad)
            param.grad = None

    return add
