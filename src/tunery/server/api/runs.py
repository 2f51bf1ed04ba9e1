"""/api/v1/runs: the runs, their metrics and logs, and the actions on them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi import Path as FromPath
from pydantic import Field
from starlette.responses import FileResponse, Response, StreamingResponse

from tunery.errors import RunError
from tunery.i18n import t
from tunery.runs import store
from tunery.runs.curves import events_from
from tunery.runs.folder import open_run
from tunery.server.api.body import Body
from tunery.server.api.named import Behind, RunName, check_choice
from tunery.server.security.access import needs
from tunery.services import access, runs
from tunery.workers.log import plain
from tunery.workers.process import Control

router = APIRouter(prefix="/api/v1/runs", tags=["runs"], dependencies=[Depends(needs("jobs"))])

MOST_EVENTS_BYTES = 256 * 1024
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Status = Literal["running", "done", "failed", "queued", "stopping", "paused", "finished",
                 "stopped", "interrupted"]  # fmt: skip
"""A group of statuses, or one of them."""
Sort = Literal["started", "name", "status", "loss", "best", "rate", "epochs", "time"]
"""A column of the table of runs."""


@router.get("")
def listing(
    q: str = "",
    status: Status | None = None,
    model: str = "",
    dataset: str = "",
    tag: str = "",
    sort: Sort = "started",
    dir: Literal["asc", "desc"] = "desc",
    page: Annotated[int, Query(ge=1)] = 1,
    page_size: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """List one page of the runs that match; pinned runs first, then the newest by default."""
    found = runs.find(
        runs.Query(q, status or "", model, dataset, tag, sort, dir == "desc", page, page_size)
    )
    return {"runs": [row.as_dict() for row in found.rows], "total": found.total,
            "counts": found.counts}  # fmt: skip


@router.get("/compare")
def compare(ids: str) -> dict[str, Any]:
    """Compare two to six runs; ``ids`` are their names, separated by commas."""
    return runs.comparison_as_dict(runs.compare([access.run(name) for name in ids.split(",")]))


class Undo(Body):
    """The ``tokens`` that deleting runs returned."""

    tokens: Annotated[list[str], Field(min_length=1, max_length=200)]


@router.post("/undo")
def undo(request: Undo) -> dict[str, Any]:
    """Restore deleted runs."""
    return {"restored": [store.restore(token) for token in request.tokens]}


class Names(Body):
    """The names of runs."""

    names: Annotated[list[Name], Field(min_length=1, max_length=200)]


@router.post("/delete")
def delete_some(request: Names) -> dict[str, Any]:
    """Delete runs; ``/undo`` can restore them for the number of ``seconds`` in the response."""
    store.sweep()
    put = [store.move_to_trash(name) for name in request.names]
    return {"tokens": [p.token for p in put], "bytes": sum(p.bytes for p in put),
            "seconds": store.UNDO_SECONDS}  # fmt: skip


@router.get("/{name}")
def one(name: RunName) -> dict[str, Any]:
    """Get a run: its state, phases, checkpoints and result, and why it failed."""
    seen = runs.view(name)
    return {
        **seen.row.as_dict(),
        "declared": [measure.as_dict() for measure in seen.declared.measures],
        "phases": [vars(phase) for phase in seen.phases],
        "checkpoints": [vars(checkpoint) for checkpoint in seen.checkpoints],
        "warnings": seen.warnings,
        "failure": vars(seen.failure) if seen.failure else None,
        "diagnosis": plain(seen.diagnosis.as_dict()) if seen.diagnosis else None,
        "plan": seen.plan,
        "rows": seen.rows,
        "result": seen.result,
        "cursor": seen.cursor,
    }


class Change(Body):
    """The title, pin, baseline, tags and note of a run; omitted fields stay unchanged."""

    title: str | None = None
    pinned: bool | None = None
    baseline: bool | None = None
    tags: list[str] | None = None
    note: str | None = None


@router.patch("/{name}")
def change(name: Name, new: Change) -> dict[str, Any]:
    """Change the title, pin, baseline, tags or note of a run."""
    return plain(vars(runs.change_marks(name, **new.model_dump())))


@router.delete("/{name}")
def delete(name: Name) -> dict[str, Any]:
    """Delete a run; ``/undo`` can restore it for the number of ``seconds`` in the response."""
    return delete_some(Names(names=[name]))


@router.get("/{name}/metrics")
def curves(
    name: RunName,
    after: Behind = 0,
    max_points: Annotated[int, Query(ge=4, le=20_000)] = runs.MAX_POINTS,
    keys: str = "",
) -> dict[str, Any]:
    """Get the metric curves after a step; ``keys`` selects some of them, separated by commas.

    The loss has at most ``max_points`` points.
    """
    wanted = [key for key in keys.split(",") if key]
    told = runs.run_log(open_run(name))
    for key in wanted:
        check_choice("keys", key, told.curves.values)
    answer = runs.metrics(told, after=after, max_points=max_points, keys=wanted)
    return {**answer, "cursor": runs.cursor_of(told, answer["seq"])}


@router.get("/{name}/events")
def events(
    name: RunName,
    after: Behind = 0,
    limit_bytes: Annotated[int, Query(ge=1024, le=2**22)] = MOST_EVENTS_BYTES,
) -> dict[str, Any]:
    """Get events as the worker wrote them, from a cursor on: each exactly once.

    For the next page, send the returned ``cursor`` as ``after``; ``more`` is true if further
    events are already available.
    """
    path = open_run(name).events_file
    found, cursor = events_from(path, after, limit=limit_bytes)
    size = path.stat().st_size if path.exists() else 0
    return {"events": found, "cursor": cursor, "more": bool(found) and cursor < size}


@router.get("/{name}/log")
def log(
    name: RunName,
    after: Behind = 0,
    tail: Annotated[int, Query(ge=0, le=10_000)] = 0,
    events_after: Behind = 0,
) -> dict[str, Any]:
    """Get lines of worker.log and the run's events as sentences.

    ``times`` are those of the events, in seconds since the epoch. The lines start at the byte
    offset ``after``, or are the last ``tail`` lines.
    """
    folder = open_run(name)
    lines, cursor, cut = runs.log_lines(folder.worker_log, after=after, tail=tail)
    told = runs.run_log(folder)
    said = runs.event_lines(told, events_after)
    return {"lines": lines, "cursor": cursor, "cut": cut, "events": [text for _, text in said],
            "times": [time for time, _ in said], "seq": told.seq}  # fmt: skip


@router.get("/{name}/log/file")
def log_file(name: RunName) -> Response:
    """Download the complete worker.log."""
    folder = open_run(name)
    if not folder.worker_log.exists():
        raise RunError(t("Run {run} has no log yet.", run=folder.name), code="unknown")
    return FileResponse(
        folder.worker_log, media_type="text/plain; charset=utf-8", filename=f"{folder.name}.log"
    )


@router.get("/{name}/archive")
def archive(name: RunName) -> Response:
    """Download a zip of a run's settings, metrics, events, log and report, without weights."""
    packed = runs.archive(name)
    return StreamingResponse(
        runs.chunks(packed),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}.zip"'},
    )


@router.get("/{name}/checkpoints")
def checkpoints(name: RunName) -> dict[str, Any]:
    """List the checkpoints on disk, newest first."""
    return {"checkpoints": [vars(checkpoint) for checkpoint in runs.view(name).checkpoints]}


@router.delete("/{name}/checkpoints/{step}")
def delete_checkpoint(name: Name, step: Annotated[int, FromPath(ge=0)]) -> dict[str, Any]:
    """Delete a checkpoint; refused for the newest valid, the best and a pinned one."""
    return {"deleted": step, "bytes": runs.delete_checkpoint(name, step)}


@router.get("/{name}/samples")
def samples(name: RunName) -> dict[str, Any]:
    """Get the fixed sample prompts with their answers during training."""
    told = runs.run_log(open_run(name))
    return {"samples": [{"prompt": s.prompt, "answers": [
        {"step": step, "stage": stage, "answer": answer, "cut": (step, stage) in s.cut}
                    for step, stage, answer in s.answers
    ]} for s in runs.samples(told)]}  # fmt: skip


@router.get("/{name}/first-batch")
def first_batch(name: RunName) -> dict[str, Any]:
    """Get one row of the first batch as it was trained on; empty until then."""
    return runs.first_batch(name)


@router.get("/{name}/report")
def report(name: RunName) -> Response:
    """Get the text of a bug report about a run, as plain text."""
    return Response(runs.failure_report(name), media_type="text/plain; charset=utf-8")


class Stop(Body):
    """How to stop: ``save`` ends after this step with a checkpoint, ``now`` kills the run."""

    how: Literal["save", "now"] = "save"


@router.post("/{name}/stop")
def stop(name: Name, request: Stop) -> dict[str, Any]:
    """Stop a run.

    ``save`` returns at once, and the run ends after saving; after ``now``, the run has ended.
    Refused if the run is not active.
    """
    return runs.request_stop(name, how=request.how).as_dict()


@router.post("/{name}/save")
def save(name: Name) -> dict[str, Any]:
    """Request a checkpoint after the current step; the run continues."""
    Control(open_run(name)).request_save()
    return {"requested": True}


class Resume(Body):
    """Options of resuming; ``allow_drift`` names changed settings to accept."""

    allow_drift: list[str] = Field(default_factory=list[str])


@router.post("/{name}/resume")
def resume(name: Name, request: Resume) -> dict[str, Any]:
    """Resume a run from its newest valid checkpoint.

    Refused if the run is active or finished, or if something changed that is not allowed.
    """
    resumed = runs.resume(name, allow_drift=request.allow_drift)
    return {"step": resumed.step, "allowed": resumed.allowed,
            "rejected": [bad.reason for bad in resumed.rejected]}  # fmt: skip
