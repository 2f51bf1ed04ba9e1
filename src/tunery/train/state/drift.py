"""What a run's numbers depend on beside its settings: the facts that a resume is compared with."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Collection
from typing import Any

from tunery.config.config import Config
from tunery.config.frozen import completed
from tunery.runs.drift import Difference, differences, refuse

PACKAGES = ("tunery", "torch", "transformers", "peft", "tokenizers", "numpy")


def versions() -> dict[str, str]:
    """Versions of the packages that decide the numbers."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def tokenizer_hash(tokenizer: Any) -> str:
    """Identify a tokenizer by its whole definition: vocabulary, merges, special tokens."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def recorded(config: Config, data_hash: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything a resume is compared in, as one nested dict."""
    return {
        **config.model_dump(mode="json"),
        "data_hash": data_hash,
        "facts": facts,
        "versions": versions(),
    }


def check(
    run: str, manifest: dict[str, Any], now: dict[str, Any], *, allowed: Collection[str]
) -> list[str]:
    """Compare a checkpoint's record with the present.

    Returns:
        The fields that differ and were allowed.

    Raises:
        RunError: A field differs that was not allowed; all are listed with old and new value.
    """
    before = {
        **completed(manifest["config"]),
        "data_hash": manifest["data_hash"],
        "facts": manifest["facts"],
        "versions": manifest["versions"],
    }
    found: list[Difference] = differences(before, now)
    return refuse(run, found, allowed=allowed)
