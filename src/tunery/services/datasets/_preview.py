"""What a dataset looks like to a model: one row, or statistics of all rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunery import env
from tunery.commands import command
from tunery.config.config import Config
from tunery.config.data import DataConfig
from tunery.errors import DataError
from tunery.i18n import t

if TYPE_CHECKING:
    from tunery.data.examples import ExampleSet
    from tunery.data.preview import ExamplePreview
    from tunery.models.progress import ProgressEvent

READING = (
    *("format", "columns", "encoding", "records_at", "header", "delimiter", "max_record_mb"),
    *("max_columns", "role_map", "parse", "coerce", "allow_empty", "merge_same_role"),
)
"""The ``data`` settings that decide how rows are read."""
Progress = Callable[[int, int], None]
NOTICED = frozenset({"W707", "W714", "W726", "W727", "W728", "W732"})
"""Warnings about how rows and columns are read, shown with every previewed row."""
Fetching = Callable[["ProgressEvent"], None]


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row of a dataset, previewed.

    Args:
        example: The training example made from it.
        row: Its number, from 1.
        rows: Rows of the dataset.
        place: File and record that it came from.
        template: Name of the chat template.
        notices: Sentences about how the template was chosen, and about what is read.
    """

    example: ExamplePreview
    row: int
    rows: int
    place: str
    template: str
    notices: tuple[str, ...]


def fetch_model(config: Config, progress: Fetching) -> None:
    """Download the model of the settings if it is not on this machine yet.

    Args:
        config: The settings.
        progress: Called with the download's progress.
    """
    from tunery.models.ensure import ensure

    ensure(config.model.name, progress=progress)


def show_row(name: str, config: Config, *, row: int = 1) -> ShownRow:
    """Preview one row of a dataset.

    Args:
        name: Any name of a dataset.
        config: Model, template and data settings.
        row: Number of the row in the dataset, from 1.

    Raises:
        TuneryError: The dataset, the row or the model was not found, or the template rejects it.
    """
    from tunery.data.catalog import weight
    from tunery.data.lint.unused import CODES
    from tunery.data.preview import no_such_row, preview_example

    examples = _examples(weight(name)[0], config)
    index = _index(examples, row, check_command(name, config.data))
    if index is None:
        raise no_such_row(name, row, examples.ledger.read)
    example = examples[index]
    tokenizer, template, config = template_of(config)
    ref = examples.ref(index)
    return ShownRow(
        preview_example(example, template, tokenizer, config.data),
        row,
        examples.ledger.read,
        f"{ref.file}:{ref.line or ref.record}",
        template.name,
        (*template.notices, *(w.sentence for w in examples.warnings if w.code in CODES | NOTICED)),
    )


def part_as_dict(shown: ShownRow, part: int | None) -> dict[str, Any]:
    """A previewed row as plain data.

    Args:
        shown: The row.
        part: Which of its training rows, from 1, if a row becomes several; the last by default.

    Returns:
        ``{"text", "input_ids", "loss_mask", "tokens", "trained", "total", "cut"}``; for a pair
        ``{"sides": {"chosen": ..., "rejected": ...}, "shared_prompt", "facts"}``.
    """
    return shown.example.as_dict(pick_part(shown, part))


def pick_part(shown: ShownRow, part: int | None) -> Any:
    """One training row of a previewed row.

    Raises:
        DataError: There is no such part.
    """
    rows = shown.example.rows
    number = len(rows) if part is None else part
    if shown.example.sides and part is not None:
        raise DataError(
            t("--part {part}: both sides of a pair are one training row.", part=part),
            fix=t("Remove --part."),
        )
    if not 1 <= number <= len(rows):
        raise DataError(
            t(
                "--part {part}: this row becomes {count} training rows.",
                part=number,
                count=len(rows),
            ),
            fix=t("Give a number from 1 to {count}.", count=len(rows)),
        )
    return rows[number - 1]


def statistics(name: str, config: Config, *, progress: Progress | None = None) -> dict[str, Any]:
    """Tokenize a whole dataset, as a run would, and summarize it.

    The tokens are kept in the cache that training reads.

    Raises:
        TuneryError: The dataset or the model was not found, or rows cannot be used.
    """
    from tunery.data.statistics import statistics as summarize
    from tunery.data.tokenize import tokenize_all

    examples = _examples(name, config)
    tokenizer, template, config = template_of(config)
    rows = tokenize_all(
        examples,
        template,
        tokenizer,
        config.data,
        cache=env.cache_dir() / "tokens",
        progress=progress,
    )
    summary = summarize(rows, max_length=config.data.max_length, batch_size=config.train.batch_size)
    return {
        "dataset": name,
        "template": template.name,
        "ledger": examples.ledger.as_dict(),
    } | summary


def notes_with_model(name: str, config: Config) -> list[str]:
    """Render and tokenize a checked dataset with the model of the settings, as a run would.

    The tokens are kept in the cache that training reads.

    Returns:
        Sentences about rows that the model cannot take in full.

    Raises:
        TuneryError: The model is not on this machine or cannot be trained on these rows, or no row
            is left.
    """
    from tunery.chat.remarks import LOSSES, in_words
    from tunery.data.examples import read
    from tunery.data.statistics import too_long
    from tunery.data.tokenize import tokenize_all
    from tunery.models import vocabulary
    from tunery.models.resolve import resolve

    found = resolve(config.model.name)
    if found.base is None:
        vocabulary.check_folder(found.path)
    tokenizer, template, limited = template_of(config)
    as_written = config.data.model_copy(update={"accept": [*config.data.accept, "W706"]})
    rows = tokenize_all(
        read([name], as_written), template, tokenizer, limited.data,
        cache=env.cache_dir() / "tokens",
    )  # fmt: skip
    lost = too_long(rows, limited.data.max_length, positions=found.context_length)
    dropped = [in_words(note) for note in rows.notes if note in LOSSES]
    return [*template.notices, *dropped, *([lost] if lost else [])]


def _examples(name: str, config: Config) -> ExampleSet:
    """The dataset's usable rows; bad rows are skipped here and left to `tunery data check`."""
    from tunery.data.examples import read

    data = config.data.model_copy(update={"on_bad_rows": "quarantine", "max_bad_share": 1.0})
    return read([name], data)


def check_command(name: str, data: DataConfig) -> str:
    """The command that checks a dataset with the same reading settings, quoted for a shell."""
    words: list[str] = []
    default = DataConfig()
    for path in (*READING, "catalog"):
        value = getattr(data, path)
        if value != getattr(default, path):
            text = value if isinstance(value, str | Path) else json.dumps(value, ensure_ascii=False)
            words += [f"--data.{path}", str(text)]
    return command("data", "check", name, *words)


def _index(examples: ExampleSet, row: int, check: str) -> int | None:
    """The index of row number ``row`` among the usable rows; None if there is no such row.

    Raises:
        DataError: The row cannot be used; ``check`` is the command that says why.
    """
    if not 1 <= row <= examples.ledger.read:
        return None
    if len(examples) == examples.ledger.read:
        return row - 1
    for index in range(min(row, len(examples)) - 1, -1, -1):
        record = examples.ref(index).record
        if record == row:
            return index
        if record < row:
            break
    raise DataError(
        t("row {row} cannot be used for training.", row=row),
        fix=t("See what is wrong with: {command}", command=check),
        row=row,
    )


def template_of(config: Config) -> tuple[Any, Any, Config]:
    """Tokenizer, template, and the settings with ``max_length`` limited to the model's context."""
    from tunery.chat.template import ChatTemplate
    from tunery.models import dimensions
    from tunery.models.context import within_context
    from tunery.models.ensure import ensure
    from tunery.models.tokenizer import load_light

    resolved = ensure(config.model.name)
    dimensions.check_folder(resolved.model_folder)
    folder = resolved.path
    if not (folder / "tokenizer.json").is_file() and resolved.base is not None:
        folder = resolved.base.path
    tokenizer = load_light(folder)
    template = ChatTemplate.load(tokenizer, config.model.template, model=resolved.model_folder)
    return tokenizer, template, within_context(config, resolved)
