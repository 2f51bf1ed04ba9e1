"""Splits of a dataset (train, validation, test), recognized from the paths of its files.

If no split is requested, the training rows are read and the unread splits are reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from tunery.data.problems import Problem, enumerated, say
from tunery.errors import DataError
from tunery.i18n import t

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
ALL = "all"
"""Selects the files of every split."""


def canonical(split: str) -> str:
    """The usual name of a split, such as ``validation`` for ``dev``; other names are unchanged."""
    return next((name for name, words in SPLITS.items() if split in words), split)


def split_of(path: str) -> str | None:
    """The last split named in a path; None if it names none."""
    for word in reversed(re.split(r"[-/._ 0-9]+", path.lower())):
        for split, words in SPLITS.items():
            if word in words:
                return split
    return None


def divided(paths: Sequence[str]) -> dict[str, list[str]]:
    """Group paths by the split that they name, in the usual order of splits.

    Files that name no split are the training rows if no file names ``train``; otherwise their key
    is ``""``.
    """
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(split_of(path) or "", []).append(path)
    if "" in found and "train" not in found:
        found["train"] = found.pop("")
    return {split: found[split] for split in (*SPLITS, "") if split in found}


def chosen_splits(present: Sequence[str], own: str, split: str | None) -> list[str]:
    """Choose the splits to read; a single split is always read if none is requested.

    Args:
        present: Splits that have files, in order.
        own: Name of the dataset, written before ``:split``.
        split: The requested split; None means the training rows.

    Raises:
        DataError: E198, there is no such split.
    """
    if split == ALL or (len(present) == 1 and split is None):
        return list(present)
    wanted = "train" if split is None else split
    for each in (wanted, canonical(wanted)):
        if each in present:
            return [each]
    known = [each for each in present if each]
    raise DataError(
        t("{name}: no split {split!r}.", name=own, split=wanted),
        fix=t(
            "Available: {names}; write {own}:{known}.",
            names=", ".join(known),
            own=own,
            known=known[0],
        ),
        code="E198",
    )


def split_problems(
    by_split: Mapping[str, Sequence[str | PurePath]],
    own: str,
    chosen: Sequence[str],
    split: str | None,
) -> tuple[Problem, ...]:
    """Warnings about the split: W726 if none was requested and others are not read, or W715.

    Args:
        by_split: Files by split.
        own: Name of the dataset, written before ``:split``.
        chosen: The splits that are read.
        split: The requested split; None if none was requested.
    """
    if split is not None:
        return tuple(warn_of_tests(own, split))
    if len(by_split) == len(chosen):
        return ()
    rest = [each for each in by_split if each not in chosen]
    left = enumerated([each or PurePath(by_split[each][0]).name for each in rest])
    held = next((each for each in ("validation", "test") if each in rest), None)
    found = say("split {split} is used; not used: {left}", split=chosen[0], left=left)
    fix = (
        say(
            "To evaluate on {split}: --evaluate.datasets {own}:{split}. To use every "
            "file: {own}:all",
            split=held,
            own=own,
        )
        if held
        else say("To use every file: {own}:all", own=own)
    )
    return (Problem("W726", own, found, fix),)


def warn_of_tests(name: str, split: str | None) -> list[Problem]:
    """Warn (W715) if the requested split is meant for testing."""
    if split is None or split not in SPLITS["test"]:
        return []
    warning = Problem(
        "W715",
        name,
        say("split {split} is meant for testing", split=split),
        say("Train on another split, so that test results stay meaningful."),
    )
    return [warning]
