"""Vocabulary projection and cross-entropy in one, only where a token carries loss.

Logits exist for one chunk of positions at a time; the gradient is computed in the same pass, so
the backward pass is one scaled copy. A frozen projection never gets a weight gradient.

Shapes: N tokens of the batch, K trained positions, C positions of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Logits of one chunk: small enough for the cache of a CPU and for any device's memory, large
# enough that reading the weight once a chunk is cheap beside the product.
CHUNK_BYTES_CPU = 24 * 2**20
CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Head:
    """What a model does to its logits after the vocabulary projection.

    Args:
        scale: Factor on the logits (Cohere, Granite).
        softcap: Logits become ``softcap * tanh(logits / softcap)`` (Gemma 2), after the scale.
    """

    scale: float = 1.0
    softcap: float | None = None


PLAIN = Head()


def linear_cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    target_K: Tensor,
    index_K: Tensor,
    *,
    bias_V: Tensor | None = None,
    head: Head = PLAIN,
    chunk: int | None = None,
) -> Tensor:
    """Sum of -log p(target) over the trained positions.

    Args:
        hidden_ND: Last hidden states, any float dtype. Shape ``[N, D]``.
        weight_VD: Vocabulary projection. Shape ``[V, D]``.
        target_K: Token predicted at each trained position. Shape ``[K]``, int64.
        index_K: Trained positions in N, each at most once. Shape ``[K]``, int64.
        bias_V: Bias of the projection. Shape ``[V]``.
        head: Scale and soft cap of the logits.
        chunk: Positions computed at once; by default from the vocabulary and the device.

    Returns:
        Sum of the losses in nats, 0-dim fp32. Differentiable in hidden, weight and bias; the
        products run in the dtype of ``hidden_ND``, softmax and sums in fp32.
    """
    if chunk is None:
        budget = CHUNK_BYTES_CPU if hidden_ND.device.type == "cpu" else CHUNK_BYTES
        chunk = max(16, budget // (4 * weight_VD.shape[0]))
    return _LinearCrossEntropy.apply(  # pyright: ignore[reportReturnType]
        hidden_ND, weight_VD, bias_V, target_K, index_K, head, chunk
    )


class _LinearCrossEntropy(torch.autograd.Function):
    """Gradients are made in the forward pass, as the logits are at hand only there."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        weight_VD: Tensor,
        bias_V: Tensor | None,
        target_K: Tensor,
        index_K: Tensor,
        head: Head,
        chunk: int,
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        needs_any = needs_hidden or needs_weight or needs_bias
        dtype = hidden_ND.dtype
        work_VD = weight_VD.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        hidden_KD = hidden_ND.index_select(0, index_K)
        grad_KD = torch.empty_like(hidden_KD) if needs_hidden else None
        grad_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needs_weight else None
        grad_V = None
        if needs_bias:
            assert bias_V is not None
            grad_V = torch.zeros_like(bias_V, dtype=torch.float32)
        for start in range(0, target_K.numel(), chunk):
            part = slice(start, start + chunk)
            target_C = target_K[part, None]
            logits_CV = _logits(hidden_KD[part], work_VD, bias_V)
            cap_CV = _shape(logits_CV, head)
            target_logit_C = logits_CV.gather(1, target_C).float()
            if not needs_any:
                total += (logits_CV.float().logsumexp(-1, keepdim=True) - target_logit_C).sum()
                continue
            # softmax in the logits' own dtype reads and writes half the bytes in bf16; it sums
            # in fp32 inside. The loss itself comes from the fp32 log-sum-exp.
            grad_CV, losses_C = _loss_and_gradient(logits_CV, target_C, target_logit_C)
            total += losses_C.sum()
            if cap_CV is not None:
                grad_CV.mul_(cap_CV)
            if head.scale != 1.0:
                grad_CV.mul_(head.scale)
            grad_CV = grad_CV.to(dtype)
            if grad_KD is not None:
                torch.mm(grad_CV, work_VD, out=grad_KD[part])
            if grad_VD is not None:
                grad_VD += grad_CV.t() @ hidden_KD[part]
            if grad_V is not None:
                grad_V += grad_CV.sum(0, dtype=torch.float32)
        ctx.save_for_backward(grad_KD, grad_VD, grad_V, index_K)
        ctx.num_tokens = hidden_ND.shape[0]
        ctx.dtypes = (weight_VD.dtype, bias_V.dtype if bias_V is not None else None)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad,) = grad_outputs
        grad_KD, grad_VD, grad_V, index_K = ctx.saved_tensors
        hidden = weight = bias = None
        if grad_KD is not None:
            hidden = grad_KD.new_zeros(ctx.num_tokens, grad_KD.shape[1])
            hidden.index_copy_(0, index_K, grad_KD * grad.to(grad_KD.dtype))
        if grad_VD is not None:
            weight = (grad_VD * grad).to(ctx.dtypes[0])
        if grad_V is not None:
            bias = (grad_V * grad).to(ctx.dtypes[1])
        return hidden, weight, bias, None, None, None, None


def _logits(hidden_CD: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
    if bias_V is None:
        return hidden_CD @ weight_VD.t()
    return torch.addmm(bias_V.to(hidden_CD.dtype), hidden_CD, weight_VD.t())


def _shape(logits_CV: Tensor, head: Head) -> Tensor | None:
    """Apply scale and soft cap in place; return the soft cap's derivative where there is one."""
    if head.scale != 1.0:
        logits_CV.mul_(head.scale)
    if head.softcap is None:
        return None
    logits_CV.div_(head.softcap).tanh_()
    derivative_CV = 1.0 - logits_CV.float().square()
    logits_CV.mul_(head.softcap)
    return derivative_CV


def _loss_and_gradient(
    logits_CV: Tensor, target_C1: Tensor, target_logit_C1: Tensor
) -> tuple[Tensor, Tensor]:
    """d loss / d logits (softmax minus one at the target) in fp32, and the losses."""
    logits_CV = logits_CV.float()
    lse_C1 = logits_CV.logsumexp(-1, keepdim=True)
    grad_CV = logits_CV.sub_(lse_C1).exp_()
    grad_CV.scatter_add_(1, target_C1, grad_CV.new_full(target_C1.shape, -1.0))
    return grad_CV, lse_C1 - target_logit_C1
