"""The examples of a run: check datasets, select and count rows, split off an evaluation set."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tunery.commands import quoted
from tunery.config.data import DataConfig
from tunery.data.catalog import find, weight
from tunery.data.content import example_key, file_hash
from tunery.data.dataset import Dataset
from tunery.data.example_set import DatasetRows, ExampleSet, Selection, excess
from tunery.data.kinds import row_kind_named
from tunery.data.ledger import Ledger
from tunery.data.lint.idle import common
from tunery.data.lint.options import CheckOptions
from tunery.data.lint.report import Report
from tunery.data.lint.scan import scan
from tunery.data.lint.words import report_lines, report_text
from tunery.data.problems import Problem, coded, say
from tunery.data.quarantine import QuarantineFile
from tunery.data.sources.remote import fetch
from tunery.data.variables import unfilled
from tunery.errors import DataError
from tunery.i18n import joined, t
from tunery.types import Example

SAMPLE_SEED = 0x5A3D1E
Progress = Callable[[int, int, int], None]


SETTLED_BY_RENDERING = ("W712", "N153")
"""What a check of the rows alone suspects; a run renders every row and refuses those that fail."""


def read(
    names: Sequence[str],
    config: DataConfig,
    *,
    purpose: str = "train",
    wanted: str | None = None,
    quarantine: Path | None = None,
    progress: Progress | None = None,
) -> ExampleSet:
    """Check datasets and return their examples.

    Args:
        names: Datasets; ``NAME*2`` uses its rows twice.
        config: The ``data`` section.
        purpose: ``train``, ``evaluate`` or ``replay``; repeats apply only to training.
        wanted: The row kind that the method needs; None accepts any.
        quarantine: File for unusable rows with ``data.on_bad_rows: quarantine``.
        progress: Called with (rows read, bytes read, total bytes) of the current dataset.

    Raises:
        DataError: Rows cannot be used (the message is the grouped report), do not fit the method,
            contain unfilled placeholders, are too many, or there are none.
        UnknownName: A dataset does not exist.
        ConfigError: The catalog cannot be read, or the number of repeats is not valid.
    """
    options = CheckOptions.of(config, progress=progress, wanted=wanted)
    ledger, digest = Ledger(), hashlib.sha256()
    parts: list[tuple[DatasetRows, Selection]] = []
    warnings: list[Problem] = []
    reports: list[Report] = []
    digest.update(_settings(config, purpose).encode())
    with QuarantineFile(quarantine if config.on_bad_rows == "quarantine" else None) as aside:
        for name in names:
            base, times = weight(name)
            dataset = fetch(
                find(base, catalog=config.catalog, fmt=config.format, columns=config.columns)
            )
            result = scan(dataset, options, sink=aside.add)
            report = result.report
            _stop(report, config)
            rows = DatasetRows(dataset, result, dict(config.variables))
            _placeholders(rows, report, config)
            own = Ledger(report.rows, len(rows), report.bad)
            if report.duplicates:
                own.filtered["duplicate"] = report.duplicates
            chosen = _chosen(rows, dataset, config, own, times, repeats=purpose == "train")
            own.repeated = len(chosen) - own.used
            parts.append((rows, chosen))
            warnings += _warnings(report, purpose)
            if times > 1 and purpose != "train":
                warnings.append(_repeats_ignored(name, times, purpose))
            reports.append(report)
            ledger.add(own)
            digest.update(
                f"{base}*{times}|{report.format}|{json.dumps(sorted(result.options.columns.items()))}".encode()
            )
            content = b"".join(file_hash(path) for path in dataset.files)
            digest.update(content)
            if dataset.sha256 and hashlib.sha256(content).hexdigest() != dataset.sha256:
                warnings.append(_changed(dataset))
        aside.keep()
    if purpose == "train":
        warnings += common([report.idle for report in reports]).values()
    assert ledger.balanced(), f"the row equation does not hold: {ledger}"
    examples = ExampleSet(
        parts, ledger=ledger, warnings=warnings, hash=digest.hexdigest(), reports=reports
    )
    if wanted is not None and purpose == "train":
        counts: Counter[str] = Counter()
        for report in reports:
            counts.update(report.tags)
        _check_sufficient(wanted, counts, [report.dataset for report in reports])
    if not len(examples):
        raise DataError(
            t("{names}: no rows to train on.", names=", ".join(names) or "data.train"),
            fix=t("Choose a dataset that has rows: tunery data list"),
            code="E172",
        )
    return examples


def _warnings(report: Report, purpose: str) -> list[Problem]:
    # Using a test split (W715) is expected in an evaluation.
    left_out = (*SETTLED_BY_RENDERING, *(("W715",) if purpose != "train" else ()))
    return [problem for problem in report.warnings() if problem.code not in left_out]


def check_kept(wanted: str, examples: ExampleSet, kept: Iterable[int]) -> None:
    """Check that the examples left after truncation, filtering and the split suffice.

    Args:
        wanted: The row kind that the method needs.
        examples: All examples.
        kept: Indices of the examples that are trained.

    Raises:
        DataError: The kept examples lack something that the method needs.
    """
    kind = row_kind_named(wanted)
    numbers = list(kept)
    if numbers and kind.tag(examples[numbers[0]]):
        counts = Counter(kind.tag(examples[number]) for number in numbers)
        _check_sufficient(wanted, counts, [report.dataset for report in examples.reports])


def _check_sufficient(wanted: str, counts: Mapping[str, int], datasets: Sequence[str]) -> None:
    """Raise DataError if the rows together lack something that the method needs."""
    finding = row_kind_named(wanted).lacks(counts)
    if finding is not None:
        names = ", ".join(datasets)
        raise DataError(
            coded(finding.code, t("{place}: {found}.", place=names, found=finding.found)),
            fix=joined(finding.fix),
            code=finding.code,
        )


def rows_per_epoch(rows: int, dataset: Dataset, config: DataConfig) -> int:
    """Number of a dataset's usable rows in an epoch of training, before ``NAME*2`` repeats.

    As in LLaMA-Factory, if ``num_samples`` exceeds the number of rows, randomly chosen rows are
    repeated; ``max_samples`` is only a limit. ``NAME*2`` then repeats these rows as a whole.
    """
    wanted = dataset.num_samples or rows
    return min(wanted, config.max_samples or wanted) if rows else 0


def sampled_by(rows: int, dataset: Dataset, config: DataConfig) -> str:
    """What determines ``rows_per_epoch``: ``num_samples``, ``max_samples``, or nothing: ``""``."""
    wanted = rows_per_epoch(rows, dataset, config)
    if wanted == rows:
        return ""
    return "num_samples" if wanted == dataset.num_samples else "max_samples"


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split examples at random; duplicates are always on the same side.

    At least one row is held out, however small the share.

    Args:
        examples: The examples.
        share: Fraction to hold out, from 0 to below 1.
        seed: Seed of the split, which does not depend on the order of the rows.

    Returns:
        Indices to train on and indices held out, both ascending.

    Raises:
        DataError: E172, no row would be left to train on.
    """
    if share <= 0:
        return list(range(len(examples))), []
    ranks = _ranks(examples, seed)
    wanted = share * len(examples)
    held: list[int] = []
    smallest: list[int] = []
    for _, group in itertools.groupby(
        sorted(range(len(ranks)), key=ranks.__getitem__), ranks.__getitem__
    ):
        same = list(group)
        # Leave out a group that would not bring the count closer to the share.
        if len(held) + len(same) / 2 <= wanted:
            held += same
        elif held:
            break
        elif not smallest or len(same) < len(smallest):
            smallest = same
    held = held or smallest
    if len(held) == len(examples):
        raise _none_to_train(share, len(examples), distinct=len(set(ranks)))
    outside = set(held)
    return [i for i in range(len(examples)) if i not in outside], sorted(held)


def _none_to_train(share: float, count: int, *, distinct: int) -> DataError:
    """E172: a split leaves no row to train on."""
    if distinct == 1:
        side = t("duplicates are never on both sides")
        fix = t("Set evaluate.split to 0; to evaluate on other rows, set evaluate.datasets.")
    else:
        side, fix = t("no rows are left to train on"), t("Set evaluate.split lower.")
    message = t(
        "evaluate.split {share} of {count} rows ({distinct} distinct): {side}.",
        share=share,
        count=count,
        distinct=distinct,
        side=side,
    )
    return DataError(message, fix=fix, code="E172")


def _ranks(examples: Sequence[Example], seed: int) -> array[int]:
    """The rank of each example; a repeated row is read only once."""
    first = examples.first if isinstance(examples, ExampleSet) else None
    ranks = array("Q")
    for number in range(len(examples)):
        same = number if first is None else first(number)
        ranks.append(ranks[same] if same < number else _rank(seed, examples[number]))
    return ranks


def _rank(seed: int, example: Example) -> int:
    """A 64-bit number that depends only on the seed and the example's content."""
    digest = hashlib.blake2b(f"{seed}|{example_key(example)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _stop(report: Report, config: DataConfig) -> None:
    """Raise DataError with the grouped report if something in it stops the run."""
    if report.ok:
        return
    share = report.bad / max(1, report.rows)
    if config.on_bad_rows == "quarantine" and report.only_rows:
        if share <= config.max_bad_share:
            return
        raise DataError(
            t(
                "{dataset}: {bad:,} of {rows:,} rows cannot be used ({share:.1%}); at most "
                "{max_bad_share:.1%} may be set aside.",
                dataset=report.dataset,
                bad=report.bad,
                rows=report.rows,
                share=share,
                max_bad_share=config.max_bad_share,
            ),
            fix=t("Correct them, or set data.max_bad_share higher.")
            + "\n"
            + report_text(report, plain=True),
            code=report.stops[0].code,
        )
    raise DataError(
        report_text(report, plain=True),
        code=report.stops[0].code,
        dataset=report.dataset,
        findings=report_lines(report),
    )


def _repeats_ignored(name: str, times: int, purpose: str) -> Problem:
    """Warning W731: repeats of a dataset that is not trained on."""
    setting = "evaluate.datasets" if purpose == "evaluate" else "data.replay.prompts"
    return Problem(
        "W731",
        name,
        say("*{times} is not used: {setting} takes each row once", times=times, setting=setting),
        say("Remove *{times}.", times=times),
    )


def _changed(dataset: Dataset) -> Problem:
    return Problem(
        "W713",
        dataset.name,
        say("the content has changed since it was added"),
        say(
            "If that is meant: tunery data remove {name}, then add it again.",
            name=quoted(dataset.name),
        ),
    )


def _placeholders(rows: DatasetRows, report: Report, config: DataConfig) -> None:
    """Raise DataError (W706) if rows still contain unfilled placeholders such as ``{{name}}``."""
    if "W706" not in report.groups or "W706" in config.accept:
        return
    counts: dict[str, int] = {}
    affected = 0
    for i in range(len(rows)):
        names = unfilled(rows[i], config.variables)
        affected += bool(names)
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    if not counts:
        return
    listed = ", ".join("{{" + name + "}}" for name in counts)
    flags = " ".join(f'--data.variables.{name} "..."' for name in counts)
    settings = ", ".join(f"data.variables.{name}" for name in counts)
    raise DataError(
        t(
            "{dataset}: rows still hold {listed} ({holding} of {count}).",
            dataset=report.dataset,
            listed=listed,
            holding=affected,
            count=len(rows),
        ),
        fix=t(
            "Set {settings}, or pass: {flags} (to train on them as they are: --data.accept W706)",
            settings=settings,
            flags=flags,
        ),
        code="W706",
        dataset=report.dataset,
    )


def _chosen(
    rows: DatasetRows,
    dataset: Dataset,
    config: DataConfig,
    ledger: Ledger,
    times: int,
    *,
    repeats: bool,
) -> Selection:
    """Select rows and count the excluded ones in ``ledger``.

    Raises:
        DataError: E174, more than ``MAX_ROWS`` rows with repeats.
    """
    wanted = rows_per_epoch(len(rows), dataset, config)
    chosen: array[int] | range = range(len(rows))
    if wanted < len(rows):
        generator = random.Random(f"{SAMPLE_SEED}|{dataset.name}|{len(rows)}")
        chosen = array("Q", sorted(generator.sample(range(len(rows)), wanted)))
        ledger.filter(sampled_by(len(rows), dataset, config), len(rows) - wanted)
    if not repeats or not len(rows):
        return Selection(chosen)
    total = times * wanted
    if total > len(rows) and (finding := excess(dataset.name, len(rows), total)) is not None:
        raise DataError(
            coded(finding.code, t("{place}: {found}.", place=dataset.name, found=finding.found)),
            fix=joined(finding.fix),
            code=finding.code,
            dataset=dataset.name,
        )
    if wanted > len(rows):
        generator = random.Random(f"{SAMPLE_SEED}|{dataset.name}|{len(rows)}")
        again = generator.choices(range(len(rows)), k=wanted - len(rows))
        chosen = array("Q", [*range(len(rows)), *sorted(again)])
    return Selection(chosen, times)


def _settings(config: DataConfig, purpose: str) -> str:
    """The settings that determine the examples, as JSON for the hash."""
    keys = {
        "format",
        "columns",
        "encoding",
        "header",
        "records_at",
        "role_map",
        "parse",
        "coerce",
        "allow_empty",
        "merge_same_role",
        "deduplicate",
        "variables",
        "max_samples",
    }
    settings = config.model_dump(mode="json", include=keys)
    # Newer settings are omitted at their defaults, so that hashes of older runs stay valid.
    newer = {"delimiter", "max_record_mb"}
    settings |= config.model_dump(mode="json", include=newer, exclude_defaults=True)
    return json.dumps([purpose, settings], sort_keys=True)


__all__ = ["ExampleSet", "example_key", "read", "rows_per_epoch", "sampled_by", "split", "weight"]
