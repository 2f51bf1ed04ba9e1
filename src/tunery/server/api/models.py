"""/api/v1/models and /api/v1/resolve: models here, name resolution, consent and removal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from tunery.errors import ModelError
from tunery.i18n import t
from tunery.server.api.body import Body
from tunery.server.api.named import ModelName, Place
from tunery.server.problems import offered
from tunery.services import models
from tunery.workers import warm

router = APIRouter(prefix="/api/v1", tags=["models"])
CODE_CHARACTERS = 200_000


class Text(Body):
    """Text that a user typed."""

    text: Annotated[str, Field(max_length=4096)]
    source: str = ""


class Consent(Body):
    """Consent to run the code that was shown, identified by its hash."""

    name: ModelName
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Named(Body):
    """The name of a model."""

    name: ModelName


@router.post("/resolve")
def resolve(given: Text, request: Request) -> dict[str, Any]:
    """Resolve a text: a hub id, a link, a path or a name on this machine."""
    found = models.look_up(given.text, source_id=given.source)
    for problem in found["problems"]:
        problem["remedies"] = offered(request.scope, problem.get("remedies", ()))
    return found


@router.get("/models")
def listing() -> dict[str, Any]:
    """List all models on this machine, suggested ones, and the memory of the training device."""
    return {
        "models": models.overview(),
        "suggestions": [asdict(each) for each in models.suggestions()],
        "memory_bytes": models.memory_bytes(),
    }


@router.post("/models/folders", status_code=201)
def keep(given: Named) -> dict[str, str]:
    """Add a model folder to the lists; its files are not moved.

    Refuses a folder that is not a model, or is outside the folders that may be opened.
    """
    return {"name": models.keep_folder(given.name)}


@router.post("/models/folders/forget")
def forget(given: Named) -> dict[str, str]:
    """Remove a model folder from the lists; its files are not deleted."""
    models.forget_folder(given.name)
    return {"forgotten": given.name}


@router.get("/models/browse")
def browse(path: Place = "") -> dict[str, Any]:
    """List the subfolders of a folder; without a path, the folders that may be opened.

    Refuses a path outside those folders.
    """
    return models.browse(path)


@router.get("/models/search")
def search(q: Annotated[str, Query(max_length=200)] = "", source: str = "") -> dict[str, Any]:
    """Search a hub for models by name."""
    return models.search_hub(q, source_id=source)


@router.get("/models/code")
def code(name: ModelName) -> dict[str, Any]:
    """Get the code that a model would run, for review before consent."""
    wanted = models.code_to_allow(name)
    if wanted is None:
        return {"needed": False, "files": []}
    shown = [
        {"name": file.name, "text": file.read_text("utf-8", "replace")[:CODE_CHARACTERS]}
        for file in wanted.files
    ]
    return {"needed": True, "sha256": wanted.code.sha256, "repo": wanted.code.repo, "files": shown}


class NewBase(Body):
    """The base model that the weights of a run or an adapter belong to."""

    name: ModelName
    model: ModelName


@router.post("/models/base")
def name_base(given: NewBase) -> dict[str, Any]:
    """Set the current location of the base model of a run or an adapter."""
    return models.name_base(given.name, given.model)


@router.post("/models/allow-code")
def allow_code(given: Consent) -> dict[str, Any]:
    """Allow a model's code to run, exactly as it was shown; refused if it has changed since."""
    wanted = models.code_to_allow(given.name)
    if wanted is None:
        return {"allowed": True}
    if wanted.code.sha256 != given.sha256:
        raise ModelError(
            t("{folder}: the code changed while it was being shown.", folder=wanted.folder),
            fix=t("Review it again."),
            code="conflict",
        )
    models.allow_code(wanted)
    return {"allowed": True}


@router.post("/models/revoke-code")
def revoke_code(given: Named) -> dict[str, Any]:
    """Revoke every consent for a model; returns how many there were."""
    return {"revoked": models.revoke_code(given.name)}


@router.get("/models/{name:path}")
def show(name: ModelName) -> dict[str, Any]:
    """Get all details of a model."""
    return warm.ask("describe_model", name=name)


@router.delete("/models/{name:path}")
def remove(name: ModelName) -> dict[str, Any]:
    """Delete a model that is stored by Tunery or in the hub cache; returns the bytes freed.

    Refuses any other model, and one that a run is using.
    """
    what = models.to_remove(name)
    models.remove(what)
    return {"freed_bytes": what.size_bytes}
