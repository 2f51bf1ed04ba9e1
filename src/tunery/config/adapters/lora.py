"""The light half of LoRA: its settings and their cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunery.config.adapters.layered import Layered
from tunery.config.adapters.names import value_for
from tunery.config.base import Finding
from tunery.i18n import t
from tunery.shape import Matrix, ModelShape


class LoraConfig(Layered):
    """Low-rank matrices added to frozen weights: small, fast and removable."""

    build = "tunery.adapters.lora:Lora"
    learning_rates = (1e-4, 1e-3)
    peft_type = "LORA"
    theirs: ClassVar[Mapping[str, str]] = {
        "rank": "r",
        "alpha": "lora_alpha",
        "dropout": "lora_dropout",
        "use_rslora": "use_rslora",
        "use_dora": "use_dora",
        "rank_pattern": "rank_pattern",
        "alpha_pattern": "alpha_pattern",
    }
    beginning = ("init", "pissa_niter")

    type: Literal["lora"] = "lora"
    """Low-rank adaptation (LoRA)."""

    rank: int = Field(default=8, ge=1, le=4096)
    """Rank of the low-rank matrices; 8 to 64 is usual. Higher learns more and needs more memory."""

    alpha: float = Field(default=16.0, gt=0)
    """Scaling: the update is multiplied by alpha / rank; twice the rank is usual."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout probability of the adapter inputs during training."""

    use_rslora: bool = False
    """Rank-stabilized LoRA: multiply the update by alpha / sqrt(rank), for high ranks."""

    use_dora: bool = False
    """DoRA: also train the length of each row of the weights. Learns more at low ranks, slower."""

    init: Literal["default", "gaussian", "orthogonal", "pissa", "olora"] = "default"
    """Values of the matrices before training. pissa and olora take them from the weights."""

    pissa_niter: int | None = Field(default=None, ge=1, le=1000)
    """Iterations of a fast, approximate pissa, such as 16; exact without a number."""

    lora_plus_ratio: float = Field(default=1.0, ge=1.0, le=1000.0)
    """LoRA+: factor on the learning rate of the second matrix (B); 2 to 16 is usual."""

    target_modules: str | list[str] = "all-linear"
    """Linear layers to adapt: all-linear, names such as [q_proj, v_proj], or a regular expression
    for full names."""

    exclude_modules: str | list[str] = Field(default_factory=list)
    """Linear layers to leave out: names, or a regular expression for full names."""

    layers_to_transform: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    """Numbers of the decoder layers to adapt, from 0; all if empty."""

    rank_pattern: dict[str, Annotated[int, Field(ge=1, le=4096)]] = Field(default_factory=dict)
    """Another rank for some layers, by name or regular expression, such as {down_proj: 32}."""

    alpha_pattern: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Another alpha for some layers, by name or regular expression."""

    target_parameters: str | list[str] = Field(default_factory=list)
    """Stacked weights to adapt as well: all-experts, or names such as experts.down_proj."""

    modules_to_save: list[str] = Field(default_factory=list)
    """Modules to train in full beside the matrices, such as [embed_tokens, lm_head]."""

    @property
    def names_modules(self) -> bool:
        """Whether the settings name or need something that a model may not have."""
        return super().names_modules or bool(
            self.target_parameters
            or self.rank_pattern
            or self.alpha_pattern
            or self.starts_from_weights
        )

    @property
    def reads_weights(self) -> bool:
        """PiSSA and OLoRA take parts of the weights; DoRA their lengths."""
        return self.starts_from_weights or self.use_dora

    @property
    def starts_from_weights(self) -> bool:
        """Whether the matrices begin as a part of the weights, which is then subtracted."""
        return self.init in ("pissa", "olora")

    @property
    def narrow(self) -> int:
        """The rank of the matrices."""
        return self.rank

    @property
    def trains_something(self) -> bool:
        """Whether any layer or stacked weight is named."""
        return bool(self.target_modules or self.target_parameters)

    def patterns(self) -> dict[str, Collection[str]]:
        """The regular expressions among the settings, by the name of the setting."""
        own = {"rank_pattern": self.rank_pattern, "alpha_pattern": self.alpha_pattern}
        return {**super().patterns(), **own}

    def rate_scale(self, name: str) -> float:
        """LoRA+ (Hayou et al. 2024): the second matrix learns faster."""
        return self.lora_plus_ratio if ".lora_B." in name else 1.0

    def trained(self, shape: ModelShape) -> int:
        """Two matrices per selected linear layer, with DoRA the lengths, and whole modules."""
        lengths = sum(o for _, _, o in self._ranked(shape)) if self.use_dora else 0
        return sum(matrix.numel for matrix in self.matrices(shape)) + lengths + self.saved(shape)

    def matrices(self, shape: ModelShape) -> tuple[Matrix, ...]:
        """One from the layer's inputs to the rank, one from the rank to its outputs."""
        sizes = Counter(
            size for rank, ins, outs in self._ranked(shape) for size in ((rank, ins), (outs, rank))
        )
        return tuple(Matrix(rows, columns, count) for (rows, columns), count in sizes.items())

    def frozen_parameters(self, shape: ModelShape) -> int:
        """With pissa and olora, the first values of the matrices."""
        if not self.starts_from_weights:
            return 0
        return sum(rank * (i + o) for rank, i, o in self._ranked(shape))

    def kept_bytes(self, shape: ModelShape, width: int) -> int:
        """The low-rank activations, and with DoRA inputs and both results in fp32."""
        adapted = list(self._ranked(shape))
        ranks = sum(rank for rank, _, _ in adapted) * (2 if self.starts_from_weights else 1)
        both = sum(i + 2 * o for _, i, o in adapted) * 4 if self.use_dora else 0
        return -(-(ranks * width + both) // shape.num_layers)

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject an adapter without targets, and one that PEFT cannot create."""
        yield from super().excludes(config)
        yield from _stacked(self)
        yield from _beginning(self)

    def advises(self, config: Any) -> Iterator[str]:
        """Warn about settings without effect."""
        if self.pissa_niter is not None and self.init != "pissa":
            yield t("adapter.pissa_niter has no effect with adapter.init={init}.", init=self.init)

    def _ranked(self, shape: ModelShape) -> Iterator[tuple[int, int, int]]:
        """Rank, inputs and outputs of each adapted layer of a usual architecture."""
        for name, inputs, outputs in self.adapted(shape):
            yield value_for(name, self.rank_pattern, self.rank), inputs, outputs


def _stacked(lora: LoraConfig) -> Iterator[Finding]:
    """Experts in one weight have no layer of their own, and so not what needs one."""
    if not lora.target_parameters:
        return
    if lora.dropout:
        yield (
            "adapter.target_parameters",
            t(
                "adapter.target_parameters cannot be combined with adapter.dropout: a "
                "stacked weight does not have an input of its own."
            ),
            t("Set adapter.dropout to 0, or remove adapter.target_parameters."),
        )
    if lora.use_dora:
        yield (
            "adapter.target_parameters",
            t(
                "adapter.target_parameters cannot be combined with adapter.use_dora: DoRA is "
                "defined for linear layers, not for stacked weights."
            ),
            t("Set adapter.use_dora to false, or remove adapter.target_parameters."),
        )
    if lora.init not in ("default", "gaussian"):
        yield (
            "adapter.target_parameters",
            t(
                "adapter.target_parameters cannot be combined with adapter.init={init}, which "
                "is defined for linear layers, not for stacked weights.",
                init=lora.init,
            ),
            t("Set adapter.init to default, or remove adapter.target_parameters."),
        )
    if lora.layers_to_transform:
        yield (
            "adapter.target_parameters",
            t(
                "adapter.target_parameters cannot be combined with adapter.layers_to_transform: "
                "stacked weights are adapted in all layers."
            ),
            t("Remove adapter.layers_to_transform or adapter.target_parameters."),
        )


def _beginning(lora: LoraConfig) -> Iterator[Finding]:
    if lora.use_dora and lora.starts_from_weights:
        yield (
            "adapter.init",
            t(
                "adapter.init={init} cannot be combined with adapter.use_dora: the result could "
                "not be written as an adapter of the original model.",
                init=lora.init,
            ),
            t("Set adapter.init to default, or adapter.use_dora to false."),
        )
    ranks = [lora.rank, *lora.rank_pattern.values()]
    odd = next((rank for rank in ranks if rank % 2), None)
    if lora.init == "orthogonal" and odd is not None:
        yield (
            "adapter.rank",
            t("adapter.init=orthogonal needs an even rank, got {rank}.", rank=odd),
            t("Set adapter.rank to {rank}.", rank=odd + 1)
            if odd == lora.rank
            else t("Use even numbers in adapter.rank_pattern."),
        )
