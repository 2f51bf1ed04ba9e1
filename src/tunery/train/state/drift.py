"""The facts that a resume compares: everything besides the settings that affects the numbers."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from tunery.config.config import Config
from tunery.config.frozen import completed
from tunery.runs.drift import Difference, differences, refuse

PACKAGES = ("tunery", "torch", "transformers", "peft", "tokenizers", "numpy")


def versions() -> dict[str, str]:
    """Versions of the packages that affect the numbers."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def tokenizer_hash(tokenizer: Any) -> str:
    """Identify a tokenizer by its whole definition: vocabulary, merges, special tokens."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def processor(device: str) -> str:
    """The hardware that computes a run; on other hardware the last bits of the numbers differ.

    Args:
        device: As returned by ``pick_device``.

    Returns:
        The accelerator's name; on a CPU, its name and the widest instruction set that torch uses.
    """
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{cpu_name()} ({torch.backends.cpu.get_cpu_capability()})"


def cpu_name() -> str:
    """The processor's name as reported by the system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # not Linux
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def recorded(config: Config, data_hash: str, facts: dict[str, Any]) -> dict[str, Any]:
    """Everything that a resume compares, as one nested dict."""
    return {
        **config.model_dump(mode="json"),
        "data_hash": data_hash,
        "facts": facts,
        "versions": versions(),
    }


def check(
    run: str, manifest: dict[str, Any], now: dict[str, Any], *, allowed: Collection[str]
) -> list[str]:
    """Compare a checkpoint's recorded facts with the current ones.

    Returns:
        The fields that differ and are allowed to.

    Raises:
        RunError: A field differs that is not allowed to; all are listed with old and new values.
    """
    before = {
        **completed(manifest["config"]),
        "data_hash": manifest["data_hash"],
        "facts": {**_since(manifest["facts"], now["facts"]), **manifest["facts"]},
        "versions": manifest["versions"],
    }
    found: list[Difference] = differences(before, now)
    return refuse(run, found, allowed=allowed)


def _since(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Current values of facts that an older Tunery did not record, so they never differ."""
    return {name: now[name] for name in ("processor",) if name in now and name not in before}
