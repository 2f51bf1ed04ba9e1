"""The weights that the fast pass reads from a model, for either implementation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(slots=True)
class Linear:
    """Linear layers that share the same input, concatenated along their outputs.

    Args:
        layers: Their modules.
    """

    layers: list[nn.Linear]

    @property
    def outputs(self) -> int:
        """Number of outputs of all layers together."""
        return sum(layer.out_features for layer in self.layers)

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return self.layers[0].in_features

    @property
    def weight(self) -> Tensor:
        """Concatenated weights, [sum of outputs, inputs]; a copy if there are several layers."""
        weights = [layer.weight.detach() for layer in self.layers]
        return weights[0] if len(weights) == 1 else torch.cat(weights)

    @property
    def bias(self) -> Tensor | None:
        """Concatenated biases, [sum of outputs]; None if there are none."""
        biases = [layer.bias.detach() for layer in self.layers if layer.bias is not None]
        return torch.cat(biases) if biases else None


@dataclass(slots=True)
class LayerWeights:
    """The weights of one decoder layer."""

    norm: Tensor
    qkv: Linear
    out: Linear
    norm_mlp: Tensor
    gate_up: Linear
    down: Linear
    q_norm: Tensor | None
    k_norm: Tensor | None


class Weights:
    """The weights of a Llama-like model.

    Args:
        model: A model for which ``model.understood`` holds.
    """

    def __init__(self, model: Any) -> None:
        config = model.config
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps: float = config.rms_norm_eps
        self.embedding: Tensor = model.model.embed_tokens.weight.detach()
        self.layers = [_layer(layer) for layer in model.model.layers]
        self.norm: Tensor = model.model.norm.weight.detach()
        self.head = Linear([model.lm_head])
        linears = [layer for linear in self.linears for layer in linear.layers]
        self.num_bytes = sum(layer.weight.nbytes for layer in linears)

    @property
    def linears(self) -> list[Linear]:
        """All linear layers, the head last."""
        found = [
            x for layer in self.layers for x in (layer.qkv, layer.out, layer.gate_up, layer.down)
        ]
        return [*found, self.head]


def linears_of(layer: Any) -> list[nn.Linear]:
    """The seven linear layers of a decoder layer; the base layers if adapters wrap them."""
    attention, mlp = layer.self_attn, layer.mlp
    modules = [
        attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj,
        mlp.gate_proj, mlp.up_proj, mlp.down_proj,
    ]  # fmt: skip
    return [getattr(module, "base_layer", module) for module in modules]


def _layer(layer: Any) -> LayerWeights:
    q, k, v, out, gate, up, down = linears_of(layer)
    q_norm = getattr(layer.self_attn, "q_norm", None)
    k_norm = getattr(layer.self_attn, "k_norm", None)
    return LayerWeights(
        norm=layer.input_layernorm.weight.detach(),
        qkv=Linear([q, k, v]),
        out=Linear([out]),
        norm_mlp=layer.post_attention_layernorm.weight.detach(),
        gate_up=Linear([gate, up]),
        down=Linear([down]),
        q_norm=q_norm.weight.detach() if q_norm is not None else None,
        k_norm=k_norm.weight.detach() if k_norm is not None else None,
    )
