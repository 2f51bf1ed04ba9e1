"""The light half of LoRA: its settings and their cost."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from tunery.config.adapters.base import AdapterKind
from tunery.config.base import Finding
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.shape import Matrix, ModelShape


class LoraConfig(AdapterKind):
    """Low-rank matrices added to frozen weights: small, fast and removable."""

    build = "tunery.adapters.lora:Lora"
    writes = "adapter"
    learning_rates = (1e-4, 1e-3)

    type: Literal["lora"] = "lora"
    """Low-rank adaptation (LoRA)."""

    rank: int = Field(default=8, ge=1, le=4096)
    """Rank of the low-rank matrices; 8 to 64 is usual. Higher learns more and needs more memory."""

    alpha: float = Field(default=16.0, gt=0)
    """Scaling: the update is multiplied by alpha / rank; twice the rank is usual."""

    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout probability of the adapter inputs during training."""

    target_modules: str | list[str] = "all-linear"
    """Linear layers to adapt: all-linear, or names such as [q_proj, v_proj]."""

    target_parameters: str | list[str] = Field(default_factory=list)
    """Stacked weights to adapt as well: all-experts, or names such as experts.down_proj."""

    @property
    def names_modules(self) -> bool:
        """Whether the settings name modules that a model may not have."""
        return self.target_modules != "all-linear" or bool(self.target_parameters)

    def continued(self, folder: Path, chosen: Collection[str]) -> Self:
        """Use the adapter's rank, scale and dropout; its layers are those of the adapter."""
        stored: Any = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        names = {"rank": "r", "alpha": "lora_alpha", "dropout": "lora_dropout"}
        theirs = {ours: stored.get(name) for ours, name in names.items()}
        found = {n: value for n, value in theirs.items() if value not in (None, getattr(self, n))}
        for name in ("target_modules", "target_parameters"):
            if name in chosen and _names(getattr(self, name)) != _names(stored.get(name)):
                raise ConfigError(
                    t(
                        "adapter.{name} is set, but the layers are those of {adapter}, which "
                        "this run continues.",
                        name=name,
                        adapter=folder,
                    ),
                    fix=t("Remove adapter.{name}, or use the base model to start over.", name=name),
                )
        for name in sorted(found.keys() & set(chosen)):
            raise ConfigError(
                t(
                    "adapter.{name} is {own:g}, but {adapter}, which this run continues, has "
                    "{theirs:g}.",
                    name=name,
                    own=getattr(self, name),
                    adapter=folder,
                    theirs=found[name],
                ),
                fix=t(
                    "Set adapter.{name} to {theirs:g}, or use the base model to start over.",
                    name=name,
                    theirs=found[name],
                ),
            )
        return self.model_copy(update=found)

    def trained(self, shape: ModelShape) -> int:
        """Two matrices per selected linear layer."""
        return sum(matrix.numel for matrix in self.matrices(shape))

    def matrices(self, shape: ModelShape) -> tuple[Matrix, ...]:
        """One from the layer's inputs to the rank, one from the rank to its outputs."""
        linear, wanted = shape.linear_shapes(), self.target_modules
        names = linear if wanted == "all-linear" else [n for n in linear if n in wanted]
        return tuple(
            matrix
            for ins, outs in (linear[name] for name in names)
            for matrix in (
                Matrix(self.rank, ins, shape.num_layers),
                Matrix(outs, self.rank, shape.num_layers),
            )
        )

    def kept_bytes(self, shape: ModelShape, width: int) -> int:
        """The low-rank activations."""
        return len(shape.linear_shapes()) * self.rank * width

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject an adapter without targets, and one that PEFT cannot create."""
        if not self.target_modules and not self.target_parameters:
            yield (
                "adapter.target_modules",
                t("adapter.target_modules is empty: no weight would be trained."),
                t("Use all-linear, or names such as [q_proj, v_proj]."),
            )
        if self.target_parameters and self.dropout:
            yield (
                "adapter.target_parameters",
                t(
                    "adapter.target_parameters cannot be combined with adapter.dropout: a "
                    "stacked weight does not have an input of its own."
                ),
                t("Set adapter.dropout to 0, or remove adapter.target_parameters."),
            )


def _names(wanted: Any) -> set[str]:
    return set(wanted.split(",") if isinstance(wanted, str) else wanted or ())
