"""The losses of the DPO family, as functions of a batch of pairs that need no model.

Names and formulas follow TRL 1.16 (``DPOConfig.loss_type``); each docstring cites its paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from tunery.config.methods.dpo import DPOConfig, DPOLoss
from tunery.methods.pairs import Sides, smoothed

MOST_EXPONENT = 80.0
"""Its exponential is still finite in fp32."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The inputs of a pair loss. Shape ``[G]`` each.

    Attributes:
        ratio: log p - log ref of the answers, in nats.
        tokens: Trained tokens of the answers, at least 1.
        config: beta and the constants of the losses.
    """

    ratio: Sides
    tokens: Sides
    config: DPOConfig

    @property
    def score(self) -> Sides:
        """The ratios, transformed into scores by the f-divergence."""
        return Sides(
            divergence_score(self.ratio.chosen_G, self.config),
            divergence_score(self.ratio.rejected_G, self.config),
        )

    @property
    def margin_G(self) -> Tensor:
        """beta times the difference of the scores."""
        return self.config.beta * self.score.margin_G

    @property
    def mean_score(self) -> Sides:
        """Scores per token."""
        score = self.score
        return Sides(
            score.chosen_G / self.tokens.chosen_G, score.rejected_G / self.tokens.rejected_G
        )

    @property
    def reward(self) -> Sides:
        """beta times the ratios."""
        return self.ratio.times(self.config.beta)


def divergence_score(ratio_G: Tensor, config: DPOConfig) -> Tensor:
    """f'(p / ref) of an f-divergence, up to a constant (https://arxiv.org/abs/2309.16240).

    Args:
        ratio_G: log p - log ref, in nats. Shape ``[G]``.
        config: The divergence and its alpha.
    """
    match config.f_divergence_type:
        case "reverse_kl":
            return ratio_G
        case "forward_kl":
            return 1 - torch.exp(-ratio_G)
        case "js_divergence":
            return math.log(2) + logsigmoid(ratio_G)
        case "alpha_divergence":
            power = config.f_alpha_divergence_coef - 1
            if abs(power) < 1e-6:  # the limit is reverse KL
                return ratio_G
            return torch.expm1((power * ratio_G).clamp(max=MOST_EXPONENT)) / power


def _sigmoid(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2305.18290."""
    return smoothed(pairs.margin_G, pairs.config.label_smoothing)


def _sigmoid_norm(pairs: Pairs) -> Tensor:
    """As sigmoid, on log-probabilities per token (Tulu 3, https://arxiv.org/abs/2411.15124)."""
    config = pairs.config
    return smoothed(config.beta * pairs.mean_score.margin_G, config.label_smoothing)


def _hinge(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2305.10425."""
    return torch.relu(1 - pairs.margin_G)


def _ipo(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2310.12036, averaged per token as its authors do."""
    return (pairs.mean_score.margin_G - 1 / (2 * pairs.config.beta)) ** 2


def _robust(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2403.00409."""
    margin_G, share = pairs.margin_G, pairs.config.label_smoothing
    clean_G, flipped_G = -logsigmoid(margin_G), -logsigmoid(-margin_G)
    return ((1 - share) * clean_G - share * flipped_G) / (1 - 2 * share)


def _exo_pair(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2402.00856, equation 16."""
    margin_G, share = pairs.margin_G, pairs.config.label_smoothing
    good_G = margin_G.sigmoid() * (logsigmoid(margin_G) - math.log1p(-share))
    bad_G = (-margin_G).sigmoid() * (logsigmoid(-margin_G) - math.log(share))
    return good_G + bad_G


def _nca_pair(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2402.05369."""
    good_G, bad_G = pairs.reward.chosen_G, pairs.reward.rejected_G
    return -logsigmoid(good_G) - 0.5 * logsigmoid(-good_G) - 0.5 * logsigmoid(-bad_G)


def _bco_pair(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2404.04656."""
    return -logsigmoid(pairs.reward.chosen_G) - logsigmoid(-pairs.reward.rejected_G)


def _sppo_hard(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2405.00675, with a win probability of 1 for the chosen answer."""
    goal = 0.5 / pairs.config.beta
    return (pairs.ratio.chosen_G - goal) ** 2 + (pairs.ratio.rejected_G + goal) ** 2


def _apo_zero(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2408.06266, equation 7."""
    return 1 - pairs.reward.chosen_G.sigmoid() + pairs.reward.rejected_G.sigmoid()


def _apo_down(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2408.06266, equation 8."""
    return pairs.reward.chosen_G.sigmoid() + 1 - pairs.reward.margin_G.sigmoid()


def _discopop(pairs: Pairs) -> Tensor:
    """https://arxiv.org/abs/2406.08414, equation 5."""
    margin_G = pairs.margin_G
    share_G = torch.sigmoid(margin_G / pairs.config.discopop_tau)
    return (1 - share_G) * -logsigmoid(margin_G) + share_G * torch.exp(-margin_G)


LOSSES: dict[DPOLoss, Callable[[Pairs], Tensor]] = {
    "sigmoid": _sigmoid,
    "sigmoid_norm": _sigmoid_norm,
    "hinge": _hinge,
    "ipo": _ipo,
    "robust": _robust,
    "exo_pair": _exo_pair,
    "nca_pair": _nca_pair,
    "bco_pair": _bco_pair,
    "sppo_hard": _sppo_hard,
    "apo_zero": _apo_zero,
    "apo_down": _apo_down,
    "discopop": _discopop,
}
"""Losses of single pairs: each takes ``Pairs`` and returns shape ``[G]``."""
