"""Fused vocabulary projection and cross-entropy, computed only for tokens that carry loss.

Logits exist for one chunk of positions at a time; the gradient is computed in the same pass, so
the backward pass is one scaled copy. A frozen projection never gets a weight gradient.

Shapes: N tokens of the batch, K trained positions, C positions of a chunk, D width, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Logits of one chunk, in fp32: large enough that reading the weight once per chunk is cheap
# compared with the product, small compared with everything else in memory.
CHUNK_BYTES_CPU = 48 * 2**20
CHUNK_BYTES = 256 * 2**20

# fp32 logits that softmax processes at a time: small enough for a CPU's cache.
SOFTMAX_BYTES_CPU = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Head:
    """Operations on the logits after the vocabulary projection.

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
        index_K: Trained positions in N; a position may occur several times. Shape ``[K]``, int64.
        bias_V: Bias of the projection. Shape ``[V]``.
        head: Scale and soft cap of the logits.
        chunk: Positions computed at a time; by default from the vocabulary and the device.

    Returns:
        Sum of the losses in nats, 0-dim fp32. Differentiable in hidden, weight and bias; the
        products run in the dtype of ``hidden_ND``, softmax and sums in fp32.
    """
    if chunk is None:
        chunk = _chunk(hidden_ND, weight_VD)
    return _LinearCrossEntropy.apply(  # pyright: ignore[reportReturnType]
        hidden_ND, weight_VD, bias_V, target_K, index_K, head, chunk
    )


def each_cross_entropy(
    hidden_ND: Tensor,
    weight_VD: Tensor,
    target_K: Tensor,
    index_K: Tensor,
    *,
    bias_V: Tensor | None = None,
    head: Head = PLAIN,
    chunk: int | None = None,
    collision_K: Tensor | None = None,
) -> Tensor:
    """-log p(target) of each trained position.

    Args as in ``linear_cross_entropy``, whose value is the sum of these, and:
        collision_K: Filled with log(sum of p^2 over the vocabulary) at each position, without a
            graph. Shape ``[K]``, fp32.

    Returns:
        Losses in nats. Shape ``[K]``, fp32. Differentiable in hidden, weight and bias. If the
        projection is frozen, the gradient of each hidden state is computed in the forward pass and
        scaled in the backward pass; if it is trained, the logits are computed again.
    """
    if chunk is None:
        chunk = _chunk(hidden_ND, weight_VD)
    return _EachCrossEntropy.apply(  # pyright: ignore[reportReturnType]
        hidden_ND, weight_VD, bias_V, target_K, index_K, head, chunk, collision_K
    )


def _chunk(hidden_ND: Tensor, weight_VD: Tensor) -> int:
    budget = CHUNK_BYTES_CPU if hidden_ND.device.type == "cpu" else CHUNK_BYTES
    return max(16, budget // (4 * weight_VD.shape[0]))


class _LinearCrossEntropy(torch.autograd.Function):
    """Gradients are computed in the forward pass, because only there are the logits available."""

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
        rows = chunk
        if hidden_ND.device.type == "cpu":
            rows = max(1, SOFTMAX_BYTES_CPU // (4 * weight_VD.shape[0]))
        hidden_KD = hidden_ND.index_select(0, index_K)
        grad_KD = torch.empty_like(hidden_KD) if needs_hidden else None
        grad_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needs_weight else None
        grad_V = None
        if needs_bias:
            assert bias_V is not None
            grad_V = torch.zeros_like(bias_V, dtype=torch.float32)
        for start in range(0, target_K.numel(), chunk):
            part = slice(start, start + chunk)
            logits_CV = _logits(hidden_KD[part], work_VD, bias_V)
            # The products are efficient with many rows, softmax with rows that fit in the cache:
            # process a few at a time, and turn each from logits into their gradient in place.
            for row in range(0, len(logits_CV), rows):
                some = slice(row, row + rows)
                logits = logits_CV[some]
                total += _loss(logits, target_K[part][some], head, needs_grad=needs_any).sum()
            if not needs_any:
                continue
            if grad_KD is not None:
                torch.mm(logits_CV, work_VD, out=grad_KD[part])
            if grad_VD is not None:
                grad_VD += logits_CV.t() @ hidden_KD[part]
            if grad_V is not None:
                grad_V += logits_CV.sum(0, dtype=torch.float32)
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
            hidden.index_add_(0, index_K, grad_KD * grad.to(grad_KD.dtype))
        if grad_VD is not None:
            weight = (grad_VD * grad).to(ctx.dtypes[0])
        if grad_V is not None:
            bias = (grad_V * grad).to(ctx.dtypes[1])
        return hidden, weight, bias, None, None, None, None


class _EachCrossEntropy(torch.autograd.Function):
    """Like ``_LinearCrossEntropy``, but each position has its own gradient."""

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
        collision_K: Tensor | None,
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        work_VD = weight_VD.to(hidden_ND.dtype)
        hidden_KD = hidden_ND.index_select(0, index_K)
        loss_K = torch.empty(target_K.numel(), dtype=torch.float32, device=hidden_ND.device)
        ahead = needs_hidden and not (needs_weight or needs_bias)
        grad_KD = torch.empty_like(hidden_KD) if ahead else None
        for part in _parts(target_K.numel(), chunk):
            logits_CV = _logits(hidden_KD[part], work_VD, bias_V)
            _losses(
                logits_CV,
                target_K[part],
                head,
                into=loss_K[part],
                collision_C=None if collision_K is None else collision_K[part],
                needs_grad=ahead,
            )
            if grad_KD is not None:
                torch.mm(logits_CV, work_VD, out=grad_KD[part])
        again = (hidden_KD, weight_VD, bias_V, target_K) if needs_weight or needs_bias else ()
        ctx.save_for_backward(index_K, grad_KD, *again)
        ctx.num_tokens, ctx.head, ctx.chunk = hidden_ND.shape[0], head, chunk
        return loss_K

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (grad_K,) = grad_outputs
        index_K, grad_KD, *again = ctx.saved_tensors
        weight = bias = None
        if grad_KD is not None:
            grad_KD = grad_KD * grad_K[:, None].to(grad_KD.dtype)
        elif again:
            grad_KD, weight, bias = _again(ctx, grad_K, *again)
        hidden = None
        if grad_KD is not None:
            hidden = grad_KD.new_zeros(ctx.num_tokens, grad_KD.shape[1])
            hidden.index_add_(0, index_K, grad_KD)
        return hidden, weight, bias, None, None, None, None, None


def _again(
    ctx: Any,
    grad_K: Tensor,
    hidden_KD: Tensor,
    weight_VD: Tensor,
    bias_V: Tensor | None,
    target_K: Tensor,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients of the hidden states, the projection and its bias, from recomputed logits."""
    needs_weight, needs_bias = ctx.needs_input_grad[1:3]
    work_VD = weight_VD.to(hidden_KD.dtype)
    grad_KD = torch.empty_like(hidden_KD)
    grad_VD = torch.zeros_like(weight_VD, dtype=torch.float32) if needs_weight else None
    grad_V = None
    if needs_bias:
        assert bias_V is not None
        grad_V = torch.zeros_like(bias_V, dtype=torch.float32)
    scratch_K = torch.empty_like(grad_K)
    for part in _parts(target_K.numel(), ctx.chunk):
        logits_CV = _logits(hidden_KD[part], work_VD, bias_V)
        _losses(logits_CV, target_K[part], ctx.head, into=scratch_K[part], needs_grad=True)
        logits_CV *= grad_K[part, None].to(logits_CV.dtype)
        torch.mm(logits_CV, work_VD, out=grad_KD[part])
        if grad_VD is not None:
            grad_VD += logits_CV.t() @ hidden_KD[part]
        if grad_V is not None:
            grad_V += logits_CV.sum(0, dtype=torch.float32)
    weight = None if grad_VD is None else grad_VD.to(weight_VD.dtype)
    bias = None if grad_V is None or bias_V is None else grad_V.to(bias_V.dtype)
    return grad_KD, weight, bias


def _parts(count: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]


def collision(logprobs_CV: Tensor) -> Tensor:
    """log(sum of p^2): how certain the model is, in nats; the log chance that two draws agree."""
    return (2 * logprobs_CV).logsumexp(-1)


def _losses(
    logits_CV: Tensor,
    target_C: Tensor,
    head: Head,
    *,
    into: Tensor,
    collision_C: Tensor | None = None,
    needs_grad: bool,
) -> None:
    """Losses of a chunk, a few rows at a time; with ``needs_grad``, its logits become gradients."""
    rows = len(logits_CV)
    if logits_CV.device.type == "cpu":
        rows = max(1, SOFTMAX_BYTES_CPU // (4 * logits_CV.shape[1]))
    for some in _parts(len(logits_CV), max(1, rows)):
        into[some] = _loss(
            logits_CV[some],
            target_C[some],
            head,
            needs_grad=needs_grad,
            collision_C=None if collision_C is None else collision_C[some],
        )


def _logits(hidden_CD: Tensor, weight_VD: Tensor, bias_V: Tensor | None) -> Tensor:
    if bias_V is None:
        return hidden_CD @ weight_VD.t()
    return torch.addmm(bias_V.to(hidden_CD.dtype), hidden_CD, weight_VD.t())


def _loss(
    logits_CV: Tensor,
    target_C: Tensor,
    head: Head,
    *,
    needs_grad: bool,
    collision_C: Tensor | None = None,
) -> Tensor:
    """Loss of each row; with ``needs_grad``, the logits become d loss / d logits, in place."""
    shaped_CV = logits_CV.float()
    if head.scale != 1.0:
        shaped_CV = shaped_CV * head.scale
    capped_CV = None
    if head.softcap is not None:
        capped_CV = torch.tanh(shaped_CV / head.softcap)
        shaped_CV = capped_CV * head.softcap
    target_C1 = target_C[:, None]
    logprobs_CV = shaped_CV.log_softmax(-1)
    loss_C = -logprobs_CV.gather(1, target_C1)[:, 0]
    if collision_C is not None:
        collision_C.copy_(collision(logprobs_CV))
    if needs_grad:
        grad_CV = logprobs_CV.exp_()
        grad_CV.scatter_add_(1, target_C1, grad_CV.new_full(target_C1.shape, -1.0))
        if capped_CV is not None:
            grad_CV.mul_(1.0 - capped_CV.square_())
        if head.scale != 1.0:
            grad_CV.mul_(head.scale)
        logits_CV.copy_(grad_CV)
    return loss_C
