"""A frozen linear layer with its LoRA adapter as one autograd function.

PEFT's own layer casts its input to the adapter's dtype, keeps that copy for the backward pass and
creates three tensors of the output's size. Here the input is kept once, unchanged, the small
products run in the dtype of the input, and the low-rank term is added in place. The trained
matrices and their gradients stay fp32; a frozen weight never gets a gradient.

``install`` replaces the class of PEFT's layers with a subclass, so saving, merging, loading and
switching adapters are still done by PEFT. Whatever the function does not cover (several active
adapters, variants such as DoRA, merged or disabled adapters, autocast) uses PEFT's forward pass. A
start that is subtracted (``kernels.lora_start``) is covered: its matrices are more columns of the
same small products.

Shapes: N tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import Tensor, nn

from tunery.kernels.lora_start import change, start_of


def install(model: nn.Module) -> int:
    """Make every plain PEFT LoRA linear layer fast; return the number of fast layers."""
    count = 0
    for module in model.modules():
        if type(module) is PeftLinear and type(module.get_base_layer()) is nn.Linear:
            module.__class__ = Linear
        count += type(module) is Linear
    return count


def uninstall(model: nn.Module) -> None:
    """Restore PEFT's own class for every layer."""
    for module in model.modules():
        if type(module) is Linear:
            module.__class__ = PeftLinear  # pyright: ignore[reportAttributeAccessIssue]


class Linear(PeftLinear):
    """PEFT's LoRA linear layer with a fast path; the class name keeps PEFT's printed form."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Same as PEFT's layer, for the same arguments."""
        adapter = self._one_plain_adapter(x, bool(args or kwargs))
        if adapter is None:
            return super().forward(x, *args, **kwargs)
        base = cast(nn.Linear, self.get_base_layer())
        dropout = self.lora_dropout[adapter]
        dropped = dropout(x) if isinstance(dropout, nn.Dropout) and self.training else None
        return lora_linear(
            x,
            base.weight,
            cast(Tensor, self.lora_A[adapter].weight),
            cast(Tensor, self.lora_B[adapter].weight),
            self.scaling[adapter],
            bias_O=base.bias,
            dropped=dropped,
            start=start_of(self, adapter),
        )

    def _one_plain_adapter(self, x: Tensor, has_arguments: bool) -> str | None:
        if has_arguments or self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        adapter = self.active_adapters[0]
        if adapter not in self.lora_A or self.lora_bias[adapter]:
            return None
        dropout = self.lora_dropout[adapter]
        if adapter in self.lora_variant:
            drops = isinstance(dropout, nn.Dropout) and self.training
            if start_of(self, adapter) is None or drops:
                return None
        weight = cast(Tensor, self.get_base_layer().weight)
        plain = (
            type(dropout) in (nn.Identity, nn.Dropout)
            and x.dtype == weight.dtype
            and not weight.requires_grad
            and not torch.is_autocast_enabled(x.device.type)
        )
        return adapter if plain else None


def lora_linear(
    x: Tensor,
    weight_OI: Tensor,
    a_RI: Tensor,
    b_OR: Tensor,
    scale: float,
    *,
    bias_O: Tensor | None = None,
    dropped: Tensor | None = None,
    start: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """x W' + bias + scale * (dropped A') B', minus the same with the start.

    Args:
        x: Inputs in the compute dtype. Shape ``[..., I]``.
        weight_OI: Frozen weight, in the dtype of ``x``.
        a_RI: Trained matrix A, in any float dtype, which is also the dtype of its gradient.
        b_OR: Trained matrix B, likewise.
        scale: alpha / rank.
        bias_O: Frozen bias.
        dropped: Input of the adapter (after dropout), if it differs from ``x``; not with a start.
        start: Frozen matrices ``[R, I]`` and ``[O, R]`` whose product is subtracted.

    Returns:
        Shape ``[..., O]``, in the dtype of ``x``. Differentiable in x, dropped, A and B.
    """
    x_NI = x.reshape(-1, x.shape[-1])
    seen_NI = None if dropped is None else dropped.reshape(x_NI.shape)
    out: Any = _LoraLinear.apply(x_NI, seen_NI, weight_OI, bias_O, a_RI, b_OR, scale, start)
    # Reshaped here: a model may add to it in place, which is not allowed on a function's own view.
    return out.view(*x.shape[:-1], -1)


class _LoraLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_NI: Tensor,
        dropped_NI: Tensor | None,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        a_RI: Tensor,
        b_OR: Tensor,
        scale: float,
        start: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        seen_NI = x_NI if dropped_NI is None else dropped_NI
        low_RI, low_OR = (a_RI, b_OR) if start is None else change(a_RI, b_OR, start)
        low_RI, low_OR = low_RI.to(x_NI.dtype), low_OR.mul(scale).to(x_NI.dtype)
        out_NO = nn.functional.linear(x_NI, weight_OI, bias_O)
        down_NR = seen_NI @ low_RI.t()
        out_NO.addmm_(down_NR, low_OR.t())
        ctx.save_for_backward(seen_NI, down_NR, weight_OI, low_RI, low_OR)
        ctx.scale, ctx.dropped, ctx.rank = scale, dropped_NI is not None, len(a_RI)
        ctx.start = start is not None
        ctx.dtypes = (a_RI.dtype, b_OR.dtype)
        return out_NO

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        seen_NI, down_NR, weight_OI, low_RI, low_OR = ctx.saved_tensors
        grad_NO = grad_outputs[0]
        needs_x, needs_dropped, _, _, needs_a, needs_b, _, _ = ctx.needs_input_grad
        grad_NI = grad_dropped = grad_a = grad_b = None
        back_NR = grad_NO @ low_OR
        if needs_a:
            first_NR = back_NR[:, : ctx.rank]
            # With a start, A is in both halves of the change.
            both_NR = first_NR + back_NR[:, ctx.rank :] if ctx.start else first_NR
            grad_a = (both_NR.t() @ seen_NI).to(ctx.dtypes[0])
        if needs_b:
            # Computed transposed: the small product is fast if the long dimension comes last.
            trained_RN = down_NR[:, : ctx.rank].t()
            grad_b = (trained_RN @ grad_NO).t().to(ctx.dtypes[1]).mul_(ctx.scale)
        if needs_x:
            grad_NI = grad_NO @ weight_OI
            if not ctx.dropped:
                grad_NI.addmm_(back_NR, low_RI)
        if needs_dropped:
            grad_dropped = back_NR @ low_RI
        return grad_NI, grad_dropped, None, None, grad_a, grad_b, None, None
