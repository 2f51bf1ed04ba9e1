"""Exports as jobs: asked for in the page, done in a process of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunery import env
from tunery.errors import DataError
from tunery.i18n import t, translated
from tunery.jobs import start as jobs
from tunery.jobs.folder import Job
from tunery.jobs.process import Handle
from tunery.models.resolve import resolve
from tunery.services.export import _exporting

STAGES = 2


def exports_dir() -> Path:
    """Where exports go that nobody gave another place."""
    return env.home() / "exports"


def formats() -> list[dict[str, str]]:
    """Every export format with a sentence for people; a new one appears by its name."""
    return [
        {"name": name, "label": _label(name), "help": _help(name)} for name in _exporting.FORMATS
    ]


def suggested(run: str, to: str) -> Path:
    """A free folder for an export."""
    stem = f"{run.replace('@', '-').replace('/', '-')}-{to}"
    for number in range(1, 1000):
        folder = exports_dir() / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists():
            return folder
    raise DataError(t("There are too many exports called {name}.", name=stem))


def start(run: str, folder: Path, *, to: str, dtype: str = "auto", force: bool = False) -> Job:
    """Start an export, after refusing what cannot work.

    Raises:
        UnknownName: No such format.
        ModelError: No such run, or it has no weights yet.
        ExportError: It cannot be written there.
    """
    if to not in _exporting.FORMATS:
        _exporting.FORMATS.get(to)
    _exporting.check_target(folder, force=force)
    found = resolve(run)
    order = _exporting.make_order(found, to=to, dtype=dtype, device="auto")
    _exporting.check_disk(folder, _exporting.expected_bytes(found, order, to=to))
    arguments = {"run": run, "folder": str(folder), "to": to, "dtype": dtype, "force": force}
    return jobs.start("export", arguments, f"{run} · {_label(to)}")


def export_job(arguments: dict[str, Any], handle: Handle) -> dict[str, Any]:
    """Do the work of the job; gives ``folder``, ``size_bytes`` and the ``report``."""
    stages = 0

    def stage(text: str) -> None:
        nonlocal stages
        handle.stop_if_asked()
        handle.progress(stages, STAGES, "stages", text, at_once=True)
        stages += 1

    with handle.interruptible():
        made = _exporting.export(
            arguments["run"],
            Path(arguments["folder"]),
            to=arguments["to"],
            dtype=arguments["dtype"],
            force=arguments["force"],
            stage=stage,
        )
    return {"folder": str(made.folder), "size_bytes": made.size_bytes, "report": made.report}


def _label(name: str) -> str:
    return {"adapter": t("Adapter"), "merged": t("Merged model")}.get(name, translated(name))


def _help(name: str) -> str:
    return {
        "adapter": t("Only what was learned (PEFT), small; it needs its base model."),
        "merged": t("A whole model of its own, for any program that reads safetensors."),
    }.get(name, "")
