"""What every adapter kind declares before anything is loaded."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from tunery.config.base import Kind
from tunery.shape import Matrix, ModelShape, Trained


class AdapterKind(Kind):
    """One way of choosing which weights are trained.

    Attributes:
        writes: What a run produces: ``adapter`` (in PEFT's format, used with the base model) or
            ``model`` (complete). Adapter weights are trained in addition to the base's, not in
            their place.
        learning_rates: The usual range of learning rates.
        peft_type: Its name in an ``adapter_config.json``; empty for one that writes a model.
        theirs: Settings of its shape and their names there; a run that continues an adapter takes
            them over, and the first two are compared again when it is loaded.
        beginning: Settings that matter only for a new adapter.
    """

    writes: ClassVar[Literal["adapter", "model"]]
    learning_rates: ClassVar[tuple[float, float]]
    peft_type: ClassVar[str] = ""
    theirs: ClassVar[Mapping[str, str]] = {}
    beginning: ClassVar[tuple[str, ...]] = ()

    @property
    def names_modules(self) -> bool:
        """Whether the settings name modules that a model may not have."""
        return False

    @property
    def reads_weights(self) -> bool:
        """Whether the adapter computes with the values of the frozen weights."""
        return False

    @property
    def narrow(self) -> int | None:
        """The smaller side of every trained matrix, if the settings determine it."""
        return None

    def continued(self, folder: Path, chosen: Collection[str]) -> Self:
        """Adjust these settings to continue from an adapter, whose own shape applies.

        Args:
            folder: The adapter, in PEFT's format.
            chosen: Names of the settings that the user set; the others follow the adapter.

        Raises:
            ConfigError: A setting of the user's contradicts the adapter.
        """
        return self

    @abstractmethod
    def trained(self, shape: ModelShape) -> int:
        """Number of trained parameters."""

    def matrices(self, shape: ModelShape) -> tuple[Matrix, ...]:
        """The trained matrices; by default the linear layers of the blocks."""
        blocks = self.kept_blocks(shape)
        return tuple(Matrix(o, i, blocks) for i, o in shape.linear_shapes().values())

    def weights(self, shape: ModelShape) -> Trained:
        """What is trained, for the optimizer; a number that was counted takes precedence."""
        count = self.trained(shape) if shape.trained is None else shape.trained
        return Trained(count, self.matrices(shape), self.kept_blocks(shape))

    def frozen_parameters(self, shape: ModelShape) -> int:
        """Number of weights that it adds in fp32 and does not train."""
        return 0

    def rate_scale(self, name: str) -> float:
        """Factor on the learning rate of a trained parameter, by its name in the model."""
        return 1.0

    def kept_blocks(self, shape: ModelShape) -> int:
        """Decoder blocks whose activations the backward pass needs."""
        return shape.num_layers

    def kept_bytes(self, shape: ModelShape, width: int) -> int:
        """Bytes kept per token and block in addition to the block's own activations.

        Args:
            shape: The model.
            width: Bytes of one number in the compute dtype.
        """
        return 0
