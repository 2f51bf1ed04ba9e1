"""The light half of exporting the adapter alone."""

from __future__ import annotations

from typing import Literal

from tunery.config.exporters.base import ExporterKind
from tunery.errors import ExportError
from tunery.i18n import t


class AdapterExporter(ExporterKind):
    """The adapter alone, in PEFT's format."""

    build = "tunery.export.adapter:write"
    label = "Adapter"
    about = "Only the trained adapter (PEFT): small, but needs its base model."
    library = "peft"
    card = "An adapter (PEFT)"
    code = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto")
model = PeftModel.from_pretrained(base, "{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")"""

    type: Literal["adapter"] = "adapter"
    """The adapter alone."""

    def check(self, name: str, *, has_adapter: bool) -> None:
        """Reject a run that trained the full model."""
        if not has_adapter:
            raise ExportError(
                t("{name}: this run trained the full model, so there is no adapter.",
                  name=name),
                fix=t("Export the full model: --to merged"),
            )  # fmt: skip

    def size_bytes(self, trained: int, whole: int) -> int:
        """The size of the files that training wrote."""
        return trained
