"""The result of resolving a model name, and the check of a full model's folder."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tunery.i18n import t
from tunery.models import consent, dimensions, facts, files
from tunery.models.architectures import causal_model_types
from tunery.models.importing import read_record

Kind = Literal[
    "demo", "hub", "hub_cache", "snapshot", "folder", "gguf", "adapter", "run", "checkpoint"
]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A resolved model.

    Args:
        name: The name that the user gave.
        kind: How the model was found.
        path: The folder to load: of a full model, or of an adapter if ``base`` is set.
        base: The base model of an adapter; None for a full model.
        revision: The commit or revision, for models from a hub.
        why: What was chosen and why, translated.
        architecture: ``model_type`` of config.json (of the base, for an adapter).
        num_parameters: Number of parameters in ``path``, from the safetensors headers.
        size_bytes: Size of the weight files in ``path``, in bytes.
        context_length: Context length of the model, in tokens; None if it declares none.
        chat_template: Whether the tokenizer has a chat template.
        weights: Format of the weights, such as ``safetensors BF16``.
        notes: Notes for the user, translated.
    """

    name: str
    kind: Kind
    path: Path
    base: Resolved | None = None
    revision: str = ""
    why: str = ""
    architecture: str = ""
    num_parameters: int | None = None
    size_bytes: int = 0
    context_length: int | None = None
    chat_template: bool = False
    weights: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def model_folder(self) -> Path:
        """The folder of the full model: ``path``, or that of the base for an adapter."""
        return self.base.path if self.base else self.path

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain data, for ``--json`` and the REST API."""
        return {
            "name": self.name,
            "kind": self.kind,
            "path": str(self.path),
            "base": self.base.as_dict() if self.base else None,
            "revision": self.revision or None,
            "why": self.why,
            "architecture": self.architecture,
            "num_parameters": self.num_parameters,
            "size_bytes": self.size_bytes,
            "context_length": self.context_length,
            "chat_template": self.chat_template,
            "weights": self.weights,
            "notes": list(self.notes),
        }


def with_quantization(found: Resolved, quantization: str | None) -> Resolved:
    """Add what to know about an adapter that was trained on a quantized base."""
    if not quantization:
        return found
    note = t(
        "This adapter was trained on a base quantized to {quantization}. Chat, evaluation and "
        "export use the unquantized base, so answers can differ slightly from those during "
        "training.",
        quantization=quantization,
    )
    return replace(found, notes=(*found.notes, note))


def whole(
    name: str, kind: Kind, path: Path, *, why: str, revision: str = "", again: str = ""
) -> Resolved:
    """Check the folder of a full model and describe it.

    Args:
        name: The name that the user gave.
        kind: How the model was found.
        path: The folder.
        why: What was chosen and why.
        revision: The commit or revision, for models from a hub.
        again: The command that downloads missing files, for messages.

    Raises:
        ModelError: Files are missing or damaged, or the architecture is unknown or needs code
            without consent.
    """
    config = files.read_json(path / files.CONFIG)
    weights = files.check_weights(path, again=again)
    architecture = str(config.get("model_type") or "")
    known = causal_model_types()
    if known and architecture not in known:
        consent.require(path, config)
    tokenizer = facts.tokenizer_facts(path)
    record = read_record(path) or {}
    notes = tuple(str(note) for note in record.get("notes", ()))
    if not tokenizer.present:
        notes += (t("there is no tokenizer in the folder"),)
    notes += tuple(
        t("config.json: {problem}", problem=each) for each in dimensions.problems(config)
    )
    return Resolved(
        name=name,
        kind=kind,
        path=path,
        revision=revision,
        why=why,
        architecture=architecture,
        num_parameters=weights.num_parameters,
        size_bytes=weights.size_bytes,
        context_length=facts.context_length(config),
        chat_template=tokenizer.template != "",
        weights=f"safetensors {weights.dtype}",
        notes=notes,
    )
