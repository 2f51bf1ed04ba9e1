"""The loss of a packed batch: decoder once, vocabulary projection only at trained tokens.

``token_losses`` works for any causal language model of transformers. Where a shortcut does not
hold for a model (``train.shortcuts``), the slower exact way is taken: the model's own logits at
the trained positions, one row a forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunery.data.collate import Batch
from tunery.kernels import attention
from tunery.kernels.attention import base_model
from tunery.kernels.loss import Head, each_cross_entropy, linear_cross_entropy
from tunery.kernels.segments import Segments
from tunery.policy.shortcuts import Ways, decode, inputs, prepare, project, shortcuts

__all__ = ["Ways", "base_model", "each_loss", "prepare", "shortcuts", "token_losses"]

# Positions whose logits are whole at once where the projection is a layer of its own kind.
OWN_HEAD_CHUNK = 256


def token_losses(model: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    """Sum the losses of a batch's trained tokens.

    Args:
        model: A causal language model of transformers, plain or wrapped by PEFT.
        batch: What ``collate`` gave, on the model's device.

    Returns:
        The sum in nats (0-dim fp32, differentiable unless grad is off) and the number of trained
        tokens.
    """
    base = base_model(model)
    ways = shortcuts(base)
    if batch.shared and base.training and _drops(base):
        batch = batch.apart()  # rows must not share the random numbers of dropout
    losses = [_loss(base, part, ways.head) for part in _parts(batch, ways)]
    return (losses[0] if len(losses) == 1 else torch.stack(losses).sum()), batch.num_trained


def each_loss(model: nn.Module, batch: Batch) -> Tensor:
    """The loss of each trained token of a batch, for a model in eval mode, without gradients.

    Args:
        model: As in ``token_losses``.
        batch: As in ``token_losses``.

    Returns:
        Nats, row by row. Shape ``[K]``, fp32.
    """
    base = base_model(model)
    ways = shortcuts(base)
    with torch.inference_mode():
        return torch.cat([_each(base, part, ways.head) for part in _parts(batch, ways)])


def _parts(batch: Batch, ways: Ways) -> list[Batch]:
    together = len(batch.rows) == 1 or ways.pack(batch)
    return [batch] if together else list(batch.one_by_one())


def _each(base: nn.Module, batch: Batch, head: Head | None) -> Tensor:
    packed = len(batch.lengths) > 1
    target_K = batch.target_ids_K
    if head is None:
        logits_KV = _own_logits(base, batch, packed=packed)
        return nn.functional.cross_entropy(logits_KV, target_K, reduction="none")
    hidden_ND = decode(base, batch, packed=packed)
    layer: Any = base.get_output_embeddings()  # pyright: ignore
    if _is_plain(layer, hidden_ND):
        return each_cross_entropy(
            hidden_ND, layer.weight, target_K, batch.trained_index_K, bias_V=layer.bias, head=head
        )
    hidden_KD = hidden_ND.index_select(0, batch.trained_index_K)
    losses = [
        nn.functional.cross_entropy(
            project(base, some_CD, head).float(), target_C, reduction="none"
        )
        for some_CD, target_C in zip(
            hidden_KD.split(OWN_HEAD_CHUNK), target_K.split(OWN_HEAD_CHUNK), strict=True
        )
    ]
    return torch.cat(losses)


def _is_plain(layer: nn.Module, hidden_ND: Tensor) -> bool:
    return type(layer) is nn.Linear and not torch.is_autocast_enabled(hidden_ND.device.type)


def _drops(base: nn.Module) -> bool:
    config: Any = base.config
    attention_dropout = getattr(config.get_text_config(decoder=True), "attention_dropout", 0.0)
    return bool(attention_dropout) or any(
        isinstance(module, nn.Dropout) and module.p > 0 for module in base.modules()
    )


def _loss(base: nn.Module, batch: Batch, head: Head | None) -> Tensor:
    packed = len(batch.lengths) > 1
    if head is None:
        logits_KV = _own_logits(base, batch, packed=packed)
        return nn.functional.cross_entropy(logits_KV, batch.target_ids_K, reduction="sum")
    hidden_ND = decode(base, batch, packed=packed)
    layer: Any = base.get_output_embeddings()  # pyright: ignore
    if _is_plain(layer, hidden_ND):
        return linear_cross_entropy(
            hidden_ND,
            layer.weight,
            batch.target_ids_K,
            batch.trained_index_K,
            bias_V=layer.bias,
            head=head,
        )
    return _projected_loss(base, hidden_ND, batch, head)


def _projected_loss(base: nn.Module, hidden_ND: Tensor, batch: Batch, head: Head) -> Tensor:
    """The projection has an adapter or is trained apart: its own forward, a chunk at a time."""

    def part_loss(hidden_CD: Tensor, target_C: Tensor) -> Tensor:
        logits = project(base, hidden_CD, head).float()
        return nn.functional.cross_entropy(logits, target_C, reduction="sum")

    hidden_KD = hidden_ND.index_select(0, batch.trained_index_K)
    total = hidden_ND.sum(dtype=torch.float32) * 0.0  # a graph, even where nothing is trained
    for start in range(0, batch.num_trained, OWN_HEAD_CHUNK):
        part = slice(start, start + OWN_HEAD_CHUNK)
        target_C = batch.target_ids_K[part]
        total = total + checkpoint(part_loss, hidden_KD[part], target_C, use_reentrant=False)
    return total


def _own_logits(base: nn.Module, batch: Batch, *, packed: bool) -> Tensor:
    """The logits of the model's own forward at the trained positions, [K, V] in fp32."""
    index = batch.trained_index_K
    kwargs: dict[str, Any] = {"use_cache": False, "logits_to_keep": index}
    if packed:
        segments = Segments(batch.lengths, batch.parents, batch.input_ids.device)
        with attention.packed(segments):
            out = base(segments=segments, **kwargs, **inputs(batch, packed=True))
    else:
        out = base(**kwargs, **inputs(batch))
    logits = out.logits[0].float()
    if logits.shape[0] != len(index):  # a model without logits_to_keep
        logits = logits.index_select(0, index)
    return logits
