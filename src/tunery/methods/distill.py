"""Distillation: the divergence from a teacher's distribution, token by token.

With the answers of a dataset, this is the supervised case of generalized knowledge distillation
(Agarwal et al. 2024, https://arxiv.org/abs/2306.13649); its forward KL at temperature 1 is
word-level distillation (Kim and Rush 2016, https://arxiv.org/abs/1606.07947).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from tunery.config.methods.distill import DistillConfig
from tunery.data.collate import Batch
from tunery.data.groups import RowGroup
from tunery.data.rows import Rows
from tunery.methods import teacher
from tunery.methods.base import Loss, Plain, mean_of, sum_by_group, sum_by_row
from tunery.methods.likelihood import weights
from tunery.methods.others import OtherModel
from tunery.policy.policy import Policy
from tunery.policy.tokens import kl
from tunery.runs.context import RunContext


def divergence(own_CV: Tensor, teacher_CV: Tensor, config: DistillConfig) -> Tensor:
    """The divergence that the settings select, at their temperature.

    It is not multiplied by the square of the temperature.

    Args:
        own_CV: Logits of the trained model. Shape ``[C, V]``, fp32.
        teacher_CV: Logits of the teacher. Shape ``[C, V]``, fp32.
        config: The settings.

    Returns:
        Nats. Shape ``[C]``.
    """
    own_CV = (own_CV / config.temperature).log_softmax(-1)
    teacher_CV = (teacher_CV / config.temperature).log_softmax(-1)
    return between(own_CV, teacher_CV, config)


def between(own_CV: Tensor, teacher_CV: Tensor, config: DistillConfig) -> Tensor:
    """The divergence that the settings select, of log-probabilities over the same V outcomes.

    The outcomes may be tokens, or some tokens and the rest of the vocabulary as one outcome.
    The latter gives a lower bound of the divergence over all tokens: what the teacher says within
    the rest is not compared, only how probable the rest is as a whole.
    """
    match config.divergence:
        case "forward_kl":
            return kl(teacher_CV, own_CV)
        case "reverse_kl":
            return kl(own_CV, teacher_CV)
        case "jsd":
            share = config.beta
            mixture_CV = torch.logaddexp(own_CV + math.log1p(-share), teacher_CV + math.log(share))
            return share * kl(teacher_CV, mixture_CV) + (1 - share) * kl(own_CV, mixture_CV)


class Distill(Plain):
    """The divergence from the teacher at each trained token, and a share of the cross-entropy."""

    def __init__(self, config: DistillConfig) -> None:
        self.config = config
        self.teacher = OtherModel(config.teacher)
        self._vocab_size = 0

    @property
    def others(self) -> Sequence[nn.Module]:
        """The teacher, once it is loaded."""
        return self.teacher.modules

    def units(self, group: RowGroup) -> Mapping[str, int]:
        """The trained tokens of the group."""
        return {"tokens": group.num_trained}

    def prepare(self, policy: Policy, rows: Rows, context: RunContext, *, name: str) -> Rows:
        """Load the teacher, once for all rows, or add its most probable tokens to the rows."""
        if self.config.teacher_top_k is None:
            self.teacher.load(context)
            return rows
        if not len(rows):
            return rows
        store = teacher.stored(self.teacher, policy, rows, context, self.config, name=name)
        self._vocab_size = store.vocab_size
        return store.added(rows)

    def prepared(self) -> None:
        """Free the teacher, if what it says is stored."""
        if self.config.teacher_top_k is not None:
            self.teacher.release()

    def loss(self, policy: Policy, batch: Batch, step: Mapping[str, Tensor]) -> Loss:
        """Sum the loss over the trained tokens."""
        if self.config.teacher_top_k is None:
            live = self.teacher.policy
            assert live is not None, "prepare loads the teacher"
            found = policy.compared(batch, live, self._compare)
        else:
            given = (batch.streams[teacher.IDS], batch.streams[teacher.LOGPROBS])
            found = policy.compared(batch, None, self._compare_stored, *given)
        distance_K, nll_K, same_K = found
        loss_K = distance_K
        if self.config.sft_weight:
            loss_K = loss_K + self.config.sft_weight * nll_K
        if (weight_K := weights(batch)) is not None:
            loss_K = loss_K * weight_K
        sums = {
            "teacher_divergence": mean_of(distance_K),
            "answer_nll": mean_of(nll_K),
            "teacher_agreement": mean_of(same_K),
        }
        row_K = loss_K.detach().double()
        count_G = sum_by_group(sum_by_row(torch.ones_like(row_K), batch), batch)
        each_G = sum_by_group(sum_by_row(row_K, batch), batch) / count_G
        return Loss({"tokens": loss_K.sum()}, sums, each=each_G)

    def _compare(self, own_CV: Tensor, teacher_CV: Tensor | None, target_C: Tensor) -> Tensor:
        """Divergence, cross-entropy, and 1 where both have the same most probable token."""
        assert teacher_CV is not None
        nll_C = nn.functional.cross_entropy(own_CV, target_C, reduction="none")
        same_C = (own_CV.argmax(-1) == teacher_CV.argmax(-1)).float()
        return torch.stack([divergence(own_CV, teacher_CV, self.config), nll_C, same_C])

    def _compare_stored(
        self,
        own_CV: Tensor,
        teacher_CV: None,
        target_C: Tensor,
        ids_CJ: Tensor,
        teacher_CJ: Tensor,
    ) -> Tensor:
        """The same from the teacher's most probable tokens, and the rest as one outcome."""
        nll_C = nn.functional.cross_entropy(own_CV, target_C, reduction="none")
        own_CV, ids_CJ = own_CV[:, : self._vocab_size], ids_CJ.long()
        own_CJ = teacher.at_tokens(own_CV, ids_CJ, self.config.temperature)
        distance_C = between(own_CJ, teacher_CJ[:, : own_CJ.shape[-1]], self.config)
        same_C = (own_CV.argmax(-1) == ids_CJ[:, 0]).float()
        return torch.stack([distance_C, nll_C, same_C])
