"""User annotations of runs: title, tags, pin, one baseline. In state.db, not in the folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tunery.errors import RunError
from tunery.i18n import t
from tunery.runs.folder import open_run
from tunery.state import database

TITLE_LENGTH = 120
NOTE_LENGTH = 4000
TAG_LENGTH = 40
NUM_TAGS = 12


@dataclass(frozen=True)
class Marks:
    """What is stored about one run outside its folder."""

    title: str = ""
    pinned: bool = False
    baseline: bool = False
    tags: tuple[str, ...] = ()
    note: str = ""


NONE = Marks()


def all_marks() -> dict[str, Marks]:
    """The marks of every run that has any."""
    rows = database().read("SELECT run, title, pinned, baseline, tags, note FROM run_marks")
    return {
        row["run"]: Marks(
            title=row["title"],
            pinned=bool(row["pinned"]),
            baseline=bool(row["baseline"]),
            tags=tuple(json.loads(row["tags"])),
            note=row["note"],
        )
        for row in rows
    }


def marks_of(run: str) -> Marks:
    """The marks of one run."""
    return all_marks().get(run, NONE)


def change_marks(
    run: str,
    *,
    title: str | None = None,
    pinned: bool | None = None,
    baseline: bool | None = None,
    tags: Sequence[str] | None = None,
    note: str | None = None,
) -> Marks:
    """Change the given marks; there is only one baseline, so a new one replaces the old one.

    Raises:
        RunError: There is no such run, or a text is too long.
    """
    open_run(run)
    before = marks_of(run)
    after = Marks(
        title=before.title if title is None else _text(title, TITLE_LENGTH),
        pinned=before.pinned if pinned is None else pinned,
        baseline=before.baseline if baseline is None else baseline,
        tags=before.tags if tags is None else _tags(tags),
        note=before.note if note is None else _text(note, NOTE_LENGTH),
    )
    with database().write() as db:
        if baseline:
            db.execute("UPDATE run_marks SET baseline = 0")
        db.execute(
            "INSERT OR REPLACE INTO run_marks (run, title, pinned, baseline, tags, note) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (run, after.title, after.pinned, after.baseline,
             json.dumps(after.tags, ensure_ascii=False), after.note),
        )  # fmt: skip
    return after


def _text(text: str, most: int) -> str:
    text = " ".join(text.split()) if most <= TITLE_LENGTH else text.strip()
    if len(text) > most:
        raise RunError(
            t("The text has {count} characters; the limit is {most}.",
              count=len(text), most=most),
            fix=t("Shorten it."),
        )  # fmt: skip
    return text


def _tags(tags: Sequence[str]) -> tuple[str, ...]:
    kept = tuple(dict.fromkeys(tag for tag in (_text(tag, TAG_LENGTH) for tag in tags) if tag))
    if len(kept) > NUM_TAGS:
        raise RunError(
            t("A run can have at most {most} tags.", most=NUM_TAGS), fix=t("Remove some.")
        )
    return kept
