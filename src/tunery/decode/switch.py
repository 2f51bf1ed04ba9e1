"""Adapters on one loaded base model: activated, switched and disabled without changing its weights.

PEFT handles the format and every kind of adapter. For plain LoRA on linear layers, which is nearly
all of them, a decoding step is mostly the overhead of calling small operations. If the layers are
prepacked anyway and there is enough memory, the active adapter runs as blocked copies of the merged
weights and decodes as fast as the base model; the base weights are never written. Otherwise those
layers get a forward pass with as few operations as possible. With no adapter active, the base
layers run as if there were no adapters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from tunery.decode.prepack import fits, pack, packed_linear, prepack

if TYPE_CHECKING:
    from peft.tuners.lora import Linear as LoraLinear

Forward = Callable[..., Tensor]


class AdapterSwitch:
    """One base model and the adapters it can activate.

    Args:
        base: The loaded base model, in eval mode; owned by the switch from now on.
    """

    def __init__(self, base: nn.Module) -> None:
        self.model: Any = base
        self._names: list[str] = []
        self._active: str | None = None
        self._packed: list[nn.Linear] | None = None
        self._merged: dict[str, dict[LoraLinear, Forward]] = {}

    def attach(self, name: str, folder: Path) -> None:
        """Load an adapter folder; call ``activate`` to switch to it.

        Raises:
            ModelError: It is incomplete, or was trained for another base model.
            ValueError: The name is taken.
        """
        if name in self._names:
            raise ValueError(f"an adapter named {name!r} is attached already")
        from tunery.models.attach import load_adapter

        self._unpack()
        self.model = load_adapter(self.model, folder, name).eval()
        self._names.append(name)
        self._active = None
        self._disable()

    def activate(self, name: str | None) -> nn.Module:
        """Switch to an adapter, or to the base model if None, and return the model to run.

        Raises:
            KeyError: No adapter with that name is attached.
        """
        if name is not None and name not in self._names:
            raise KeyError(name)
        if self._packed is None:
            self._packed = prepack(self.model)
            self._active = None
            self._shorten(None)
        if name != self._active:
            if name is None:
                self._disable()
            else:
                if hasattr(self.model.base_model, "enable_adapter_layers"):
                    self.model.base_model.enable_adapter_layers()
                self.model.set_adapter(name)
                self.model.requires_grad_(False)
            self._shorten(name)
            self._active = name
        model = self.model
        if not self._names:
            return model
        if name is None or not model.peft_config[name].is_prompt_learning:
            return model.get_base_model()  # the same layers, without the wrapper's hooks
        return model

    def _disable(self) -> None:
        if self._names and hasattr(self.model.base_model, "disable_adapter_layers"):
            self.model.base_model.disable_adapter_layers()

    def _unpack(self) -> None:
        for layer in self._packed or ():
            del layer.forward
        for layer in self._lora_layers():
            vars(layer).pop("forward", None)
        self._packed = None
        self._merged.clear()

    def _lora_layers(self) -> list[LoraLinear]:
        if not self._names:  # peft takes seconds to import and is needed only with an adapter
            return []
        from peft.tuners.lora import Linear

        return [module for module in self.model.modules() if isinstance(module, Linear)]

    def _shorten(self, name: str | None) -> None:
        """Give each plain LoRA layer the shortest forward pass for this adapter."""
        merged = self._merge(name) if name is not None else {}
        for layer in self._lora_layers():
            vars(layer).pop("forward", None)
            if is_plain(layer, name):
                vars(layer)["forward"] = merged.get(layer) or _forward_of(layer, name)

    def _merge(self, name: str) -> dict[LoraLinear, Forward]:
        """Blocked copies of the merged weights, for all layers or (if memory is short) for none."""
        if name not in self._merged:
            packed = set(self._packed or ())
            layers = [
                layer
                for layer in self._lora_layers()
                if name in layer.lora_A and is_plain(layer, name) and layer.base_layer in packed
            ]
            room = fits(sum(cast(Tensor, layer.base_layer.weight).nbytes for layer in layers))
            self._merged[name] = {layer: _merged(layer, name) for layer in layers} if room else {}
        return self._merged[name]


def is_plain(layer: Any, name: str | None) -> bool:
    """Whether this layer is ``base(x) + scaling * B A x`` for an adapter, and nothing more."""
    from peft.tuners.lora import Linear

    if type(layer) is not Linear or layer.merged:
        return False
    if name is None or name not in layer.lora_A:
        return True
    return name not in layer.lora_variant and not layer.lora_bias[name] and not layer.fan_in_fan_out


def _forward_of(layer: LoraLinear, name: str | None) -> Forward:
    base = cast(Forward, layer.base_layer.forward)
    if name is None or name not in layer.lora_A:
        return base
    a: Any = layer.lora_A[name]
    b: Any = layer.lora_B[name]
    a_IR = a.weight.detach().t().contiguous()
    b_RO = (b.weight.detach() * layer.scaling[name]).t().contiguous()
    return functools.partial(_lora_linear, base, a_IR, b_RO)


def _merged(layer: LoraLinear, name: str) -> Forward:
    """The layer with its adapter merged in fp32 and rounded once, as a blocked copy."""
    base = cast(nn.Linear, layer.base_layer)
    a: Any = layer.lora_A[name]
    b: Any = layer.lora_B[name]
    update = b.weight.detach().float() @ a.weight.detach().float() * layer.scaling[name]
    weight = (base.weight.detach().float() + update).to(base.weight.dtype)
    bias = None if base.bias is None else base.bias.detach()
    return functools.partial(packed_linear, pack(weight), bias)


def _lora_linear(base: Forward, a_IR: Tensor, b_RO: Tensor, x: Tensor) -> Tensor:
    """Base and update in four operations: for a single row, their cost is the call overhead."""
    result = base(x)
    flat = result.reshape(-1, b_RO.shape[1]).to(b_RO.dtype)
    inner = torch.mm(x.reshape(-1, a_IR.shape[0]).to(a_IR.dtype), a_IR)
    # As in PEFT: added in the adapter's precision, then rounded once.
    return torch.addmm(flat, inner, b_RO).to(result.dtype).view(result.shape)
