"""Export for ``--to merged``: a full model folder that plain transformers can load."""

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
from tunery.i18n import t


def write(kind: ExporterKind, trained: Trained, into: Path) -> Parity:
    """Merge and write the model, then reopen it and compare.

    The change of each layer is computed in fp32, added to the weight in fp32, and rounded once to
    the weight's own dtype. A fully trained model is copied as it is.

    Args:
        kind: The format's settings.
        trained: The loaded model; released here, so that there are never two copies in memory.
        into: A folder that does not exist yet.

    Raises:
        ExportError: The written model does not match the trained one.
        OSError: The disk is full or cannot be written.
    """
    model = trained.model
    settings = generation_settings(model, trained.stop_ids())
    faults.point("export", stage="begin")
    if isinstance(model, PeftModel):
        trained.stage(t("merging the adapter into the weights"), 0, 0)
        whole = merge(model)
        whole.generation_config = settings
        trained.stage(t("writing the model"), 0, 0)
        write_model(whole, trained.tokenizer(), into)
        del whole
    else:
        into.mkdir()
        whole_files = [file for file in sorted(trained.order.folder.iterdir())
                       if file.name == "config.json" or ".safetensors" in file.name]  # fmt: skip
        for done, file in enumerate(whole_files):
            trained.stage(t("copying the model's files"), done, len(whole_files))
            shutil.copyfile(file, into / file.name)
        settings.save_pretrained(into)
        trained.tokenizer().save_pretrained(into)
    faults.point("export", stage="weights", folder=into)
    card.write(into / "README.md", trained.order, kind)
    del model
    trained.release()
    return trained.check_reopened(into)


def merge(model: PeftModel) -> PreTrainedModel:
    """Merge the adapter into the base weights and remove it.

    Adapters are kept in fp32 and added in place, which torch computes in fp32 and rounds once to
    the weight's dtype (a test checks this bit for bit). If the output layer is tied to the input
    embedding and the adapter changes either of them, the two are untied first.
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
    """The model's own generation defaults, with the stop tokens used in training."""
    settings = model.generation_config
    settings.eos_token_id = stop_ids
    if not settings.do_sample:
        # transformers refuses to save sampling values together with do_sample=False.
        for name in ("temperature", "top_p", "top_k", "min_p", "typical_p"):
            setattr(settings, name, None)
    return settings


def _weight_of(layer: Any) -> Any:
    return getattr(layer, "base_layer", layer).weight
