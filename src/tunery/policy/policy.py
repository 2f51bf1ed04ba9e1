"""The model as a method sees it: log-probabilities of a batch, now and as before training."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from tunery.data.collate import Batch
from tunery.kernels.attention import base_model
from tunery.policy.forward import each_loss, sum_losses

Switch = Callable[[], AbstractContextManager[None]]


class Policy:
    """A model that is trained or measured; the one door from a method to it.

    Args:
        model: A causal language model of transformers, plain or wrapped by PEFT.
        off: Makes the model what it was before training, for as long as the context lasts; None
            where that cannot be switched (weights trained in place), so that a method has to keep
            what it needs of the reference beforehand.
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
            batch: On the model's device.
            weight_K: A factor per trained token. Shape ``[K]``, fp32.

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
        """As ``logprobs``, and how each compares with what the model expects of its own samples.

        Returns:
            ``logprobs``, and log p(token) - log(sum of p^2), without a graph: about 0 for a token
            that the model would say itself. Nats, shape ``[K]``, fp32 each.
        """
        collision_K = torch.empty(batch.num_trained, device=self.device)
        logprob_K = -each_loss(self._base, batch, collision_K=collision_K)
        return logprob_K, logprob_K.detach() - collision_K

    @contextmanager
    def reference(self) -> Generator[Policy]:
        """The policy as it was before training, without gradients and without dropout.

        Raises:
            RuntimeError: It cannot be switched back; see ``has_reference``.
        """
        if self._off is None:
            raise RuntimeError("this policy has no reference to switch to")
        with torch.no_grad(), evaluating(self.model), self._off():
            yield self


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Put the model in eval mode and back, without touching any random state."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
