"""Evaluate models on rows: loss, perplexity, and answers next to the expected ones.

``start`` is light and starts a job; ``evaluate_job`` is the job and loads models. The rows are a
run's held-out split (the rows that it was never trained on) or a dataset's.
"""

from __future__ import annotations

import asyncio
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunery.config.config import Config
from tunery.config.frozen import read_frozen
from tunery.data.kinds import row_kind
from tunery.env import clipped
from tunery.errors import ConfigError, DataError
from tunery.i18n import t
from tunery.jobs import start as jobs
from tunery.jobs.folder import Job
from tunery.jobs.process import Handle
from tunery.models import heads
from tunery.models.resolve import resolve
from tunery.runs.folder import open_run
from tunery.types import Example

if TYPE_CHECKING:
    from tunery.services.chat import Speaker

MAX_MODELS = 4
MAX_ROWS = 2000
MAX_CHARACTERS = 4000
"""Length of a text without a question, as the table shows it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The models to evaluate, and the rows to evaluate them on.

    Args:
        models: One to four models, runs or checkpoints.
        run: Use this run's held-out rows; empty to use ``dataset``.
        dataset: A dataset, by name or path.
        num_rows: Maximum number of rows, sampled with the run's or dataset's seed.
        answers: Whether to generate answers as well.
        max_new_tokens: Maximum number of tokens per answer.
    """

    models: tuple[str, ...]
    run: str = ""
    dataset: str = ""
    num_rows: int = 50
    answers: bool = True
    max_new_tokens: int = 64


def start(wanted: Wanted) -> Job:
    """Start an evaluation in its own process.

    Raises:
        ConfigError: Nothing to evaluate, or too much.
        ModelError: A model is not on this machine.
        RunError: No such run.
    """
    if not 1 <= len(wanted.models) <= MAX_MODELS:
        raise ConfigError(t("Choose one to {most} models.", most=MAX_MODELS), code="models")
    if bool(wanted.run) == bool(wanted.dataset):
        raise ConfigError(t("Choose a run's held-out rows, or a dataset."), code="rows")
    if not 1 <= wanted.num_rows <= MAX_ROWS:
        raise ConfigError(t("Rows: 1 to {most}.", most=MAX_ROWS), code="num_rows")
    if not 1 <= wanted.max_new_tokens <= 4096:
        raise ConfigError(t("Max tokens: 1 to 4096."), code="max_new_tokens")
    for name in wanted.models:
        heads.require_writer(resolve(name))
    if wanted.run:
        _config_of(wanted.run)
    arguments = {
        "models": list(wanted.models),
        "run": wanted.run,
        "dataset": wanted.dataset,
        "num_rows": wanted.num_rows,
        "answers": wanted.answers,
        "max_new_tokens": wanted.max_new_tokens,
    }
    on = wanted.dataset or t("held-out rows of {run}", run=wanted.run)
    return jobs.start("evaluate", arguments, f"{' · '.join(wanted.models)} · {on}")


def evaluate_job(arguments: dict[str, Any], handle: Handle) -> dict[str, Any]:
    """Do the work of the job.

    Returns:
        ``models`` (name, loss, perplexity, num_tokens, rouge_l, exact) and ``rows`` (prompt,
        expected, losses, answers, scores by model), highest loss first.
    """
    told: dict[str, Any] = {**arguments, "models": tuple(arguments["models"])}
    wanted = Wanted(**told)
    examples, config = _rows(wanted)
    if not examples:
        raise DataError(
            t("There are no rows to evaluate on."),
            fix=t("Train with evaluate.split above 0, or choose a dataset."),
        )
    from tunery.services.chat import LoadedModels

    room = LoadedModels(on_notice=handle.say)
    rows = [_empty(example) for example in examples]
    measured: list[dict[str, Any]] = []
    total = len(wanted.models) * len(rows)
    for place, name in enumerate(wanted.models):
        handle.say(t("loading {name}", name=name))
        speaker = room.speaker(name, room.find(name))
        done = place * len(rows)
        measured.append(
            _measure(speaker, name, examples, rows, config, wanted, handle, (done, total))
        )
    worst = wanted.models[-1]
    rows.sort(key=lambda row: -(row["losses"].get(worst) or -1.0))
    return {"models": measured, "rows": rows, "on": wanted.dataset or wanted.run}


def as_csv(result: dict[str, Any]) -> str:
    """The table of an evaluation as CSV with a header."""
    names = [model["name"] for model in result["models"]]
    out = io.StringIO()
    writer = csv.writer(out)
    columns = [f"{kind} {name}" for name in names for kind in ("loss", "answer", "rouge_l")]
    writer.writerow(["prompt", "expected", *columns])
    for row in result["rows"]:
        cells: list[str] = []
        for name in names:
            score = row["scores"].get(name, {}).get("rouge_l", "")
            cells += [row["losses"].get(name, ""), _inert(row["answers"].get(name, "")), score]
        writer.writerow([_inert(row["prompt"]), _inert(row["expected"]), *cells])
    return out.getvalue()


def _inert(text: str) -> str:
    """Keep a spreadsheet from interpreting text as a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _config_of(name: str) -> Config:
    return read_frozen(open_run(name).config_file)


def _rows(wanted: Wanted) -> tuple[list[Example], Config]:
    from tunery.data import examples

    if not wanted.run:
        config = Config.model_validate({"data": {"train": [wanted.dataset]}})
        read = examples.read([wanted.dataset], config.data, purpose="evaluate")
        chosen = range(min(wanted.num_rows, len(read)))
        return [read[i] for i in chosen], config
    config = _config_of(wanted.run)
    if config.evaluate.datasets:
        read = examples.read(config.evaluate.datasets, config.data, purpose="evaluate")
        return [read[i] for i in range(min(wanted.num_rows, len(read)))], config
    read = examples.read(config.data.train, config.data)
    held = examples.split(read, config.evaluate.split, config.train.seed)[1]
    return [read[i] for i in held[: wanted.num_rows]], config


def _empty(example: Example) -> dict[str, Any]:
    kind = row_kind(example)
    question = kind.question(example)
    if question is None:
        prompt, expected = clipped(next(kind.texts(example), ""), MAX_CHARACTERS), ""
    else:
        asked, expected = question
        prompt = next((m.content for m in reversed(asked) if m.role == "user"), "")
    return {"prompt": prompt, "expected": expected, "losses": {}, "answers": {}, "scores": {}}


def _measure(
    speaker: Speaker,
    name: str,
    examples: Sequence[Example],
    rows: list[dict[str, Any]],
    config: Config,
    wanted: Wanted,
    handle: Handle,
    place: tuple[int, int],
) -> dict[str, Any]:
    """Measure one model on every row and write its results into the rows."""
    from tunery.evaluate import scores
    from tunery.evaluate.rows import Subject, measure

    done, total = place
    subject = Subject(
        speaker.engine, speaker.adapter, speaker.template, speaker.template.tokenizer,
        speaker.thinking,
    )  # fmt: skip
    found = asyncio.run(
        measure(
            subject, examples, config.data,
            max_tokens=wanted.max_new_tokens if wanted.answers else None,
            on_row=lambda count: handle.progress(done + count, total, "rows", name),
            stop_if_asked=handle.stop_if_asked,
        )
    )  # fmt: skip
    loss_sum, num_tokens = 0.0, 0
    for measured, row in zip(found, rows, strict=True):
        if measured.num_tokens:
            row["losses"][name] = round(measured.loss / measured.num_tokens, 5)
            loss_sum, num_tokens = loss_sum + measured.loss, num_tokens + measured.num_tokens
        if measured.answer is not None:
            row["answers"][name] = measured.answer
            row["scores"][name] = {
                "rouge_l": round(scores.rouge_l(measured.answer, row["expected"]), 4),
                "exact": scores.exact(measured.answer, row["expected"]),
            }
    too_long = sum(measured.too_long for measured in found)
    if too_long:
        handle.say(
            t(
                "{name}: {count} rows are too long for the model's context and will be skipped.",
                name=name,
                count=too_long,
            )
        )
    mean = loss_sum / num_tokens if num_tokens else None
    scored = [row["scores"][name] for row in rows if name in row["scores"]]
    return {
        "name": name,
        "loss": mean,
        "perplexity": math.exp(mean) if mean is not None and mean < 700 else None,
        "num_tokens": num_tokens,
        "num_rows": len(rows),
        **{
            key: sum(score[key] for score in scored) / len(scored) if scored else None
            for key in ("rouge_l", "exact")
        },
    }
