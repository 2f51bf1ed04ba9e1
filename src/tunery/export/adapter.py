"""``--to adapter``: the adapter alone in PEFT's format, with the tokenizer it was trained with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tunery import faults
from tunery.errors import ExportError
from tunery.export import card
from tunery.export.parity import Parity
from tunery.export.trained import Trained
from tunery.i18n import t

NAME = "adapter"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def write(trained: Trained, into: Path) -> Parity:
    """Copy the adapter, name its base so that others find it, open it again and compare.

    Args:
        trained: The loaded model; released here.
        into: A folder that does not exist yet.

    Raises:
        ExportError: Every weight was trained, so there is no adapter; or the copy is not equal.
        OSError: The disk is full, or cannot be written.
    """
    source = trained.order.adapter
    if source is None:
        raise no_adapter(trained.order.name)
    into.mkdir()
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = trained.order.base_name
    config["revision"] = trained.order.base_revision or None
    (into / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    shutil.copyfile(source / WEIGHTS, into / WEIGHTS)
    faults.point("export", stage="weights", folder=into)
    trained.tokenizer().save_pretrained(into)
    card.write(into / "README.md", trained.order, kind=NAME)
    trained.release()
    return trained.check_reopened(into)


def no_adapter(name: str) -> ExportError:
    """The error for a run that trained the weights themselves."""
    return ExportError(
        t("{name}: its weights were trained themselves, so there is no adapter.", name=name),
        fix=t("Write the whole model: --to merged"),
    )
