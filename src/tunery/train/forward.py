"""The loss of a packed batch: decoder once, vocabulary projection only at trained tokens.

``token_losses`` works for any causal language model of transformers. What may differ between
models is found out once a model, on a few made-up tokens: whether the shortcut around the model's
own head gives its logits, and whether packed rows come out as they do alone. Where one of them
does not hold, the slower exact way is taken: the model's own logits at the trained positions, one
row a forward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tunery.data.collate import Batch
from tunery.kernels import attention
from tunery.kernels.attention import base_model
from tunery.kernels.loss import Head, linear_cross_entropy
from tunery.kernels.segments import Segments

# Positions whose logits are whole at once on the model's own head.
OWN_HEAD_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Ways:
    """Which shortcuts hold for a model.

    Args:
        packed: Rows may share a batch.
        head: What the model does to its logits; None if only its own head knows.
        why: Reasons for the slow way, in words, empty if both shortcuts hold.
        rope_limit: Rows longer than this change the positions of every row beside them (dynamic
            and longrope scaling), so they are not packed.
    """

    packed: bool
    head: Head | None
    why: tuple[str, ...] = ()
    rope_limit: int | None = None


_known: WeakKeyDictionary[nn.Module, Ways] = WeakKeyDictionary()


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
    packed = ways.packed and (ways.rope_limit is None or max(batch.lengths) <= ways.rope_limit)
    parts = [batch] if packed or len(batch.lengths) == 1 else batch.one_by_one()
    total: Tensor | None = None
    for part in parts:
        if ways.head is None:
            loss = _own_logits_loss(base, part, packed=packed)
        else:
            hidden_ND = _hidden(base, part, packed=packed)
            loss = _head_loss(base, hidden_ND, part, ways.head)
        total = loss if total is None else total + loss
    assert total is not None
    return total, batch.num_trained


def shortcuts(model: nn.Module) -> Ways:
    """Find out (once) which shortcuts are exact for a model; installs the packed attention."""
    base = base_model(model)
    if base not in _known:
        was_training = base.training
        base.eval()
        try:
            with torch.no_grad():
                _known[base] = _probe(base)
        finally:
            base.train(was_training)
    return _known[base]


def forget(model: nn.Module) -> None:
    """Find out again at the next use, after a change of the model's layers."""
    _known.pop(base_model(model), None)


def _probe(base: nn.Module) -> Ways:
    why: list[str] = []
    packed = attention.install(base)
    config = base.config.get_text_config(decoder=True)  # pyright: ignore
    device = base.get_input_embeddings().weight.device  # pyright: ignore
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, config.vocab_size, (12,), generator=generator).to(device)
    rows = [ids[:7], ids[7:]]
    alone = torch.cat([_probe_hidden(base, [row]) for row in rows])
    if packed:
        packed = _close(_probe_hidden(base, rows), alone)
    if not packed:
        attention.uninstall(base)
        alone = torch.cat([_probe_hidden(base, [row]) for row in rows])
        why.append("rows of this architecture see each other when packed; one row a forward pass")
    if base.get_decoder() is base:  # pyright: ignore
        why.append("transformers names no decoder apart from the head; own head used")
        return Ways(packed, None, tuple(why), _rope_limit(config))
    head = _head(config)
    logits = base(input_ids=rows[0][None], use_cache=False).logits[0]
    own = _project(base, alone[:7], head)
    if own is None or not _close(own, logits):
        head = None
        why.append("the logits are not a plain projection of the last hidden state; own head used")
    return Ways(packed, head, tuple(why), _rope_limit(config))


def _rope_limit(config: Any) -> int | None:
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    for kind in kinds:
        if kind.get("rope_type") in ("dynamic", "longrope"):
            limit = kind.get("original_max_position_embeddings")
            return int(limit or config.max_position_embeddings)
    return None


def _probe_hidden(base: nn.Module, rows: list[Tensor]) -> Tensor:
    lengths = tuple(len(row) for row in rows)
    positions = torch.cat([torch.arange(length) for length in lengths]).to(rows[0].device)
    return _decode(base, torch.cat(rows)[None], positions[None], lengths, len(rows) > 1)


def _close(found: Tensor, expected: Tensor) -> bool:
    """Equal up to the dtype's rounding; a median over tokens, as a router may flip one."""
    tolerance = 1e-3 if expected.dtype == torch.float32 else 6e-2
    if found.shape != expected.shape:
        return False
    found, expected = found.float(), expected.float()
    error = (found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp_min(1e-12)
    return bool((error <= tolerance).float().mean() > 0.75)


def _head(config: Any) -> Head:
    """The scale and soft cap that transformers' models name in their configs."""
    scale = float(getattr(config, "logit_scale", None) or 1.0)  # Cohere multiplies
    divisor = getattr(config, "logits_scaling", None)  # Granite divides
    if divisor:
        scale /= float(divisor)
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(scale, float(softcap) if softcap else None)


def _project(base: nn.Module, hidden_ND: Tensor, head: Head) -> Tensor | None:
    layer = base.get_output_embeddings()  # pyright: ignore
    if layer is None:
        return None
    logits = layer(hidden_ND) * head.scale
    return logits if head.softcap is None else torch.tanh(logits / head.softcap) * head.softcap


def _decode(
    base: nn.Module, input_ids: Tensor, position_ids: Tensor, lengths: tuple[int, ...], packed: bool
) -> Tensor:
    decoder: Any = base.get_decoder()  # pyright: ignore
    kwargs: dict[str, Any] = {"input_ids": input_ids, "use_cache": False}
    if not packed:
        return _last(decoder(**kwargs))
    segments = Segments(lengths)
    with attention.packed(segments):
        # Handed to the layers as well: recomputation under checkpointing runs outside of here.
        out = decoder(**kwargs, position_ids=position_ids, segments=segments)
    return _last(out)


def _last(out: Any) -> Tensor:
    # A model without a decoder of its own gives logits: good enough to compare rows by.
    return (out.last_hidden_state if hasattr(out, "last_hidden_state") else out.logits)[0]


def _hidden(base: nn.Module, batch: Batch, *, packed: bool) -> Tensor:
    return _decode(
        base, batch.input_ids, batch.position_ids, batch.lengths, packed and len(batch.lengths) > 1
    )


def _head_loss(base: nn.Module, hidden_ND: Tensor, batch: Batch, head: Head) -> Tensor:
    layer: Any = base.get_output_embeddings()  # pyright: ignore
    if type(layer) is nn.Linear and not torch.is_autocast_enabled(hidden_ND.device.type):
        return linear_cross_entropy(
            hidden_ND,
            layer.weight,
            batch.target_ids_K,
            batch.trained_index_K,
            bias_V=layer.bias,
            head=head,
        )
    hidden_KD = hidden_ND.index_select(0, batch.trained_index_K)
    total = hidden_KD.new_zeros((), dtype=torch.float32) + hidden_ND.sum() * 0

    def part_loss(hidden_CD: Tensor, target_C: Tensor) -> Tensor:
        logits = _project(base, hidden_CD, head)
        assert logits is not None
        return nn.functional.cross_entropy(logits.float(), target_C, reduction="sum")

    for start in range(0, batch.num_trained, OWN_HEAD_CHUNK):
        part = slice(start, start + OWN_HEAD_CHUNK)
        total = total + checkpoint(
            part_loss, hidden_KD[part], batch.target_ids_K[part], use_reentrant=False
        )
    return total


def _own_logits_loss(base: nn.Module, batch: Batch, *, packed: bool) -> Tensor:
    """Loss from the model's own forward, its logits only at the trained positions."""
    kwargs: dict[str, Any] = {"input_ids": batch.input_ids, "use_cache": False}
    index = batch.trained_index_K
    if packed and len(batch.lengths) > 1:
        segments = Segments(batch.lengths)
        with attention.packed(segments):
            out = base(
                **kwargs, position_ids=batch.position_ids, segments=segments, logits_to_keep=index
            )
    else:
        out = base(**kwargs, logits_to_keep=index)
    logits = out.logits[0].float()
    if logits.shape[0] != len(index):  # a model without logits_to_keep
        logits = logits.index_select(0, index)
    return nn.functional.cross_entropy(logits, batch.target_ids_K, reduction="sum")
