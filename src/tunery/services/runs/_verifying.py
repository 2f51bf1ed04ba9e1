"""Whether a run is whole: what must hold of its folder, and whether its base is still the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tunery import env
from tunery.errors import ModelError
from tunery.i18n import joined, t
from tunery.models import bases
from tunery.models.resolve import resolve
from tunery.runs.folder import RunFolder
from tunery.runs.verify import Finding, check_run


def verify(folder: RunFolder) -> Iterator[Finding]:
    """Check a run; findings come as they are made."""
    yield from check_run(folder)
    yield _base(folder)


def _base(folder: RunFolder) -> Finding:
    try:
        found = resolve(_name(folder))
    except ModelError as error:
        if error.code in (bases.OTHER, bases.MISSING):
            return Finding("I9", False, joined(error.message, error.fix))
        return Finding("I9", True, t("Base model: not compared, because no weights are saved."))
    if found.base is None:
        return Finding("I9", True, t("Base model: not needed, the trained weights are complete."))
    if not bases.is_known(folder.path):
        text = t("Base model: {base}; the run does not record its weights.", base=found.base.name)
        return Finding("I9", True, text)
    text = t("The base model has the weights it was trained on: {base}.", base=found.base.name)
    return Finding("I9", True, text)


def _name(folder: RunFolder) -> str:
    """What commands call a run: its name, or its path where it lies elsewhere."""
    here = folder.path.resolve().parent == env.runs_dir().resolve()
    return folder.name if here and not Path(folder.name).exists() else str(folder.path)
