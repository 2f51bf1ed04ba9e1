"""Adapters on one loaded base: put on, switched and taken off without touching a base weight.

PEFT owns the format and every kind of adapter. For plain LoRA on linear layers, which is nearly
all of them, a step of decoding is mostly the cost of calling small operations, so those layers
get a forward pass with as few as possible; their result is PEFT's to rounding. Without an adapter
the base layers run as if none had ever been there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from peft import PeftModel
from peft.tuners.lora import Linear as LoraLinear
from torch import Tensor, nn
from transformers import PreTrainedModel

from tunery.infer.prepack import prepack
from tunery.models.load import load_adapter

Forward = Callable[..., Tensor]


class AdapterSwitch:
    """One base model and the adapters it can wear.

    Args:
        base: The loaded base, in eval mode; owned by the switch from now on.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self.model: Any = base
        self._names: list[str] = []
        self._worn: str | None = None
        self._packed: list[nn.Linear] | None = None

    def attach(self, name: str, folder: Path) -> None:
        """Load an adapter folder; it is worn when ``wear`` asks for it.

        Raises:
            ModelError: It is not whole, or was made for another base.
            ValueError: The name is taken.
        """
        if name in self._names:
            raise ValueError(f"an adapter named {name!r} is attached already")
        self._unpack()
        self.model = load_adapter(self.model, folder, name).eval()
        self._names.append(name)
        self._worn = None
        self._disable()

    def wear(self, name: str | None) -> nn.Module:
        """Switch to an adapter, or with None to the bare base, and return the model to run.

        Raises:
            KeyError: No adapter of that name is attached.
        """
        if name is not None and name not in self._names:
            raise KeyError(name)
        if self._packed is None:
            self._packed = prepack(self.model)
            self._worn = None
            self._shorten(None)
        if name != self._worn:
            if name is None:
                self._disable()
            else:
                if hasattr(self.model.base_model, "enable_adapter_layers"):
                    self.model.base_model.enable_adapter_layers()
                self.model.set_adapter(name)
                self.model.requires_grad_(False)
            self._shorten(name)
            self._worn = name
        model = self.model
        if not isinstance(model, PeftModel):
            return model
        if name is None or not model.peft_config[name].is_prompt_learning:
            return model.get_base_model()  # the same layers, without the wrapper's own hooks
        return model

    def _disable(self) -> None:
        if hasattr(self.model.base_model, "disable_adapter_layers"):
            self.model.base_model.disable_adapter_layers()

    def _unpack(self) -> None:
        for layer in self._packed or ():
            del layer.forward
        for layer in self._lora_layers():
            vars(layer).pop("forward", None)
        self._packed = None

    def _lora_layers(self) -> list[LoraLinear]:
        return [module for module in self.model.modules() if isinstance(module, LoraLinear)]

    def _shorten(self, name: str | None) -> None:
        """Give each plain LoRA layer the shortest forward pass for this adapter."""
        for layer in self._lora_layers():
            vars(layer).pop("forward", None)
            if _is_plain(layer, name):
                vars(layer)["forward"] = _forward_of(layer, name)


def _is_plain(layer: LoraLinear, name: str | None) -> bool:
    if type(layer) is not LoraLinear or layer.merged:
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
    a_RI = a.weight.detach().contiguous()
    b_OR = (b.weight.detach() * layer.scaling[name]).contiguous()
    return functools.partial(_lora_linear, base, a_RI, b_OR)


def _lora_linear(base: Forward, a_RI: Tensor, b_OR: Tensor, x: Tensor) -> Tensor:
    result = base(x)
    update = nn.functional.linear(nn.functional.linear(x.to(a_RI.dtype), a_RI), b_OR)
    if update.dtype == result.dtype:
        return result.add_(update)
    # As PEFT: added in the adapter's precision, then rounded once.
    return (result + update).to(result.dtype)
