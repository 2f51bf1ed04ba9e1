"""A tokenizer without torch, for commands that only look at tokens.

The one loader is models/load.py; this is its short way for tokenizers that are nothing but a
tokenizer.json, where transformers need not import torch (1 s instead of 5). Every other class
goes through the loader.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunery.errors import panic_error
from tunery.models import proving

_PLAIN = {"PreTrainedTokenizerFast", "TokenizersBackend"}


def load_light(folder: Path) -> Any:
    """Load a folder's tokenizer, without torch where its class allows it.

    Raises:
        ModelError: There is none, or it is broken.
    """
    if "torch" not in sys.modules and _class_name(folder) in _PLAIN:
        proving.require(folder)
        with _transformers_without_torch():
            from transformers import PreTrainedTokenizerFast
        try:
            return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
        except BaseException as error:  # tokenizers raises plain Exception, or panics, over a file
            if not isinstance(error, Exception) and panic_error(error) is None:
                raise  # else the loader says what is wrong
    from tunery.models.load import load_tokenizer

    return load_tokenizer(folder)


def _class_name(folder: Path) -> str:
    try:
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        return str(config.get("tokenizer_class")) if "auto_map" not in config else ""
    except (OSError, ValueError, AttributeError):
        return ""


@contextlib.contextmanager
def _transformers_without_torch() -> Iterator[None]:
    """Let transformers believe that torch is absent, in a process that is one command only.

    transformers remembers the answer for good, so a process that may train later (a test, a
    notebook) is left alone.
    """
    command = Path(sys.argv[0])
    if command.name not in ("tunery", "tunery.exe") and command.parts[-2:] != (
        "tunery",
        "__main__.py",
    ):
        yield
        return
    before = os.environ.get("USE_TORCH")
    os.environ["USE_TORCH"] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["USE_TORCH"]
        else:
            os.environ["USE_TORCH"] = before
