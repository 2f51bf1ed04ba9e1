"""Write the result of a run, ``adapter/`` or ``model/``, atomically, and read it back to check."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import PreTrainedTokenizerBase

from tunery import atomic, storage
from tunery.adapters.base import Adapter
from tunery.errors import RunFailed
from tunery.i18n import t
from tunery.runs.folder import RunFolder


def write(
    folder: RunFolder, adapter: Adapter, model: nn.Module, tokenizer: PreTrainedTokenizerBase
) -> Path:
    """Write the final weights into the run folder.

    They are staged, reopened to check that there are tensors and that all are finite, flushed and
    renamed; an earlier result of this run (before it was continued) is replaced.

    Returns:
        The folder of the result.

    Raises:
        RunFailed: The written files contain no weights or a non-finite value.
        OSError: A disk error; nothing is left behind.
    """
    staging = folder.path / f".staging-final-{os.getpid()}"
    clean(folder)
    staging.mkdir()
    try:
        adapter.write(model, tokenizer, staging)
        made = staging / adapter.config.writes
        _check(made)
        storage.fsync_tree(made)
        final = folder.path / adapter.config.writes
        storage.remove_tree(final)
        made.rename(final)
        atomic.flush(folder.path)
    finally:
        storage.remove_tree(staging)
    return final


def clean(folder: RunFolder) -> None:
    """Remove leftovers of an interrupted write; the run's lock must be held."""
    for left in [*folder.path.glob(".staging-final-*"), *folder.path.glob(".trash-*")]:
        storage.remove_tree(left)


def _check(made: Path) -> None:
    count = 0
    for file in sorted(made.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - safe_open is no mapping
                count += 1
                tensor = tensors.get_tensor(name)
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                    raise RunFailed(
                        t("{file}: {name} contains a non-finite value.", file=file.name, name=name),
                        fix=t(
                            "Resume from an earlier checkpoint with a lower optim.learning_rate."
                        ),
                    )
    if not count:
        raise RunFailed(
            t("{folder}: no weights were written.", folder=made),
            fix=t("This is an error in Tunery; report it to the developers."),
        )
