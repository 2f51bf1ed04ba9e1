"""A teacher's most probable tokens, computed once before the first step and stored on the disk.

For each trained token, a store has the IDs of the k most probable tokens and their
log-probabilities at the temperature of the run, and that of all other tokens together. It is a
folder: ``ids.bin`` (int32), ``logprobs.bin`` (fp32, the rest last) and ``meta.json``, written to a
staging folder, renamed, then read through memory maps. So it is complete or absent.

Shapes: K trained tokens, C of a chunk, V vocabulary, J most probable tokens.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tunery import atomic, env, storage
from tunery.config.methods.distill import DistillConfig
from tunery.data.collate import Batch
from tunery.data.rows import Rows
from tunery.errors import RunFailed
from tunery.i18n import t
from tunery.methods.others import OtherModel, read_rows, rows_digest, with_streams
from tunery.policy.policy import Policy
from tunery.runs.context import RunContext

IDS, LOGPROBS = "teacher_ids", "teacher_logprobs"
_KINDS = {"ids.bin": np.int32, "logprobs.bin": np.float32}
_META = "meta.json"
LEAST = -1e4
"""Log-probability of what cannot happen: finite, and its probability is 0 in fp32."""


def most_probable(logits_CV: Tensor, count: int, temperature: float) -> tuple[Tensor, Tensor]:
    """The most probable tokens of a distribution, and the rest of it as one outcome.

    Args:
        logits_CV: Logits. Shape ``[C, V]``, fp32.
        count: Number of tokens (J).
        temperature: Divides the logits.

    Returns:
        IDs ``[C, J]``, most probable first, and log-probabilities ``[C, J + 1]``, in nats, the
        last of all other tokens together.
    """
    logprobs_CV = (logits_CV / temperature).log_softmax(-1)
    values_CJ, ids_CJ = logprobs_CV.topk(count, dim=-1)
    rest_C1 = logprobs_CV.scatter(1, ids_CJ, -math.inf).logsumexp(-1, keepdim=True)
    return ids_CJ, torch.cat([values_CJ, rest_C1], dim=-1).clamp(min=LEAST)


def at_tokens(logits_CV: Tensor, ids_CJ: Tensor, temperature: float) -> Tensor:
    """Log-probabilities of some tokens, and of all others together.

    Args:
        logits_CV: Logits. Shape ``[C, V]``, fp32.
        ids_CJ: The tokens, all different in a row. int64.
        temperature: Divides the logits.

    Returns:
        Nats, differentiable. Shape ``[C, J + 1]``; ``[C, J]`` if no token is left over.
    """
    logprobs_CV = (logits_CV / temperature).log_softmax(-1)
    values_CJ = logprobs_CV.gather(1, ids_CJ)
    if ids_CJ.shape[-1] == logprobs_CV.shape[-1]:
        return values_CJ
    rest_C1 = logprobs_CV.scatter(1, ids_CJ, -math.inf).logsumexp(-1, keepdim=True)
    return torch.cat([values_CJ, rest_C1], dim=-1)


class Stored:
    """A store of a teacher's most probable tokens, read through memory maps.

    Args:
        folder: The folder.

    Attributes:
        ids: Shape ``[K, J]``, int32.
        logprobs: Nats; the last column of all other tokens together. Shape ``[K, J + 1]``, fp32.
        vocab_size: Number of tokens that the distribution is over.
    """

    def __init__(self, folder: Path) -> None:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
        count, top_k = int(meta["tokens"]), int(meta["top_k"])
        self.vocab_size = int(meta["vocab_size"])
        self.ids = _map(folder / "ids.bin", (count, top_k))
        self.logprobs = _map(folder / "logprobs.bin", (count, top_k + 1))

    def added(self, rows: Rows) -> Rows:
        """The rows that it was computed of, with its values as streams."""
        ends = np.cumsum(rows.trained)

        def values(number: int) -> Mapping[str, np.ndarray]:
            part = slice(int(ends[number] - rows.trained[number]), int(ends[number]))
            return {IDS: self.ids[part], LOGPROBS: self.logprobs[part]}

        return rows.mapped(lambda number, group: with_streams(group, values(number)))


def stored(
    teacher: OtherModel,
    policy: Policy,
    rows: Rows,
    context: RunContext,
    config: DistillConfig,
    *,
    name: str,
) -> Stored:
    """Return a teacher's most probable tokens for all rows, computed if there is no store of them.

    Args:
        teacher: The teacher; loaded only if something must be computed.
        policy: The trained model.
        rows: The rows, at least one.
        context: The run; its folder holds the store, its events show the progress.
        config: The settings.
        name: Identifies the rows within the run.

    Raises:
        RunFailed: The disk is full.
        Stopped: A stop was requested; nothing is kept.
    """
    folder = context.folder.teacher_dir(name)
    source: dict[str, Any] = {
        "rows": rows_digest(rows),
        "teacher": teacher.fingerprint(),
        "dtype": context.config.model.dtype,
        "temperature": config.temperature,
    }
    if not _is_of(folder, source, config):
        storage.remove_tree(folder)
        for left in folder.parent.glob(f".{folder.name}.*"):  # of a killed process
            storage.remove_tree(left)
        reader = teacher.load(context)
        size = min(policy.vocab_size, reader.vocab_size)
        top_k = min(config.teacher_top_k or size, size)
        tokens = int(rows.trained.sum())
        meta = {**source, "tokens": tokens, "top_k": top_k, "vocab_size": size}
        _write(folder, meta, reader, rows, context)
    return Stored(folder)


def _is_of(folder: Path, source: Mapping[str, Any], config: DistillConfig) -> bool:
    """Whether a store exists and was computed of the same rows, teacher and settings."""
    try:
        known = json.loads((folder / _META).read_text(encoding="utf-8"))
    except OSError:
        return False
    asked = min(config.teacher_top_k or known["vocab_size"], known["vocab_size"])
    return known["top_k"] == asked and all(known[key] == source[key] for key in source)


def _write(
    folder: Path, meta: Mapping[str, Any], reader: Policy, rows: Rows, context: RunContext
) -> None:
    """Compute a store in a staging folder, then rename it."""
    staging = folder.with_name(f".{folder.name}.{os.getpid()}")
    staging.mkdir()
    width = {"ids.bin": int(meta["top_k"]), "logprobs.bin": int(meta["top_k"]) + 1}
    need = sum(4 * count * int(meta["tokens"]) for count in width.values())
    try:
        storage.allocate(staging / "room", need)  # a full disk is better known now than in an hour
        files = {name: (staging / name).open("w+b") for name in _KINDS}
        try:
            _compute(files, width, meta, reader, rows, context)
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        finally:
            for file in files.values():
                file.close()
        storage.write_text(staging / _META, json.dumps(meta, indent=1))
        staging.rename(folder)
        atomic.flush(folder.parent)
    except OSError as error:
        if storage.full_disk(error) is None:
            raise
        raise RunFailed(
            t("{path}: the predictions of the teacher need {need}, but only {free} is free.",
              path=folder, need=env.human_bytes(need),
              free=env.human_bytes(env.free_bytes(folder.parent))),
            fix=t("Free some space and resume the run, or start one with a lower "
                  "method.teacher_top_k."),
            path=folder,
        ) from error  # fmt: skip
    finally:
        storage.remove_tree(staging)


def _compute(
    files: Mapping[str, Any],
    width: Mapping[str, int],
    meta: Mapping[str, Any],
    reader: Policy,
    rows: Rows,
    context: RunContext,
) -> None:
    """Write the values of all trained tokens, each group in its place."""
    ends, top_k, size = np.cumsum(rows.trained), int(meta["top_k"]), int(meta["vocab_size"])

    def compare(logits_CV: Tensor, _: None, target_C: Tensor) -> Tensor:
        ids_CJ, logprobs_CJ = most_probable(logits_CV[:, :size], top_k, meta["temperature"])
        # An fp32 holds every ID exactly: no vocabulary has 2**24 tokens.
        return torch.cat([ids_CJ.to(logprobs_CJ.dtype), logprobs_CJ], dim=-1).T

    def take(members: list[int], batch: Batch) -> None:
        found = reader.compared(batch, None, compare).T.cpu().numpy()
        parts = {"ids.bin": found[:, :top_k], "logprobs.bin": found[:, top_k:]}
        start = 0
        for i in members:
            count = int(rows.trained[i])
            for name, values in parts.items():
                kept = np.ascontiguousarray(values[start : start + count], dtype=_KINDS[name])
                files[name].seek(4 * width[name] * int(ends[i] - count))
                files[name].write(kept.data)
            start += count

    read_rows(reader, rows, context, take, phase="teacher")


def _map(file: Path, shape: tuple[int, int]) -> np.ndarray:
    kind = _KINDS[file.name]
    if not shape[0]:
        return np.zeros(shape, dtype=kind)
    return np.memmap(file, dtype=kind, mode="r", shape=shape)
