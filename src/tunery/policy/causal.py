"""Checks whether a model is causal, once, with a few random tokens.

Two checks are needed, because either alone misses cases: in bf16 the small effect of a dropped
token is hidden by rounding, and an effect without a gradient (the length of a row) shows only when
a token is dropped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tunery.kernels.attention import base_model
from tunery.models.heads import scalar_head
from tunery.policy.shortcuts import Memory

NUM_TOKENS = 12
LEAK = 1e-5
"""Gradient share of the last token above which others attend to it; a mask leaves exactly 0."""
DEVIATION = {torch.float32: 1e-3}
DEVIATION_LOW = 6e-2
"""Maximum median relative error of the logits with one token less; above the rounding error."""


def is_causal(model: nn.Module, memory: Memory | None = None) -> bool:
    """Whether a model's output for a token is independent of later tokens.

    If the model's forward pass fails, it counts as causal; training will report the failure.

    Args:
        model: A causal language model of transformers, with or without an adapter.
        memory: The cache for this base model; read first, then updated.
    """
    known = memory.recall(causal=True) if memory is not None else None
    if known is not None:
        return bool(known)
    base: Any = base_model(model)
    was_training = base.training
    base.eval()
    try:
        found = _tried(base)
    except RuntimeError:
        return True
    finally:
        base.train(was_training)
    if memory is not None:
        memory.keep(found, causal=True)
    return found


def _tried(base: Any) -> bool:
    embedding = base.get_input_embeddings()
    vocab_size = base.config.get_text_config(decoder=True).vocab_size
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(0, vocab_size, (1, NUM_TOKENS), generator=generator)
    ids_BT = ids_BT.to(next(embedding.parameters()).device)
    with torch.no_grad():
        whole_TV = _outputs(base, ids_BT)[:-1].float()
        cut_TV = _outputs(base, ids_BT[:, :-1]).float()
    error_T = (whole_TV - cut_TV).norm(dim=-1) / cut_TV.norm(dim=-1).clamp_min(1e-12)
    dtype = next(base.parameters()).dtype
    if float(error_T.median()) > DEVIATION.get(dtype, DEVIATION_LOW):
        return False
    share = _gradient_share(base, embedding, ids_BT)
    return share is None or share <= LEAK


def _outputs(base: Any, ids_BT: Tensor) -> Tensor:
    """One output per token: logits, or the hidden states of a model with a scalar head."""
    if scalar_head(base) is None:
        return base(input_ids=ids_BT, use_cache=False).logits[0]
    return base.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state[0]


def _gradient_share(base: Any, embedding: nn.Module, ids_BT: Tensor) -> float | None:
    """The share of the last token in the gradient of all logits except the last.

    Returns:
        A share between 0 and 1; None if the model cannot be differentiated this way.
    """
    seen: list[Tensor] = []

    def watch(_module: nn.Module, _given: Any, out: Tensor) -> Tensor:
        seen.append(out.detach().requires_grad_(True))
        return seen[-1].clone()  # some models change it in place

    handle = embedding.register_forward_hook(watch)
    try:
        with torch.enable_grad():
            logits_TV = _outputs(base, ids_BT)[:-1]
            found = torch.autograd.grad(logits_TV.float().square().sum(), seen, allow_unused=True)
    except (RuntimeError, TypeError, AttributeError):  # a kernel without a backward pass
        return None
    finally:
        handle.remove()
    shares = [
        float(grad[..., -1, :].float().norm() / grad.float().norm().clamp_min(1e-30))
        for grad in found
        if grad is not None and grad.dim() >= 2
    ]
    return max(shares, default=None)
