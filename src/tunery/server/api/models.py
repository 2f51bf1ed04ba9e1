"""/api/v1/models and /api/v1/resolve: models here, name resolution, consent and removal."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from tunery.errors import ModelError
from tunery.i18n import t
from tunery.server.api.named import ModelName, Place
from tunery.server.problems import offered
from tunery.services import models
from tunery.workers import warm

router = APIRouter(prefix="/api/v1", tags=["models"])
CODE_CHARACTERS = 200_000


class Text(BaseModel):
    """What a person typed."""

    model_config = ConfigDict(extra="forbid")
    text: Annotated[str, Field(max_length=4096)]
    source: str = ""


class Consent(BaseModel):
    """Consent for the code that was shown, named by its hash."""

    model_config = ConfigDict(extra="forbid")
    name: ModelName
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Named(BaseModel):
    """One model."""

    model_config = ConfigDict(extra="forbid")
    name: ModelName


@router.post("/resolve")
def resolve(given: Text, request: Request) -> dict[str, Any]:
    """What a text stands for."""
    found = models.look_up(given.text, source_id=given.source)
    for problem in found["problems"]:
        problem["remedies"] = offered(request.scope, problem.get("remedies", ()))
    return found


@router.get("/models")
def listing() -> dict[str, Any]:
    """Every model of this machine."""
    return {
        "models": models.overview(),
        "suggestions": [asdict(each) for each in models.suggestions()],
        "memory_bytes": models.memory_bytes(),
    }


@router.post("/models/folders", status_code=201)
def keep(given: Named) -> dict[str, str]:
    """Keep a model folder in the lists; its files stay where they are."""
    return {"name": models.keep_folder(given.name)}


@router.post("/models/folders/forget")
def forget(given: Named) -> dict[str, str]:
    """Leave a model folder out of the lists; nothing is deleted."""
    models.forget_folder(given.name)
    return {"forgotten": given.name}


@router.get("/models/browse")
def browse(path: Place = "") -> dict[str, Any]:
    """The folders in a folder, under those that may be opened."""
    return models.browse(path)


@router.get("/models/search")
def search(q: Annotated[str, Query(max_length=200)] = "", source: str = "") -> dict[str, Any]:
    """Models of a hub whose names hold these words."""
    return models.search_hub(q, source_id=source)


@router.get("/models/code")
def code(name: ModelName) -> dict[str, Any]:
    """The code that a model would run, to be read before consent."""
    wanted = models.code_to_allow(name)
    if wanted is None:
        return {"needed": False, "files": []}
    shown = [
        {"name": file.name, "text": file.read_text("utf-8", "replace")[:CODE_CHARACTERS]}
        for file in wanted.files
    ]
    return {"needed": True, "sha256": wanted.code.sha256, "repo": wanted.code.repo, "files": shown}


class NewBase(BaseModel):
    """Which base model a run's or an adapter's weights belong to."""

    model_config = ConfigDict(extra="forbid")
    name: ModelName
    model: ModelName


@router.post("/models/base")
def name_base(given: NewBase) -> dict[str, Any]:
    """Say where the base model of a run or an adapter is now."""
    return models.name_base(given.name, given.model)


@router.post("/models/allow-code")
def allow_code(given: Consent) -> dict[str, Any]:
    """Allow exactly the code that was shown."""
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
    """Take back every consent for a model."""
    return {"revoked": models.revoke_code(given.name)}


@router.get("/models/{name:path}")
def show(name: ModelName) -> dict[str, Any]:
    """Everything about one model."""
    return warm.ask("describe_model", name=name)


@router.delete("/models/{name:path}")
def remove(name: ModelName) -> dict[str, Any]:
    """Remove a model that Tunery or the hub cache keeps."""
    what = models.to_remove(name)
    models.remove(what)
    return {"freed_bytes": what.size_bytes}
