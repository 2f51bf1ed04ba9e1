"""REST for exports and evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field
from starlette.responses import Response

from tunery import env
from tunery.config.exporters import DEFAULT
from tunery.errors import TuneryError
from tunery.i18n import t
from tunery.jobs import folder as jobs
from tunery.server.api.body import Body
from tunery.server.api.named import DatasetName, ModelName, Place
from tunery.server.security.access import needs
from tunery.services import evaluate as evaluate_service
from tunery.services import export as export_service
from tunery.services.evaluate import Wanted

router = APIRouter(prefix="/api/v1", tags=["exports"], dependencies=[Depends(needs("jobs"))])


class Export(Body):
    """What to export, in which format and where.

    With an empty ``folder``, a free one under TUNERY_HOME/exports is used.
    """

    run: Annotated[ModelName, Field(min_length=1)]
    to: str
    folder: Place = ""
    dtype: str = "auto"
    force: bool = False


class Evaluation(Body):
    """The models to evaluate and the rows to evaluate them on; see ``services.evaluate.Wanted``."""

    models: list[ModelName]
    run: ModelName = ""
    dataset: DatasetName = ""
    num_rows: int = 50
    answers: bool = True
    max_new_tokens: int = 64


@router.get("/exports")
def listing(run: ModelName = "", to: str = DEFAULT) -> dict[str, Any]:
    """List the export formats and earlier exports, and suggest a free folder for this run.

    ``free_bytes`` is the free disk space at that folder.
    """
    folder = export_service.suggested(run or "export", to)
    return {
        "formats": export_service.formats(),
        "folder": str(folder),
        "free_bytes": env.free_bytes(folder),
        "jobs": export_service.listing(),
    }


@router.post("/exports")
def export(what: Export) -> dict[str, Any]:
    """Start an export; returns its job."""
    folder = what.folder or export_service.suggested(what.run, what.to)
    return export_service.start(
        what.run, Path(folder), to=what.to, dtype=what.dtype, force=what.force
    ).as_dict()


@router.post("/evals")
def evaluate(what: Evaluation) -> dict[str, Any]:
    """Start an evaluation; returns its job."""
    told: dict[str, Any] = {**what.model_dump(), "models": tuple(what.models)}
    wanted = Wanted(**told)
    return evaluate_service.start(wanted).as_dict()


@router.get("/evals")
def evaluations() -> list[dict[str, Any]]:
    """List all evaluations, newest first, without their rows."""
    found = [job.as_dict() for job in jobs.listing(kind="evaluate")]
    return [{**job, "result": _summary(job["result"])} for job in found]


@router.get("/evals/{job}/table.csv")
def table(job: str) -> Response:
    """Download the rows of an evaluation as CSV; refused until it has a result."""
    found = jobs.show(job)
    if found.kind != "evaluate" or found.result is None:
        raise TuneryError(t("This evaluation has no result yet."), code="unknown")
    headers = {"Content-Disposition": f'attachment; filename="evaluation-{found.id}.csv"'}
    return Response(
        evaluate_service.as_csv(found.result), media_type="text/csv; charset=utf-8", headers=headers
    )


def _summary(result: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if result is None else {key: result[key] for key in ("models", "on")}
