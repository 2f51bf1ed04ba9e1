"""Load an adapter onto a base model and check every value against the file.

PEFT builds the layers. Its loader applies transformers' renaming rules for old checkpoints; if a
current name matches such a rule, the tensor is dropped and the layer keeps its random
initialization, with at most a warning. So here tensors are assigned by their names in the file, and
each value in memory is compared with the file.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor

from tunery.commands import quoted
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import files, heads
from tunery.models.load import LIBRARY_ERRORS, check_finite, first_lines
from tunery.models.vocabulary import resized

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)


def load_adapter(
    model: PreTrainedModel | PeftModel,
    folder: Path,
    name: str = "default",
    *,
    trainable: bool = False,
    resize: bool = False,
) -> PeftModel:
    """Load an adapter folder (PEFT format) onto a loaded base model.

    Args:
        model: The base model, or a model with other adapters.
        folder: The adapter's folder.
        name: The adapter's name for ``set_adapter``.
        trainable: Whether its weights require gradients.
        resize: Resize the embedding of the base to that of the adapter, if the adapter was
            trained with a resized vocabulary; otherwise such an adapter is refused. Only for a
            model without other adapters.

    Returns:
        The model; the first adapter loaded is the active one.

    Raises:
        ModelError: Files are missing or pickled, weights are not finite, or the adapter does not
            fit the base model.
    """
    from peft import PeftModel

    path = files.check_adapter(folder)
    if heads.scalar_head(model) is None:
        heads.require_text(folder)
    config = _config(folder)
    _check_together(model, config, folder)
    config.inference_mode = not trainable
    if heads.produced_by(folder) == "text" and heads.scalar_head(model) is not None:
        config.task_type = None  # PEFT's class for text would look for generate()
    rows = vocabulary_rows(model, path)
    if rows is not None and resize:
        model.resize_token_embeddings(rows, mean_resizing=False)  # the file has the values
    elif rows is not None:
        raise resized(folder, rows, _embedding_rows(model))
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if isinstance(model, PeftModel):
                model.load_adapter(str(folder), name, is_trainable=trainable)
                loaded = model
            else:
                loaded = PeftModel.from_pretrained(
                    model, str(folder), adapter_name=name, is_trainable=trainable, config=config
                )
    except LIBRARY_ERRORS as error:
        raise ModelError(
            t(
                "{folder}: this adapter does not fit the base model: {why}",
                folder=folder,
                why=first_lines(error),
            ),
            fix=t("It was trained on {base}.", base=config.base_model_name_or_path),
            path=folder,
        ) from error
    for warning in caught:
        log.debug("peft: %s", warning.message)
    moved = _as_in_file(loaded, name, path, str(config.base_model_name_or_path))
    if moved:
        log.debug("%s: peft had left %d tensors out, %s ...", folder, len(moved), moved[0])
    check_finite(folder, adapter_tensors(loaded, name))
    return loaded


def _check_together(model: Any, config: PeftConfig, folder: Path) -> None:
    """Refuse an adapter of another kind than those that the model has already.

    Raises:
        ModelError: PEFT cannot hold both on one base.
    """
    others = {str(each.peft_type) for each in getattr(model, "peft_config", {}).values()}
    kind = str(config.peft_type)
    if others - {kind}:
        raise ModelError(
            t(
                "{folder}: this is an adapter of the kind {kind}, and the base model in memory "
                "has adapters of the kind {other}.",
                folder=folder,
                kind=_kind_name(kind),
                other=_kind_name(min(others)),
            ),
            fix=t(
                "Adapters of one kind can be loaded together. Merge this one into a model: "
                "tunery export {folder} --to merged NEW-MODEL",
                folder=quoted(folder),
            ),
            path=folder,
        )


def _kind_name(kind: str) -> str:
    return kind.rpartition(".")[2]


def _config(folder: Path) -> PeftConfig:
    """Read an adapter's config; refuse a ``peft_type`` that the installed PEFT does not support."""
    from peft import PeftConfig
    from peft.utils import PeftType

    kind = files.read_json(folder / files.ADAPTER_CONFIG).get("peft_type")
    known = sorted(str(each.value) for each in PeftType)
    if kind not in known:
        raise ModelError(
            t(
                "{folder}: adapter_config.json has peft_type {kind}, which the installed "
                "PEFT does not support.",
                folder=folder,
                kind=json.dumps(kind, ensure_ascii=False),
            ),
            fix=t("Available: {names}.", names=", ".join(known)),
            code="unknown_adapter",
            path=folder,
        )
    try:
        return PeftConfig.from_pretrained(str(folder))
    except LIBRARY_ERRORS as error:
        raise ModelError(
            t("{folder}: adapter_config.json cannot be read: {why}",
              folder=folder, why=first_lines(error)),
            fix=t("Copy the adapter's files again from where it was trained."),
            path=folder,
        ) from error  # fmt: skip


def vocabulary_rows(model: Any, path: Path) -> int | None:
    """Embedding rows in an adapter file; None if it has no embedding or the model's size.

    Args:
        model: The loaded base model, with or without other adapters.
        path: The adapter's safetensors file.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    layer = base.get_input_embeddings()
    place = next((n for n, m in base.named_modules() if m is layer), None)
    kinds = ("", ".base_layer", ".modules_to_save", ".original_module")
    names = {f"base_model.model.{place}{kind}.weight" for kind in kinds}
    for name, entry in files.read_safetensors_header(path).items():
        if name in names and entry.shape[:1] != (_embedding_rows(model),):
            return entry.shape[0]
    return None


def _embedding_rows(model: Any) -> int:
    return int(model.get_input_embeddings().weight.shape[0])


def adapter_tensors(model: PeftModel, name: str = "default") -> dict[str, Tensor]:
    """An adapter's tensors by their names in the file; they share memory with the model."""
    from peft.utils import get_peft_model_state_dict

    return get_peft_model_state_dict(model, adapter_name=name, save_embedding_layers=False)


def unlike_file(model: PeftModel, path: Path, name: str = "default") -> list[str]:
    """Names of tensors in the adapter's file whose values in memory differ or are missing."""
    tensors = {**_base_tensors(model, name), **adapter_tensors(model, name)}
    with safe_open(path, framework="pt") as stored:
        return [
            key
            for key in stored.keys()  # noqa: SIM118 - safe_open is not a mapping
            if key not in tensors or not _equal(tensors[key], stored.get_tensor(key))
        ]


@torch.no_grad()
def _as_in_file(model: PeftModel, name: str, path: Path, base_name: str) -> list[str]:
    """Set each tensor that differs from the file to the value there; return the names of those.

    Raises:
        ModelError: Names or shapes in the file do not match the adapter's layers.
    """
    ours = adapter_tensors(model, name)
    stored = files.read_safetensors_header(path)
    also_base = _base_tensors(model, name)
    missing = sorted(set(ours) - set(stored))
    extra = sorted(set(stored) - set(ours) - set(also_base))
    if missing or extra:
        raise ModelError(
            t(
                "{folder}: the adapter weights do not match the base model: {missing} "
                "are missing, {extra} are unexpected ({name} ...).",
                folder=path.parent,
                missing=len(missing),
                extra=len(extra),
                name=(missing or extra)[0],
            ),
            fix=t("It was trained on {base}.", base=base_name),
            path=path.parent,
        )
    tensors = {**also_base, **ours}
    wrong = unlike_file(model, path, name)
    if not wrong:
        return []
    with safe_open(path, framework="pt") as opened:
        for key in wrong:
            value = opened.get_tensor(key)
            if value.shape == tensors[key].shape:
                tensors[key].copy_(value)
    left = unlike_file(model, path, name)
    if left:
        raise ModelError(
            t(
                "{folder}: the model did not load {count} tensors of the adapter ({name} ...).",
                folder=path.parent,
                count=len(left),
                name=left[0],
            ),
            fix=t("It was trained on {base}.", base=base_name),
            path=path.parent,
        )
    return wrong


def _base_tensors(model: Any, name: str) -> dict[str, Tensor]:
    """Input and output embeddings, which PEFT may have saved with the adapter, by name."""
    base = model.get_base_model()
    modules = {id(m): n for n, m in model.named_modules(remove_duplicate=False)}
    found: dict[str, Tensor] = {}
    for layer in (base.get_input_embeddings(), base.get_output_embeddings()):
        if layer is None or id(layer) not in modules:
            continue
        place = modules[id(layer)]
        inner = getattr(layer, "base_layer", None) or getattr(layer, "original_module", layer)
        for kind, tensor in inner.named_parameters(recurse=False):
            found[f"{place}.{kind}"] = tensor
            found[f"{place}.base_layer.{kind}"] = tensor
            found[f"{place}.original_module.{kind}"] = tensor
        copies = getattr(layer, "modules_to_save", None)
        if copies is not None and name in copies:
            for kind, tensor in copies[name].named_parameters(recurse=False):
                found[f"{place}.modules_to_save.{kind}"] = tensor
    return found


def _equal(tensor: Tensor, stored: Tensor) -> bool:
    """Whether a tensor has the stored values, compared in the tensor's dtype; NaN equals NaN."""
    if tensor.shape != stored.shape:
        return False
    stored = stored.to(device=tensor.device, dtype=tensor.dtype)
    same = (tensor.detach() == stored) | (tensor.isnan() & stored.isnan())
    return bool(same.all())
