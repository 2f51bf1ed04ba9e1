"""Exports as jobs: requested in the page, run in their own process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunery import env
from tunery.config.base import tag
from tunery.config.exporters import EXPORTERS, exporter
from tunery.errors import DataError
from tunery.i18n import t, translated
from tunery.jobs import folder as folder_jobs
from tunery.jobs import start as jobs
from tunery.jobs.folder import Job
from tunery.jobs.process import Handle
from tunery.models.resolve import resolve
from tunery.services.export import _exporting


def exports_dir() -> Path:
    """Default folder for exports."""
    return env.home() / "exports"


def formats() -> list[dict[str, str]]:
    """Every export format with a one-sentence description."""
    return [kind().shown() for kind in EXPORTERS]


def listing() -> list[dict[str, Any]]:
    """Every export, newest first, with ``code``: Python that loads it."""
    return [{**job.as_dict(), "code": _code(job)} for job in folder_jobs.listing(kind="export")]


def _code(job: Job) -> str:
    report = (job.result or {}).get("report")
    kinds = {tag(kind): kind for kind in EXPORTERS}
    if job.result is None or report is None or report["format"] not in kinds:
        return ""
    code = kinds[report["format"]].code
    return code.format(folder=job.result["folder"], base=report.get("base", "base"))


def suggested(run: str, to: str) -> Path:
    """An unused folder name for an export."""
    stem = f"{run.replace('@', '-').replace('/', '-')}-{to}"
    for number in range(1, 1000):
        folder = exports_dir() / (stem if number == 1 else f"{stem}-{number}")
        if not folder.exists():
            return folder
    raise DataError(t("Too many exports are named {name}.", name=stem))


def start(run: str, folder: Path, *, to: str, dtype: str = "auto", force: bool = False) -> Job:
    """Start an export, after rejecting what cannot work.

    Raises:
        UnknownName: No such format.
        ModelError: No such run, or it has no weights yet.
        ExportError: It cannot be written there.
    """
    kind = exporter(to)
    _exporting.check_target(folder, force=force)
    found = resolve(run)
    order = _exporting.make_order(found, kind, dtype=dtype, device="auto")
    _exporting.check_disk(folder, _exporting.expected_bytes(found, order, kind))
    arguments = {"run": run, "folder": str(folder), "to": to, "dtype": dtype, "force": force}
    return jobs.start("export", arguments, f"{run} · {translated(kind.label)}")


def export_job(arguments: dict[str, Any], handle: Handle) -> dict[str, Any]:
    """Do the work of the job; returns ``folder``, ``size_bytes`` and the ``report``."""

    def stage(text: str, done: int, total: int) -> None:
        handle.stop_if_asked()
        handle.progress(done, total, "prompts", text, at_once=done == 0)

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
