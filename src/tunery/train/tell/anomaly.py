"""Record the rows of a step that was skipped because its loss or gradient is not finite."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tunery.data.collate import collate_groups
from tunery.data.rows import Rows
from tunery.errors import RunFailed
from tunery.i18n import t
from tunery.methods.base import Method, combine
from tunery.policy.policy import Policy, evaluating
from tunery.train.feed.feed import StepBatches
from tunery.workers.log import plain


def write(
    file: Path,
    rows: Rows,
    batches: StepBatches,
    method: Method,
    policy: Policy,
    facts: Mapping[str, Tensor],
) -> list[dict[str, Any]]:
    """Write one line per row of the step: its source and its current loss.

    Returns:
        The written entries; rows whose own loss is not finite come first.
    """
    found: list[dict[str, Any]] = []
    with evaluating(policy.model), torch.inference_mode():
        for number in batches.rows:
            group = rows.group(number)
            batch = collate_groups([group], [number], trim=rows.trim).to(policy.device)
            made = method.loss(policy, batch, facts)
            found.append(
                {
                    "row": number,
                    **rows.origin(number),
                    "tokens": int(rows.lengths[number]),
                    "loss": float(combine(made.total, method.units(group))),
                }
            )
    found.sort(key=lambda entry: math.isfinite(entry["loss"]))
    lines = [json.dumps(plain(entry), ensure_ascii=False) for entry in found]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return found


def nothing_learned(step: int, file: Path) -> RunFailed:
    """The error that ends a run of which no step changed the weights."""
    return RunFailed(
        t(
            "failed: non-finite. Every step had a non-finite loss or gradient and was skipped, so "
            "the model is what it was before training; the rows are in {files}.",
            files=file.parent / "anomaly-*.jsonl",
        ),
        fix=t("Lower optim.learning_rate, set model.dtype to fp32, or check the rows."),
        step=step,
    )


def give_up(step: int, count: int, file: Path) -> RunFailed:
    """The error that ends a run after too many such steps in a row."""
    return RunFailed(
        t(
            "failed: non-finite. {count} consecutive steps, up to step {step}, had a "
            "non-finite loss or gradient; their rows are in {files}. These steps were "
            "skipped and the last checkpoint is intact.",
            count=count,
            step=step,
            files=file.parent / "anomaly-*.jsonl",
        ),
        fix=t("Lower optim.learning_rate, set model.dtype to fp32, or check the rows."),
        step=step,
    )
