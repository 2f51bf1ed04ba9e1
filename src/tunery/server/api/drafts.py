"""REST for drafts of runs; each change is answered with its problems and its plan."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from tunery.errors import TuneryError
from tunery.server.api.body import Body
from tunery.server.api.named import RunName
from tunery.services import measuring, models, settings
from tunery.workers import warm

router = APIRouter(prefix="/api/v1/drafts", tags=["drafts"])

PLAN_SECONDS = 2.0
"""How long the response to a change waits for the plan; after that, the client requests it."""

FieldValue = str | bool | int | float | list[str] | dict[str, str] | None


class Change(Body):
    """The whole content of a draft: a preset and fields, or the text of a settings file.

    With ``plan``, the response includes the plan if it can be computed quickly.
    """

    preset: str | None = None
    fields: dict[str, FieldValue] = Field(default_factory=dict)
    yaml: str | None = None
    plan: bool = True


class New(Body):
    """What to create a draft from: a run, a settings file or a preset; an empty draft if none."""

    name: str = ""
    run: RunName | Literal[""] = ""
    yaml: str = ""
    preset: str | None = None


class Renamed(Body):
    """The new name of a draft."""

    to: str


class Measure(Body):
    """Options of a plan; ``measure`` runs a few real steps."""

    measure: bool = False


@router.get("")
def listing() -> list[dict[str, Any]]:
    """List all drafts, with name and time of the last change, newest first."""
    return settings.list_drafts()


@router.post("", status_code=201)
def make(new: New) -> dict[str, Any]:
    """Create a draft; if the name is taken, a free one is used."""
    made = settings.make_draft(new.name, run=new.run, yaml=new.yaml, preset=new.preset)
    return settings.check_draft(made).as_dict()


@router.get("/{name}")
def show(name: str) -> dict[str, Any]:
    """Get a draft, with its problems and everything else that is known without planning."""
    found = settings.get_draft(name)
    if found is None:
        raise settings.no_such_draft(name)
    return settings.check_draft(found).as_dict()


@router.put("/{name}")
def change(name: str, given: Change) -> dict[str, Any]:
    """Save a draft and return its problems, and its plan if that can be computed quickly.

    ``planning`` is true if the plan must be requested separately.
    """
    wrong = None
    if given.yaml is not None:
        draft, wrong = settings.put_draft_yaml(name, given.yaml)
    else:
        fields = {path: _typed(value) for path, value in given.fields.items() if value is not None}
        draft = settings.put_draft(settings.Draft(name, given.preset, fields))
    checked = settings.check_draft(draft)
    _keep_model(checked)
    answer = checked.as_dict() | {"plan": None, "planning": checked.can_plan}
    if wrong is not None:
        answer |= {"yaml_error": {"message": wrong.message, "fix": wrong.fix}}
    if given.plan and wrong is None and checked.can_plan and warm.pool().is_warm:
        answer |= _quick_plan(checked)
    return answer


@router.delete("/{name}")
def delete(name: str) -> dict[str, str]:
    """Delete a draft."""
    settings.delete_draft(name)
    return {"deleted": name}


@router.post("/{name}/rename")
def rename(name: str, wish: Renamed) -> dict[str, Any]:
    """Rename a draft."""
    return settings.rename_draft(name, wish.to).as_dict()


@router.post("/{name}/plan")
def plan(name: str, how: Measure) -> dict[str, Any]:
    """Compute what a draft's run would do and need; ``measure`` runs a few real steps.

    A newer request for the same draft ends this one, which returns ``{"superseded": true}``.
    """
    found = settings.get_draft(name)
    if found is None:
        raise settings.no_such_draft(name)
    checked = settings.check_draft(found)
    if not checked.can_plan:
        return checked.as_dict() | {"plan": None, "planning": False}
    try:
        return settings.plan_draft(checked, measure=how.measure)
    except warm.Superseded:
        return {"superseded": True}


@router.post("/{name}/measure", status_code=202)
def measure(name: str) -> dict[str, Any]:
    """Start a job that measures a few steps; its result has ``plan``, ``remarks``, ``hints``."""
    return measuring.start_measuring(name).as_dict()


def _keep_model(checked: settings.CheckedDraft) -> None:
    """Keep a model folder that was typed or pasted in the lists, to be selected again."""
    name = str(checked.draft.fields.get("model.name", ""))
    if name.startswith(("/", "~")) and "model.name" not in checked.filled.errors:
        models.keep_folder(name)


def _quick_plan(checked: settings.CheckedDraft) -> dict[str, Any]:
    try:
        return settings.plan_draft(checked, timeout_seconds=PLAN_SECONDS) | {"planning": False}
    except TuneryError as error:
        if error.code in ("timeout", "superseded"):
            return {}
        return {"planning": False, "plan_error": error.as_dict()}


def _typed(value: FieldValue) -> Any:
    """Accept numbers as the text that a user would type."""
    return value if isinstance(value, bool | str | list | dict) else str(value)
