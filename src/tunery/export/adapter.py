"""Export for ``--to adapter``: only the adapter, in PEFT's format, with its tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tunery import faults
from tunery.config.exporters import ExporterKind
from tunery.export import card
from tunery.export.parity import Parity
from tunery.export.trained import Trained

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


def write(kind: ExporterKind, trained: Trained, into: Path) -> Parity:
    """Copy the adapter, record its base model, reopen the copy and compare it.

    Args:
        kind: The format's settings.
        trained: The loaded model; released here.
        into: A folder that does not exist yet.

    Raises:
        ExportError: The full model was trained, so there is no adapter; or the copy differs.
        OSError: The disk is full or cannot be written.
    """
    source = trained.order.adapter
    kind.check(trained.order.name, has_adapter=source is not None)
    assert source is not None
    into.mkdir()
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = trained.order.base_name
    config["revision"] = trained.order.base_revision or None
    (into / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
    shutil.copyfile(source / WEIGHTS, into / WEIGHTS)
    faults.point("export", stage="weights", folder=into)
    trained.tokenizer().save_pretrained(into)
    card.write(into / "README.md", trained.order, kind)
    trained.release()
    return trained.check_reopened(into)
