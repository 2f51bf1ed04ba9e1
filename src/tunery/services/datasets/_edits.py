"""Changes to a dataset's rows: always in a copy with a version number, never in the original.

A copy is JSON Lines in Tunery's own folder. Further edits go into that copy until a run has
trained on it; after that, they create the next version. Every copy must pass the checker.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tunery.config.data import DataConfig
from tunery.data.dataset import Dataset
from tunery.data.lint.options import CheckOptions
from tunery.data.lint.scan import scan
from tunery.data.problems import FileProblem, Problem
from tunery.data.quarantine import QuarantineFile
from tunery.data.registered import registered
from tunery.data.sources.base import Bad
from tunery.data.variables import PLACEHOLDER, fill
from tunery.errors import DataError
from tunery.i18n import joined, t
from tunery.runs.store import list_runs
from tunery.services.datasets import _copies, _named
from tunery.services.datasets._rows import Raw, each_row, located, plain, size_bytes, strings
from tunery.types import is_list, is_mapping

MAX_EDITED_BYTES = 256 * 1024 * 1024
MAX_TEXT = 1_000_000


def edit_rows(name: str, changes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Change rows; the result is a copy with a version number.

    Args:
        name: A named dataset.
        changes: Each is ``{"row": 3, "path": ["output"], "text": "..."}``, ``{"row": 3,
            "delete": true}`` or ``{"after": 3, "values": {...}}`` (0 is before the first row).

    Returns:
        The name of the copy, whether it was created now, and its number of rows.

    Raises:
        DataError: A change refers to something that does not exist, or the rows would no longer
            pass the checker.
        UnknownName: No such dataset.
    """
    dataset = _editable(name)
    wanted = _by_row(changes)

    def edited() -> _copies.Rows:
        yield from map(_copies.line, wanted.added.get(0, ()))
        number = 0
        for raw in each_row(dataset, DataConfig()):
            number = raw.number
            if number not in wanted.deleted:
                texts = wanted.texts.get(number)
                yield _copies.line(_changed(raw, texts)) if texts else _copies.same(raw)
            yield from map(_copies.line, wanted.added.get(number, ()))
        if wanted.last > number:
            raise DataError(
                t(
                    "{name}: there is no row {row}; it has {rows}.",
                    name=name,
                    row=wanted.last,
                    rows=number,
                )
            )

    entry = registered().get(name, {})
    own = entry.get("made", {}).get("how") == "edit" and not used_by(name)
    if own:
        return {"name": name, "made": False, "rows": _copies.rewrite(name, edited)}
    target = _copies.next_version(name)
    saved = _copies.save(target, dataset, edited, "edit")
    return {"name": target, "made": True, "rows": saved["rows"]}


def blanks(name: str) -> list[dict[str, Any]]:
    """The ``{{placeholders}}`` of a dataset, each with its number of uses and of rows.

    Raises:
        TuneryError: The dataset was not found.
    """
    dataset = located(name, DataConfig())
    if size_bytes(dataset) > MAX_EDITED_BYTES:
        return []
    places: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    try:
        for raw in each_row(dataset, DataConfig()):
            if isinstance(raw.row, Bad) or (raw.text is not None and "{{" not in raw.text):
                continue
            found = [blank for held in strings(raw.row) for blank in PLACEHOLDER.findall(held)]
            places.update(found)
            rows.update(set(found))
    except FileProblem:
        return []  # the check reports what is wrong with the file
    return [{"name": blank, "places": places[blank], "rows": rows[blank]} for blank in places]


def fill_in(name: str, variables: Mapping[str, str], *, save_as: str = "") -> dict[str, Any]:
    """Replace each ``{{placeholder}}`` with a value and save the rows as a new dataset.

    Args:
        name: A named dataset.
        variables: A value for each of its placeholders.
        save_as: The copy's name; by default the dataset's name followed by the first value.

    Raises:
        DataError: A value is missing, or the name is taken.
    """
    dataset = _editable(name)
    values = {key: value.strip() for key, value in variables.items() if value.strip()}
    known = [blank["name"] for blank in blanks(name)]
    if not known:
        raise DataError(t("{name}: nothing to fill in.", name=name))
    missing = [blank for blank in known if blank not in values]
    if missing:
        raise DataError(
            t(
                "{names}: no value entered yet.",
                names=joined(*("{{" + blank + "}}" for blank in missing), between=", "),
            ),
            fix=t("Enter a value for each."),
            code="blank",
            missing=missing,
        )

    def filled() -> _copies.Rows:
        for raw in each_row(dataset, DataConfig()):
            text = raw.text
            untouched = isinstance(raw.row, Bad) or (text is not None and "{{" not in text)
            yield _copies.same(raw) if untouched else _copies.line(_filled(raw.row, values))

    target = save_as or suggested_copy_name(name, values)
    return _copies.save(target, dataset, filled, "fill", facts={"variables": values})


def suggested_copy_name(name: str, variables: Mapping[str, str]) -> str:
    """An unused name for a filled-in copy: ``identity-tuna``."""
    value = variables.get("name") or next(iter(variables.values()), "")
    slug = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")[:30]
    return _copies.free_name(f"{name}-{slug or 'mine'}")


def skip_bad(name: str) -> dict[str, Any]:
    """Make a copy without the unusable rows; they are stored next to it, with the reason.

    Raises:
        DataError: No row is bad, none is good, or a file cannot be read to its end.
    """
    return skip_bad_of(located(name, DataConfig()), DataConfig(), _copies.next_version(name))


def skip_bad_of(dataset: Dataset, config: DataConfig, target: str) -> dict[str, Any]:
    """Save a dataset without the rows that cannot be used; see :func:`skip_bad`."""
    bad: set[tuple[str, int | None]] = set()
    with _copies.staging(target) as folder:
        with QuarantineFile(folder / "quarantine.jsonl") as aside:

            def left_out(problem: Problem, raw: str) -> None:
                bad.add((problem.file, problem.record))
                aside.add(problem, raw)

            report = scan(dataset, CheckOptions.of(config), sink=left_out).report
            if not report.ok and not report.only_rows:
                _named.passed(dataset, config)
            if not report.bad:
                raise DataError(t("{name}: there are no bad rows.", name=dataset.name))
            aside.keep()

        def kept() -> _copies.Rows:
            for raw in each_row(dataset, config):
                if (raw.file, raw.record) not in bad:
                    yield _copies.same(raw)

        merged = replace(dataset, format=report.format or dataset.format)
        facts = {"read": report.rows, "quarantined": report.bad}
        return _copies.save(target, merged, kept, "skip", folder=folder, config=config, facts=facts)


def used_by(name: str) -> list[str]:
    """Names of the runs that trained on a dataset, newest first."""
    return [run.name for run in list_runs() if name in {each.split("*")[0] for each in run.data}]


def _editable(name: str) -> Dataset:
    dataset = located(name, DataConfig())
    size = size_bytes(dataset)
    if size > MAX_EDITED_BYTES:
        raise DataError(
            t(
                "{name} is {size} MiB; datasets of up to {limit} MiB can be edited here.",
                name=name,
                size=size >> 20,
                limit=MAX_EDITED_BYTES >> 20,
            ),
            fix=t("Edit its file and add it again."),
        )
    return dataset


class _Wanted:
    """Changes, grouped by the row they apply to."""

    def __init__(self) -> None:
        self.texts: dict[int, list[tuple[list[Any], str]]] = {}
        self.deleted: set[int] = set()
        self.added: dict[int, list[dict[str, Any]]] = {}
        self.last = 0


def _by_row(changes: Sequence[Mapping[str, Any]]) -> _Wanted:
    wanted = _Wanted()
    for change in changes:
        match change:
            case {"row": int(row), "path": [*path], "text": str(text), **more} if (
                row > 0 and path and not more
            ):
                if len(text) > MAX_TEXT:
                    raise DataError(
                        t("The text is longer than {limit} characters.", limit=MAX_TEXT)
                    )
                wanted.texts.setdefault(row, []).append((path, text))
            case {"row": int(row), "delete": True, **more} if row > 0 and not more:
                wanted.deleted.add(row)
            case {"after": int(row), "values": {**values}, **more} if (
                row >= 0 and values and not more
            ):
                wanted.added.setdefault(row, []).append(values)
            case _:
                raise DataError(
                    t(
                        "A change consists of a row and its new text, a row to delete, or a "
                        "row to add."
                    )
                )
        wanted.last = max(wanted.last, row)
    if not changes:
        raise DataError(t("There are no changes."))
    return wanted


def _changed(raw: Raw, texts: Sequence[tuple[list[Any], str]]) -> Any:
    values: Any = plain(raw.row) if is_mapping(raw.row) else {}
    for path, text in texts:
        inner = values
        try:
            for step in path[:-1]:
                inner = inner[step]
            old = inner[path[-1]]
            if not isinstance(old, str | int | float | bool | None):
                raise TypeError
            yes_or_no = isinstance(old, bool) and text in ("true", "false")
            inner[path[-1]] = text == "true" if yes_or_no else text
        except (LookupError, TypeError) as error:
            raise DataError(
                t(
                    "Row {row} has no text at {path}.",
                    row=raw.number,
                    path=".".join(map(str, path)),
                ),
                row=raw.number,
            ) from error
    return values


def _filled(value: Any, values: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return fill(value, values)
    if is_mapping(value):
        return {key: _filled(item, values) for key, item in value.items()}
    if is_list(value):
        return [_filled(item, values) for item in value]
    return value
