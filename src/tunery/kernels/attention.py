"""Attention over packed rows: each segment of a [1, N] batch sees itself only.

Registered with transformers as the attention (and mask) implementation ``tunery``, so every model
that uses its attention interface gets it without a patch. Without an active pack (generation,
padded batches) it is transformers' own SDPA. With one, no N x N mask is ever built:

- CPU: segments are put into buckets of similar length (``Segments.buckets``). Short ones run as
  product, softmax, product; long ones through SDPA. Query heads that share a key head are folded
  into its rows, so keys and values are never repeated.
- CUDA: ``torch.nn.attention.varlen`` where torch has it.

Sliding windows, soft caps and attention sinks take the exact product form.

Shapes: N tokens, S segments of a bucket, T its longest, H query heads, G key heads, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tunery.errors import EngineError
from tunery.kernels.segments import Bucket, Segments
from tunery.kernels.short_attention import Score, attend

NAME = "tunery"

# Above this length the T x T scores no longer fit the caches of a CPU core and SDPA, which never
# holds them whole, wins (measured in benchmarks/kernels.py).
LONG = 512

_active: ContextVar[Segments | None] = ContextVar("tunery_segments", default=None)


@contextmanager
def packed(segments: Segments) -> Iterator[None]:
    """Within this context the forward pass of an installed model sees ``segments``."""
    token = _active.set(segments)
    try:
        yield
    finally:
        _active.reset(token)


def install(model: nn.Module) -> bool:
    """Switch a transformers model to this attention; a second call changes nothing.

    Returns:
        False if the model does not use transformers' attention interface and stays as it was.
    """
    base = base_model(model)
    if not isinstance(base, PreTrainedModel):
        return False
    if base.config._attn_implementation == NAME:
        return True
    if not base._can_set_attn_implementation() or not _interface_only(base):
        return False
    base.set_attn_implementation(NAME)
    return base.config._attn_implementation == NAME


def base_model(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT wrapper, or the model itself."""
    unwrap = getattr(model, "get_base_model", None)
    return cast(nn.Module, unwrap()) if callable(unwrap) else model


def uninstall(model: nn.Module, implementation: str = "sdpa") -> None:
    """Give a model transformers' own attention back."""
    base = base_model(model)
    if isinstance(base, PreTrainedModel) and base.config._attn_implementation == NAME:
        base.set_attn_implementation(implementation)


def tunery_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """The function transformers calls in each attention layer.

    Args:
        module: The attention layer.
        query: Shape ``[1, H, N, D]``.
        key: Shape ``[1, G, N, D]``.
        value: Shape ``[1, G, N, Dv]``.
        attention_mask: What ``tunery_mask`` gave.
        dropout: Dropout of the attention weights.
        scaling: Factor on the scores.
        **kwargs: ``segments`` (the pack), ``softcap``, ``s_aux`` (sinks) and what else a model
            passes.

    Returns:
        Shape ``[1, N, H, Dv]``, and None for the weights.

    Raises:
        EngineError: The mask says packed, and no segments came along.
    """
    segments = kwargs.pop("segments", None) or _active.get()
    if attention_mask is None or not _is_marker(attention_mask):
        if segments is not None:
            raise EngineError(
                f"{type(module).__name__}: a packed batch reached the attention without its mark.",
                fix="Set data.packing to false for this model, and report it.",
            )
        return _plain(module, query, key, value, attention_mask, dropout, scaling, kwargs)
    if segments is None:
        raise EngineError(
            f"{type(module).__name__}: a packed batch reached the attention without its segments.",
            fix="Set data.packing to false for this model, and report it.",
        )
    score = Score(
        scale=scaling if scaling is not None else query.shape[-1] ** -0.5,
        window=int(attention_mask.shape[-2]) - 1 or None,
        softcap=kwargs.get("softcap"),
        sinks_H=kwargs.get("s_aux"),
        dropout=dropout,
    )
    out_NHD = _per_segment(query[0], key[0], value[0], segments, score)
    return out_NHD[None], None


def tunery_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """The mask transformers asks for: a mark of no size while packed, else SDPA's own mask.

    The mark is an expanded tensor of one element, shape ``[1, 1, window + 1, 0]``: it takes no
    memory, says that the batch is packed and carries the sliding window (0 for none).
    """
    segments = _active.get()
    if segments is None:
        return sdpa_mask(*args, **kwargs)
    if kwargs.get("use_vmap"):
        raise EngineError(
            "This model adds a mask of its own to causal attention; rows cannot be packed.",
            fix="Set data.packing to false.",
        )
    window = kwargs.get("local_size") or 0
    return _marker(window if window < segments.longest else 0)


def _marker(window: int) -> Tensor:
    return torch.empty((1, 1, window + 1, 0), dtype=torch.bool)


def _is_marker(mask: Tensor) -> bool:
    return mask.dim() == 4 and mask.shape[-1] == 0


def _interface_only(model: PreTrainedModel) -> bool:
    """Whether every attention layer takes its rows' limits from the interface alone."""
    if getattr(model, "_is_stateful", False):  # recurrent layers carry state across rows
        return False
    config = model.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or ())
    return kinds <= {"full_attention", "sliding_attention"}


def _plain(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float,
    scaling: float | None,
    kwargs: dict[str, Any],
) -> tuple[Tensor, None]:
    """Not packed: SDPA, or the exact product form for what SDPA cannot do."""
    if kwargs.get("softcap") is None and kwargs.get("s_aux") is None:
        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
        return out, None
    score = Score(
        scale=scaling if scaling is not None else query.shape[-1] ** -0.5,
        softcap=kwargs.get("softcap"),
        sinks_H=kwargs.get("s_aux"),
        dropout=dropout,
    )
    if attention_mask is None:
        allowed = torch.ones(
            query.shape[2], key.shape[2], dtype=torch.bool, device=query.device
        ).tril(key.shape[2] - query.shape[2])[None, None]
    else:
        allowed = attention_mask
    return attend(query, key, value, allowed, score).transpose(1, 2).contiguous(), None


def _per_segment(
    query_HND: Tensor, key_GND: Tensor, value_GND: Tensor, segments: Segments, score: Score
) -> Tensor:
    """Run every bucket and put the rows back in their places; the result is ``[N, H, Dv]``."""
    query_NHD = query_HND.transpose(0, 1)
    key_NGD = key_GND.transpose(0, 1)
    value_NGD = value_GND.transpose(0, 1)
    if query_HND.is_cuda and _varlen_fits(query_HND, value_GND, score):
        return _varlen(query_NHD, key_NGD, value_NGD, segments, score)
    outs: list[Tensor] = []
    for bucket in segments.buckets(query_HND.device):
        parts = [bucket.gather(tensor) for tensor in (query_NHD, key_NGD, value_NGD)]
        outs.append(bucket.flatten(_bucket(*parts, bucket=bucket, score=score)))
    return segments.restore(outs)


def _bucket(
    query_SHTD: Tensor, key_SGTD: Tensor, value_SGTD: Tensor, *, bucket: Bucket, score: Score
) -> Tensor:
    if bucket.longest > LONG and score.plain:
        groups = query_SHTD.shape[1] // key_SGTD.shape[1]
        # Padding sits behind the row, so the causal mask hides it; no mask tensor is needed.
        return nn.functional.scaled_dot_product_attention(
            query_SHTD,
            key_SGTD.repeat_interleave(groups, 1) if groups > 1 else key_SGTD,
            value_SGTD.repeat_interleave(groups, 1) if groups > 1 else value_SGTD,
            dropout_p=score.dropout,
            scale=score.scale,
            is_causal=True,
        )
    allowed = bucket.allowed(score.window, query_SHTD.device)
    return attend(query_SHTD, key_SGTD, value_SGTD, allowed, score)


def _varlen_fits(query_HND: Tensor, value_GND: Tensor, score: Score) -> bool:
    plain = score.softcap is None and score.sinks_H is None and not score.dropout
    half = query_HND.dtype in (torch.bfloat16, torch.float16)
    same = query_HND.shape[-1] == value_GND.shape[-1] <= 256
    try:
        from torch.nn.attention import varlen as _  # noqa: F401
    except ImportError:
        return False
    return plain and half and same


def _varlen(
    query_NHD: Tensor, key_NGD: Tensor, value_NGD: Tensor, segments: Segments, score: Score
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    starts = segments.starts(query_NHD.device)
    out = varlen_attn(
        query_NHD.contiguous(),
        key_NGD.contiguous(),
        value_NGD.contiguous(),
        starts,
        starts,
        segments.longest,
        segments.longest,
        scale=score.scale,
        # A window of w tokens counts the token itself; flash counts those before it.
        window_size=((score.window - 1) if score.window else -1, 0),
        enable_gqa=query_NHD.shape[1] != key_NGD.shape[1],
    )
    assert isinstance(out, Tensor)
    return out


def registered(names: Sequence[str]) -> bool:
    """Whether transformers knows these attention implementations."""
    known = set(AttentionInterface().valid_keys())
    return set(names) <= known


AttentionInterface.register(NAME, tunery_attention)
AttentionMaskInterface.register(NAME, tunery_mask)
