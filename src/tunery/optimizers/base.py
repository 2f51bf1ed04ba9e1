"""The optimizer interface of the training loop, and a wrapper for any torch optimizers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

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

    def evaluating(self) -> AbstractContextManager[None]:
        """Put the weights that are the result so far into the model, and take them out again.

        They differ from those being trained if the optimizer averages weights. The weights being
        trained are afterwards what they were, bit for bit.
        """
        ...

    def is_finite(self) -> bool:
        """Whether every trained weight and every state is a finite number."""
        ...

    def state(self) -> Mapping[str, Tensor]:
        """fp32 weights and states, keyed ``kind/parameter name``; views, valid until a step.

        The weights are those of the kind ``weight``. Not to be called within ``evaluating``.
        """
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
    into it after each step. Numbers in the states and the counters of the parameter groups are
    saved as tensors without dimensions.

    Args:
        config: Clipping and weight decay; the other settings are passed to ``use``.
        groups: The trained parameters.
    """

    counters: ClassVar[tuple[str, ...]] = ("step",)
    """Numbers in a parameter group that a step changes."""

    def __init__(self, config: OptimizerKind, groups: Sequence[ParamGroup]) -> None:
        self.config = config
        self.length: Length = length
        self.params: dict[str, nn.Parameter] = {}
        self.masters: dict[str, nn.Parameter] = {}
        self._scales: dict[str, float] = {}
        self.decays: dict[str, float] = {}
        self._low: list[tuple[nn.Parameter, nn.Parameter]] = []
        for group in groups:
            for name, param in group.named:
                self.params[name], self.masters[name] = param, self._master(param)
                self._scales[name] = group.lr_scale
                usual = config.weight_decay if param.dim() >= 2 else 0.0
                self.decays[name] = usual if group.weight_decay is None else group.weight_decay
        self.num_parameters = sum(master.numel() for master in self.masters.values())
        self._parts: list[torch.optim.Optimizer] = []
        self._fixed: set[str] = set()

    def use(
        self, make: Any, names: Sequence[str], *, fixed: Collection[str] = (), **settings: Any
    ) -> None:
        """Assign some of the parameters to a torch optimizer.

        Args:
            make: The optimizer class; called with parameter groups and ``settings``.
            names: Names of the parameters.
            fixed: Kinds of states that never change and are not saved.
            settings: Further arguments.
        """
        groups: dict[tuple[float, float], dict[str, Any]] = {}
        for name in names:
            decay, scale = self.decays[name], self._scales[name]
            empty = {"params": [], "weight_decay": decay, "lr": 0.0, "scale": scale}
            groups.setdefault((decay, scale), empty)["params"].append(self.masters[name])
        if groups:
            self._fixed |= set(fixed)
            self._parts.append(make(list(groups.values()), **settings))

    def ready(self, *, copies: Collection[str] = ()) -> None:
        """Create all states now, not at the first step, so that a checkpoint is complete.

        Args:
            copies: Kinds of states that begin as a copy of the weights; all others begin at zero.
        """
        kept = {name: master.detach().clone() for name, master in self.masters.items()}
        begun = [{n: group.get(n, 0) for n in self.counters} for group in self._groups()]
        self.zero()
        for part in self._parts:
            part.step()
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(kept[name])
            for name, tensor in self._tensors():
                kind, _, owner = name.partition("/")
                if kind in copies:
                    tensor.copy_(kept[owner])
                else:
                    tensor.zero_()
        for _, state, kind in self._numbers():
            state[kind] = 0
        for group, values in zip(self._groups(), begun, strict=True):
            group.update((name, value) for name, value in values.items() if name in group)

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

    def evaluating(self) -> AbstractContextManager[None]:
        """The weights being trained are the result."""
        return nullcontext()

    def is_finite(self) -> bool:
        """Whether every weight and every state is finite."""
        return all(bool(torch.isfinite(tensor).all()) for tensor in self.state().values())

    def state(self) -> Mapping[str, Tensor]:
        """Masters and states, keyed ``kind/parameter name``."""
        weights = {f"weight/{name}": master.detach() for name, master in self.masters.items()}
        numbers = {name: _tensor(place[key]) for name, place, key in self._numbers()}
        return {**dict(self._tensors()), **numbers, **weights}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restore a saved state, bit for bit."""
        own = self.state()
        check_same(own, state)
        with torch.no_grad():
            for name, target in own.items():
                target.copy_(state[name])
        for name, place, key in self._numbers():
            place[key] = type(place[key])(state[name].item())
        self._round_back()

    def _groups(self) -> list[dict[str, Any]]:
        return [group for part in self._parts for group in part.param_groups]

    def _states(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The state of each parameter by its name."""
        by_master = {id(master): name for name, master in self.masters.items()}
        for part in self._parts:
            for master, state in part.state.items():
                yield by_master[id(master)], state

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, state in self._states():
            for kind, value in state.items():
                if isinstance(value, Tensor) and kind not in self._fixed:
                    yield f"{kind}/{name}", value

    def _numbers(self) -> Iterator[tuple[str, dict[str, Any], str]]:
        """Numbers that change: name, and the dictionary and key that hold it."""
        for name, state in self._states():
            for kind, value in state.items():
                if type(value) in (int, float):
                    yield f"{kind}/{name}", state, kind
        for number, group in enumerate(self._groups()):
            for kind in self.counters:
                if kind in group:
                    yield f"{kind}/group {number}", group, kind

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


def _tensor(number: float) -> Tensor:
    return torch.tensor(number, dtype=torch.int64 if type(number) is int else torch.float64)


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
