"""The light half of exporting one complete model."""

from __future__ import annotations

from typing import Literal

from tunery.config.exporters.base import ExporterKind


class MergedExporter(ExporterKind):
    """A whole model folder, the adapter merged into its base."""

    build = "tunery.export.merged:write"
    label = "Merged model"
    about = "A complete standalone model for any program that reads safetensors."
    library = "transformers"
    card = "The whole fine-tuned model"
    code = """from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("{folder}")"""

    type: Literal["merged"] = "merged"
    """A whole model folder."""
