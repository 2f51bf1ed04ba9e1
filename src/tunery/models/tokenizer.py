"""Load a tokenizer without importing torch, for commands that only need tokens.

Tokenizers that consist of a tokenizer.json load without torch (1 s instead of 5). All others go
through ``models.load``.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunery import panics
from tunery.errors import panic_error
from tunery.models import tokenizer_sandbox

_PLAIN = {"PreTrainedTokenizerFast", "TokenizersBackend"}


def load_light(folder: Path) -> Any:
    """Load a folder's tokenizer, without importing torch if its class allows that.

    Raises:
        ModelError: The tokenizer is missing or invalid, or needs code without consent.
    """
    if "torch" not in sys.modules and _class_name(folder) in _PLAIN:
        tokenizer_sandbox.require(folder)
        with _transformers_without_torch():
            from transformers import PreTrainedTokenizerFast
        try:
            with panics.native_call():
                return PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
        except BaseException as error:  # tokenizers raises plain Exception or panics
            if not isinstance(error, Exception) and panic_error(error) is None:
                raise  # otherwise load_tokenizer below reports it
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
    """Make transformers import without torch, only in the process of a ``tunery`` command.

    transformers keeps the setting for the lifetime of the process, so it is not changed in a
    process that may train later (a test, a notebook).
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
