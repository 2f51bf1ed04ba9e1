"""The losses of a packed batch: one decoder pass, vocabulary projection only at trained tokens.

They work for any causal language model of transformers. If a shortcut does not hold for a model
(``policy.shortcuts``), the slower exact way is used: the model's own logits at the trained
positions, one row per forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunery.data.collate import Batch
from tunery.kernels import attention
from tunery.kernels.loss import Head, collision, each_cross_entropy, linear_cross_entropy
from tunery.kernels.segments import Segments
from tunery.policy.noise import noisy
from tunery.policy.shortcuts import decode, inputs, project, shortcuts

# Positions whose full logits exist at a time if the projection is not a plain linear layer.
OWN_HEAD_CHUNK = 256


def sum_losses(base: nn.Module, batch: Batch) -> Tensor:
    """Sum of the losses of a batch's trained tokens.

    Args:
        base: A causal language model of transformers, not wrapped.
        batch: The output of ``collate``, on the model's device.

    Returns:
        Nats, 0-dim fp32, differentiable.
    """
    parts, head = divided(base, batch), shortcuts(base).head
    losses = [_sum(base, part, head) for part in parts]
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def each_loss(base: nn.Module, batch: Batch, *, collision_K: Tensor | None = None) -> Tensor:
    """The loss of each trained token of a batch.

    Args:
        base: As in ``sum_losses``.
        batch: As in ``sum_losses``.
        collision_K: Output, filled with log(sum of p^2 over the vocabulary) of each trained token,
            without a graph. Shape ``[K]``, fp32.

    Returns:
        Nats, row by row. Shape ``[K]``, fp32, differentiable.
    """
    parts, head = divided(base, batch), shortcuts(base).head
    if collision_K is None:
        return torch.cat([_each(base, part, head) for part in parts])
    shares = collision_K.split([part.num_trained for part in parts])
    return torch.cat(
        [_each(base, part, head, into) for part, into in zip(parts, shares, strict=True)]
    )


def divided(base: nn.Module, batch: Batch) -> list[Batch]:
    """The parts of a batch to compute one at a time: one, if its rows may be packed."""
    if batch.shared and (batch.noise or (base.training and _drops(base))):
        batch = batch.apart()  # rows must not share random numbers
    together = len(batch.rows) == 1 or shortcuts(base).pack(batch)
    return [batch] if together else batch.one_by_one()


def _sum(base: nn.Module, batch: Batch, head: Head | None) -> Tensor:
    packed = len(batch.lengths) > 1
    if head is None:
        logits_KV = own_logits(base, batch, packed=packed)
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
    total = hidden_ND.sum(dtype=torch.float32) * 0.0  # a graph, even if nothing is trained
    for losses in _projected(base, hidden_ND, batch, head):
        total = total + losses.sum()
    return total


def _each(
    base: nn.Module, batch: Batch, head: Head | None, collision_K: Tensor | None = None
) -> Tensor:
    packed = len(batch.lengths) > 1
    if head is None:
        logits_KV = own_logits(base, batch, packed=packed)
        if collision_K is not None:
            collision_K.copy_(collision(logits_KV.detach().log_softmax(-1)))
        return nn.functional.cross_entropy(logits_KV, batch.target_ids_K, reduction="none")
    hidden_ND = decode(base, batch, packed=packed)
    layer: Any = base.get_output_embeddings()  # pyright: ignore
    if _is_plain(layer, hidden_ND):
        return each_cross_entropy(
            hidden_ND,
            layer.weight,
            batch.target_ids_K,
            batch.trained_index_K,
            bias_V=layer.bias,
            head=head,
            collision_K=collision_K,
        )
    losses = _projected(base, hidden_ND, batch, head, collision_K)
    return torch.cat(losses) if losses else hidden_ND.sum(dtype=torch.float32)[None][:0]


def _projected(
    base: nn.Module,
    hidden_ND: Tensor,
    batch: Batch,
    head: Head,
    collision_K: Tensor | None = None,
) -> list[Tensor]:
    """Losses through the projection's own forward (adapted or trained separately), in chunks."""

    def part_losses(hidden_CD: Tensor, target_C: Tensor, into: Tensor | None) -> Tensor:
        logits = project(base, hidden_CD, head).float()
        if into is not None:
            into.copy_(collision(logits.detach().log_softmax(-1)))
        return nn.functional.cross_entropy(logits, target_C, reduction="none")

    hidden_KD = hidden_ND.index_select(0, batch.trained_index_K)
    losses: list[Tensor] = []
    for start in range(0, batch.num_trained, OWN_HEAD_CHUNK):
        part = slice(start, start + OWN_HEAD_CHUNK)
        target_C = batch.target_ids_K[part]
        into = None if collision_K is None else collision_K[part]
        losses.append(checkpoint(part_losses, hidden_KD[part], target_C, into, use_reentrant=False))
    return losses


def _is_plain(layer: nn.Module, hidden_ND: Tensor) -> bool:
    return type(layer) is nn.Linear and not torch.is_autocast_enabled(hidden_ND.device.type)


def _drops(base: nn.Module) -> bool:
    config: Any = base.config
    attention_dropout = getattr(config.get_text_config(decoder=True), "attention_dropout", 0.0)
    return bool(attention_dropout) or any(
        isinstance(module, nn.Dropout) and module.p > 0 for module in base.modules()
    )


def own_logits(base: nn.Module, batch: Batch, *, packed: bool) -> Tensor:
    """The logits of the model's own forward pass at the trained positions, [K, V] in fp32."""
    index = batch.trained_index_K
    kwargs: dict[str, Any] = {"use_cache": False, "logits_to_keep": index}
    with noisy(base, batch):
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
