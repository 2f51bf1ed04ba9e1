"""The common base of all methods that compare the model with a reference."""

from __future__ import annotations

from typing import Any, ClassVar

from tunery.config.methods.base import LOGPROB_BYTES, MethodKind


class Referenced(MethodKind):
    """A method with a reference: the model before training, or the one in ``reference_model``.

    Each kind declares ``reference_model`` itself, in its own place among its settings.
    """

    models: ClassVar[tuple[str, ...]] = ("reference_model",)

    @property
    def reference_reads(self) -> int:
        """How often the reference reads each answer."""
        return 1

    @property
    def keeps_models(self) -> bool:
        """A reference model is read before the first step and then released."""
        return False

    def stored_bytes(self, trained_tokens: int, config: Any) -> int:
        """One log-probability per token, unless an adapter is taken off for the reference."""
        if not self.other_models() and config.adapter.writes == "adapter":
            return 0
        return self.reference_reads * trained_tokens * LOGPROB_BYTES
