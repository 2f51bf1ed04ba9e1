"""What adapters that PEFT adds to linear layers have in common: which layers, and their cost."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tunery.config.adapters import continued
from tunery.config.adapters.base import AdapterKind
from tunery.config.adapters.names import (
    Names,
    broken_patterns,
    is_pattern,
    layer_of,
    listed,
    selects,
)
from tunery.config.base import Finding
from tunery.i18n import t
from tunery.shape import ModelShape


class Layered(AdapterKind):
    """An adapter on linear layers of a frozen model.

    Every such kind declares the settings below as fields of its own, after those that are
    particular to it, because a form shows fields in the order of their declaration.
    """

    writes = "adapter"

    if TYPE_CHECKING:
        target_modules: str | list[str]
        exclude_modules: str | list[str]
        layers_to_transform: list[Any]
        modules_to_save: list[str]

    @property
    def names_modules(self) -> bool:
        """Whether the settings name or need something that a model may not have."""
        return self.target_modules != "all-linear" or bool(
            self.exclude_modules or self.layers_to_transform or self.modules_to_save
        )

    def continued(self, folder: Path, chosen: Collection[str]) -> Self:
        """Use the adapter's shape; its layers are those of the adapter."""
        return continued.from_adapter(self, folder, chosen, known=Layered.__subclasses__())

    def excludes(self, config: Any) -> Iterator[Finding]:
        """Reject an adapter without layers, and names that cannot be read."""
        if not self.trains_something:
            yield (
                "adapter.target_modules",
                t("adapter.target_modules is empty: no weight would be trained."),
                t("Use all-linear, or names such as [q_proj, v_proj]."),
            )
        for name, texts in self.patterns().items():
            for text, why in broken_patterns(map(str, texts)):
                yield (
                    f"adapter.{name}",
                    t("adapter.{name}: {text!r} is not a regular expression: {why}.",
                      name=name, text=text, why=why),
                    t("Correct it, or use the names of modules."),
                )  # fmt: skip
        both = set(self.modules_to_save) & set(listed(self.target_modules))
        if both:
            yield (
                "adapter.modules_to_save",
                t(
                    "adapter.modules_to_save and adapter.target_modules both name {names}: a "
                    "module is either trained in full or adapted.",
                    names=", ".join(sorted(both)),
                ),
                t("Remove it from adapter.target_modules or adapter.modules_to_save."),
            )

    @property
    def trains_something(self) -> bool:
        """Whether any layer is named."""
        return bool(self.target_modules)

    def patterns(self) -> dict[str, Collection[str]]:
        """The regular expressions among the settings, by the name of the setting."""
        return {
            name: [str(value)] if is_pattern(value) else []
            for name, value in (
                ("target_modules", self.target_modules),
                ("exclude_modules", self.exclude_modules),
            )
        }

    def selects(self, name: str) -> bool:
        """Whether the settings select a linear layer by its full name."""
        wanted: Names = self.target_modules
        layers = self.layers_to_transform
        return (
            (wanted == "all-linear" or selects(wanted, name))
            and not selects(self.exclude_modules, name)
            and not any(f".{each}." in f".{name}." for each in self.modules_to_save)
            and (not layers or layer_of(name) in layers)
        )

    def adapted(self, shape: ModelShape) -> Iterator[tuple[str, int, int]]:
        """Full name, inputs and outputs of each adapted layer of a usual architecture."""
        for name, (inputs, outputs) in _usual(shape):
            if self.selects(name):
                yield name, inputs, outputs

    def saved(self, shape: ModelShape) -> int:
        """Parameters of the modules trained in full, as far as their usual names tell."""
        embedding = shape.vocab * shape.hidden
        sizes = {
            "model.embed_tokens": embedding, "lm_head": embedding, "model.norm": shape.hidden,
            **{name: i * o for name, (i, o) in _usual(shape)},
        }  # fmt: skip
        return sum(
            size
            for name, size in sizes.items()
            if any(f".{each}." in f".{name}." for each in self.modules_to_save)
        )


def _usual(shape: ModelShape) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each linear layer of the decoder by its full name in most architectures."""
    for number in range(shape.num_layers):
        for name, size in shape.linear_shapes().items():
            part = "self_attn" if name[0] in "qkvo" else "mlp"
            yield f"model.layers.{number}.{part}.{name}", size
