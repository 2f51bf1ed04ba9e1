"""Attention over packed rows: each segment of a [1, N] batch attends only to itself.

Registered with transformers as the attention (and mask) implementation ``tunery``, so every model
that uses its attention interface gets it without a patch. Without an active pack (generation,
padded batches) it is transformers' own SDPA. With one, no N x N mask is ever built:

- CUDA: ``torch.nn.attention.varlen``, if torch provides it and the score options allow it.
- otherwise ``kernels.scores``: buckets of similar length as product, softmax, product, also exact
  for soft caps and attention sinks.

Shapes: N tokens, H query heads, G key heads, D head dimension of queries and keys, E of values.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tunery.errors import EngineError
from tunery.i18n import t
from tunery.kernels.scores import Score, attend
from tunery.kernels.segments import Segments

NAME = "tunery"
HAS_VARLEN = importlib.util.find_spec("torch.nn.attention.varlen") is not None

_active: ContextVar[Segments | None] = ContextVar("tunery_segments", default=None)


@contextmanager
def packed(segments: Segments) -> Iterator[None]:
    """Make the forward pass of an installed model use ``segments`` inside this context."""
    token = _active.set(segments)
    try:
        yield
    finally:
        _active.reset(token)


def install(model: nn.Module) -> bool:
    """Switch a transformers model to this attention; a second call has no effect.

    Returns:
        False if the model does not use transformers' attention interface and is left unchanged.
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


def uninstall(model: nn.Module) -> None:
    """Restore transformers' own attention: SDPA if the architecture supports it."""
    base = base_model(model)
    if isinstance(base, PreTrainedModel) and base.config._attn_implementation == NAME:
        base.set_attn_implementation("sdpa" if base._supports_sdpa else "eager")


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
    """The function that transformers calls in each attention layer.

    Args:
        module: The attention layer.
        query: Shape ``[1, H, N, D]``.
        key: Shape ``[1, G, N, D]``.
        value: Shape ``[1, G, N, E]``.
        attention_mask: The output of ``tunery_mask``.
        dropout: Dropout of the attention weights.
        scaling: Factor on the scores.
        **kwargs: ``segments`` (the pack), ``softcap``, ``s_aux`` (sinks) and whatever else a model
            passes.

    Returns:
        Shape ``[1, N, H, E]``, and None for the weights.

    Raises:
        EngineError: The mask indicates a packed batch, but there are no segments, or vice versa.
    """
    own = getattr(attention_mask, "segments", None)  # also set if a backward pass recomputes it
    segments = kwargs.pop("segments", None) or own or _active.get()
    if attention_mask is None or not _is_marker(attention_mask):
        if segments is not None:
            raise EngineError(
                t("{layer}: a packed batch arrived without its mask.", layer=type(module).__name__),
                fix=t("Set data.packing to false for this model."),
            )
        return _plain(module, query, key, value, attention_mask, dropout, scaling, kwargs)
    if segments is None:
        raise EngineError(
            t("{layer}: a packed batch arrived without its segments.", layer=type(module).__name__),
            fix=t("Set data.packing to false for this model."),
        )
    score = Score(
        scale=scaling if scaling is not None else query.shape[-1] ** -0.5,
        window=int(attention_mask.shape[-2]) - 1 or None,
        softcap=kwargs.get("softcap"),
        sinks_H=kwargs.get("s_aux"),
        dropout=dropout,
    )
    query_NHD, key_NGD, value_NGE = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    if query.is_cuda and _varlen_fits(query, value, score):
        return _varlen(query_NHD, key_NGD, value_NGE, segments=segments, score=score)[None], None
    return attend(query_NHD, key_NGD, value_NGE, segments, score)[None], None


def tunery_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """The mask for transformers: a zero-size marker while packed, otherwise SDPA's own mask.

    The marker is an empty tensor of shape ``[1, 1, window + 1, 0]``: it takes no memory, indicates
    that the batch is packed, and carries its segments and the sliding window (0 for none). A layer
    that does not pass its arguments on (Nemotron, StableLM) does pass its mask on.

    Raises:
        EngineError: The model adds its own mask to causal attention.
    """
    segments = _active.get()
    if segments is None:
        return sdpa_mask(*args, **kwargs)
    if kwargs.get("use_vmap"):
        raise EngineError(
            t("This model adds its own mask to causal attention, so rows cannot be packed."),
            fix=t("Set data.packing to false for this model."),
        )
    window = kwargs.get("local_size") or 0
    mark: Any = _marker(window if window < segments.longest else 0)
    mark.segments = segments
    return mark


def _marker(window: int) -> Tensor:
    return torch.empty((1, 1, window + 1, 0), dtype=torch.bool)


def _is_marker(mask: Tensor) -> bool:
    return mask.dim() == 4 and mask.shape[-1] == 0


def _interface_only(model: PreTrainedModel) -> bool:
    """Whether every attention layer gets its row boundaries only through the interface."""
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
    """Attention without packing: SDPA, or the explicit product for what SDPA does not support."""
    softcap, sinks_H = kwargs.get("softcap"), kwargs.get("s_aux")
    if softcap is None and sinks_H is None:
        out, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **kwargs
        )
        return out, None
    heads, num_queries, num_keys = query.shape[1], query.shape[2], key.shape[2]
    groups = heads // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = (query @ key.transpose(2, 3)).float()
    scores = scores * (scaling if scaling is not None else query.shape[-1] ** -0.5)
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is None:
        attention_mask = torch.ones(
            num_queries, num_keys, dtype=torch.bool, device=query.device
        ).tril(num_keys - num_queries)
    scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
    if sinks_H is not None:
        sinks = sinks_H.float().view(1, heads, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], -1)
    weights = scores.softmax(-1)[..., :num_keys].to(value.dtype)
    weights = nn.functional.dropout(weights, dropout)
    return (weights @ value).transpose(1, 2).contiguous(), None


def _varlen_fits(query: Tensor, value: Tensor, score: Score) -> bool:
    half = query.dtype in (torch.bfloat16, torch.float16)
    same = query.shape[-1] == value.shape[-1] <= 256
    return HAS_VARLEN and score.plain and half and same


def _varlen(
    query_NHD: Tensor, key_NGD: Tensor, value_NGE: Tensor, *, segments: Segments, score: Score
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    lists = segments.varlen()
    if lists.keys is not None:  # shared ancestors precede each segment's own keys
        key_NGD, value_NGE = key_NGD[lists.keys], value_NGE[lists.keys]
    out = varlen_attn(
        query_NHD.contiguous(),
        key_NGD.contiguous(),
        value_NGE.contiguous(),
        lists.query_starts,
        lists.key_starts,
        max(segments.lengths),
        segments.longest,
        scale=score.scale,
        # Our window counts the token itself, flash attention's only those before it. The last query
        # is aligned with the last key, as a segment's ancestors come before it.
        window_size=(score.window - 1 if score.window else -1, 0),
        enable_gqa=query_NHD.shape[1] != key_NGD.shape[1],
    )
    assert isinstance(out, Tensor)
    return out


AttentionInterface.register(NAME, tunery_attention)
AttentionMaskInterface.register(NAME, tunery_mask)
