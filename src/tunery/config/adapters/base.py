"""What every adapter kind says of itself before anything is loaded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import ClassVar, Literal, Self

from tunery.config.base import Kind
from tunery.shape import ModelShape


class AdapterKind(Kind):
    """One way of choosing which weights are trained.

    Attributes:
        writes: What a run leaves: ``adapter`` (PEFT's format, beside the base) or ``model``
            (whole). The weights of an adapter are trained beside the base's, not in their place.
        learning_rates: The usual span of learning rates.
    """

    writes: ClassVar[Literal["adapter", "model"]]
    learning_rates: ClassVar[tuple[float, float]]

    @property
    def names_modules(self) -> bool:
        """Whether modules are named that a model may not have."""
        return False

    def continued(self, folder: Path, chosen: Collection[str]) -> Self:
        """These settings for going on from an adapter, whose own shape holds.

        Args:
            folder: The adapter, in PEFT's format.
            chosen: Names of the settings that somebody chose; the others follow the adapter.

        Raises:
            ConfigError: A chosen setting contradicts the adapter.
        """
        return self

    @abstractmethod
    def trained(self, shape: ModelShape) -> int:
        """How many numbers are trained."""

    def kept_blocks(self, shape: ModelShape) -> int:
        """Decoder blocks whose activations the backward pass needs."""
        return shape.num_layers

    def kept_bytes(self, shape: ModelShape, width: int) -> int:
        """Bytes kept per token and block beside the block's own activations.

        Args:
            shape: The model.
            width: Bytes of one number in the compute dtype.
        """
        return 0
