"""Write the curves of a run to a file of the user's choice: an image, or a table of all points."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tunery import atomic, env
from tunery.errors import RunError
from tunery.i18n import either, t
from tunery.runs.curves import RunLog
from tunery.runs.folder import RunFolder
from tunery.services.runs._archive import metrics_csv

IMAGES = (".png", ".svg")


def write_curves(folder: RunFolder, *, plot: str | None, csv: str | None) -> list[Path]:
    """Write the curves of a run; nothing is written unless both files can be.

    An existing file is replaced.

    Args:
        folder: The run.
        plot: A ``.png`` or ``.svg`` file for the curves of the measures the run declares.
        csv: A ``.csv`` file for every step and evaluation, one line each.

    Returns:
        The files written.

    Raises:
        RunError: A file has another ending or cannot be written, or the run has no points yet.
    """
    image = _target("--plot", plot, IMAGES)
    table = _target("--csv", csv, (".csv",))
    if image is None and table is None:
        return []
    log = RunLog(folder.events_file).refresh()
    if not len(log.curves) and not log.of_type("eval"):
        raise RunError(
            t("Run {run} has no steps yet; there is nothing to write.", run=folder.name),
            fix=t("Try again after its first step."),
            run=folder.name,
        )
    written: list[Path] = []
    if image is not None:
        from tunery.train.tell.report import curves_image

        _write(image, curves_image(log.thinned(), image.suffix.lower()[1:]))
        written.append(image)
    if table is not None:
        _write(table, "".join(metrics_csv(folder.events_file)))
        written.append(table)
    return written


def _target(flag: str, file: str | None, endings: tuple[str, ...]) -> Path | None:
    """The absolute path of a file that can be written.

    Raises:
        RunError: It cannot, or has none of the endings.
    """
    if file is None:
        return None
    path = env.expanded(file).absolute()
    if path.suffix.lower() not in endings:
        raise RunError(
            t("{flag} {file!r}: the name must end in {endings}.",
              flag=flag, file=file, endings=either(endings)),
            fix=t("Such as: {flag} {file}", flag=flag, file=f"curves{endings[0]}"),
        )  # fmt: skip
    if path.is_dir():
        raise _unwritable(path, OSError(errno.EISDIR, os.strerror(errno.EISDIR)))
    if not path.parent.is_dir():
        raise RunError(
            t("{path}: the folder {folder} does not exist.", path=path, folder=path.parent),
            fix=t("Create it first, or choose another file."),
        )
    if not os.access(path.parent, os.W_OK):
        raise _unwritable(path, OSError(errno.EACCES, os.strerror(errno.EACCES)))
    return path


def _write(path: Path, content: str | bytes) -> None:
    try:
        atomic.write(path, content)
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        t("{path}: cannot be written: {reason}.", path=path, reason=error.strerror or str(error)),
        fix=t("Choose another file."),
    )
