"""``--to merged``: one whole model folder that plain transformers opens."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from tunery import faults
from tunery.adapters.full import write_model
from tunery.config.exporters import ExporterKind
from tunery.export import card
from tunery.export.parity import Parity
from tunery.export.trained import Trained


def write(kind: ExporterKind, trained: Trained, into: Path) -> Parity:
    """Merge and write the model, then open it again and compare.

    The change of each layer is computed in fp32, added to the weight in fp32, and rounded once to
    the weight's own type. A model whose every weight was trained is copied as it is.

    Args:
        kind: Its light half.
        trained: The loaded model; released here, so that two copies never stand in memory.
        into: A folder that does not exist yet.

    Raises:
        ExportError: The written model is not equal to the trained one.
        OSError: The disk is full, or cannot be written.
    """
    model = trained.model
    settings = generation_settings(model, trained.stop_ids())
    faults.point("export", stage="begin")
    if isinstance(model, PeftModel):
        whole = merge(model)
        whole.generation_config = settings
        write_model(whole, trained.tokenizer(), into)
        del whole
    else:
        into.mkdir()
        for file in sorted(trained.order.folder.iterdir()):
            if file.name == "config.json" or ".safetensors" in file.name:
                shutil.copyfile(file, into / file.name)
        settings.save_pretrained(into)
        trained.tokenizer().save_pretrained(into)
    faults.point("export", stage="weights", folder=into)
    card.write(into / "README.md", trained.order, kind)
    del model
    trained.release()
    return trained.check_reopened(into)


def merge(model: PeftModel) -> PreTrainedModel:
    """Add the adapter's change to the base's weights, and take the adapter off.

    Adapters are held in fp32 and added in place, which torch computes in fp32 and rounds once to
    the weight's type (a test holds this to the bit). An output layer that shares its weight with
    the input embedding is parted from it first where the adapter changes one of the two.
    """
    base: Any = model.get_base_model()
    head, embedding = base.get_output_embeddings(), base.get_input_embeddings()
    changed = [layer for layer in (head, embedding) if hasattr(layer, "base_layer")]
    if head is not None and changed and _weight_of(head) is _weight_of(embedding):
        inner = getattr(head, "base_layer", head)
        inner.weight = nn.Parameter(inner.weight.detach().clone(), requires_grad=False)
        base.config.get_text_config().tie_word_embeddings = False
        base.config.tie_word_embeddings = False
    return model.merge_and_unload()


def generation_settings(model: Any, stop_ids: list[int]) -> Any:
    """The model's own defaults for generation, stopping where training taught it to stop."""
    settings = model.generation_config
    settings.eos_token_id = stop_ids
    if not settings.do_sample:
        # Values for sampling beside do_sample=False are refused on saving.
        for name in ("temperature", "top_p", "top_k", "min_p", "typical_p"):
            setattr(settings, name, None)
    return settings


def _weight_of(layer: Any) -> Any:
    return getattr(layer, "base_layer", layer).weight
