"""The losses of SFT, as functions of what a model says about each token; they need no model.

A weight that is itself computed from the model has no gradient, except in the focal loss.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tunery.config.methods.sft import SFTConfig, SFTLoss
from tunery.policy.tokens import Tokens


def _cross_entropy(tokens: Tokens, config: SFTConfig) -> Tensor:
    """-log p, smoothed with the mean of -log p over the vocabulary."""
    share = config.label_smoothing
    if not share:
        return tokens.nll_K
    return (1 - share) * tokens.nll_K + share * tokens.uniform_K


def _dft(tokens: Tokens, config: SFTConfig) -> Tensor:
    """Dynamic fine-tuning: -p log p (https://arxiv.org/abs/2508.05629, equation 9)."""
    return tokens.nll_K * (-tokens.nll_K.detach()).exp()


def _eaft(tokens: Tokens, config: SFTConfig) -> Tensor:
    """Entropy-adaptive fine-tuning: -H^alpha log p (https://arxiv.org/abs/2601.02151)."""
    return tokens.nll_K * tokens.entropy_K.pow(config.eaft_alpha)


def _asft(tokens: Tokens, config: SFTConfig) -> Tensor:
    """Anchored SFT: DFT and the KL divergence from the base (https://arxiv.org/abs/2509.23753)."""
    return _dft(tokens, config) + config.asft_alpha * tokens.kl_K


def _focal(tokens: Tokens, config: SFTConfig) -> Tensor:
    """-(1 - p)^gamma log p (https://arxiv.org/abs/1708.02002), with the gradient of the factor."""
    if not config.focal_gamma:
        return tokens.nll_K
    rest_K = -(-tokens.nll_K).expm1()
    # The gradient of x ** gamma with gamma below 1 is infinite at 0.
    return tokens.nll_K * rest_K.clamp_min(1e-12).pow(config.focal_gamma)


LOSSES: dict[SFTLoss, Callable[[Tokens, SFTConfig], Tensor]] = {
    "cross_entropy": _cross_entropy,
    "dft": _dft,
    "eaft": _eaft,
    "asft": _asft,
    "focal": _focal,
}
"""Each takes the tokens and returns the loss of each. Shape ``[K]``, nats."""
