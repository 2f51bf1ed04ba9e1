"""The model as a method sees it: log-probabilities of a batch, current and before training."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tunery.data.collate import Batch
from tunery.kernels.attention import base_model
from tunery.models import heads
from tunery.policy.compared import Compare, Other, compared
from tunery.policy.forward import each_loss, sum_losses
from tunery.policy.scores import row_scores
from tunery.policy.tokens import Tokens, Wanted, tokens

Switch = Callable[[], AbstractContextManager[None]]


class Policy:
    """A model that is trained or evaluated; a method's only interface to it.

    Args:
        model: A causal model of transformers, plain or wrapped by PEFT.
        off: Restores the state before training while its context is active; None if that is not
            possible (weights trained in place), so that a method must compute in advance what it
            needs from the reference.
    """

    def __init__(self, model: nn.Module, *, off: Switch | None = None) -> None:
        self.model = model
        self._base = base_model(model)
        self._off = off

    @property
    def device(self) -> torch.device:
        """The device of the computation."""
        return next(self.model.parameters()).device

    @property
    def has_reference(self) -> bool:
        """Whether ``reference`` is available."""
        return self._off is not None

    def nll(self, batch: Batch, weight_K: Tensor | None = None) -> Tensor:
        """Sum of the trained tokens' negative log-likelihoods.

        Args:
            batch: The batch, on the model's device.
            weight_K: One factor per trained token. Shape ``[K]``, fp32.

        Returns:
            Nats, 0-dim fp32, differentiable.
        """
        if weight_K is None:
            return sum_losses(self._base, batch)
        return (each_loss(self._base, batch) * weight_K).sum()

    def logprobs(self, batch: Batch) -> Tensor:
        """Log-probability of each trained token.

        Returns:
            Nats, row by row. Shape ``[K]``, fp32, differentiable.
        """
        return -each_loss(self._base, batch)

    def aligned_logprobs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Like ``logprobs``, plus a comparison with what the model expects of its own samples.

        Returns:
            ``logprobs``, and log p(token) - log(sum of p^2), without a graph: about 0 for a token
            that the model would choose itself. Nats, shape ``[K]``, fp32 each.
        """
        collision_K = torch.empty(batch.num_trained, device=self.device)
        logprob_K = -each_loss(self._base, batch, collision_K=collision_K)
        return logprob_K, logprob_K.detach() - collision_K

    def tokens(self, batch: Batch, wanted: Wanted) -> Tokens:
        """Values of each trained token that need the whole distribution over the vocabulary.

        Args:
            batch: The batch, on the model's device.
            wanted: What to compute; with ``kl``, the policy must have a reference.
        """
        if not wanted.anything:
            nll_K = -self.logprobs(batch)
            none_K = torch.zeros_like(nll_K).detach()
            return Tokens(nll_K, none_K, none_K, none_K)
        return tokens(self._base, batch, wanted, self.reference)

    def compared(
        self, batch: Batch, other: Policy | None, compare: Compare, *given: Tensor
    ) -> Tensor:
        """Values of each trained token, from its distribution here and in another model.

        Args:
            batch: The batch, on the device of both models.
            other: The other model, in eval mode; it gets no gradient. None for none.
            compare: Computes the values from the logits of both.
            given: Further values of the trained tokens, passed on to ``compare``.

        Returns:
            Shape ``[R, K]`` for R values per token, fp32, differentiable.
        """
        beside = None if other is None else Other(other._base)
        return compared(self._base, beside, batch, compare, given)

    @property
    def vocab_size(self) -> int:
        """Number of logits of a token."""
        config: Any = self._base.config
        return int(config.get_text_config(decoder=True).vocab_size)

    @property
    def pad_id(self) -> int | None:
        """The token at which no score is read; None if the model has no padding token."""
        return heads.pad_id(self.model)

    def scores(self, batch: Batch) -> Tensor:
        """The score of each row, read at its last token; for a model with a scalar head.

        Args:
            batch: Whole rows (``Rows.whole``), on the model's device.

        Returns:
            Shape ``[B]``, fp32, differentiable.
        """
        return row_scores(self._base, batch)

    @contextmanager
    def reference(self) -> Generator[Policy]:
        """The policy as it was before training, without gradients and without dropout.

        Raises:
            RuntimeError: The reference is not available; see ``has_reference``.
        """
        if self._off is None:
            raise RuntimeError("this policy has no reference to switch to")
        with torch.no_grad(), evaluating(self.model), self._off():
            yield self


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Put the model in eval mode and restore it afterwards, without changing random state."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
