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
    """The whole of a draft: a preset and fields, or the text of a settings file.

    ``plan`` asks for the plan in the same answer, if it is quickly had.
    """

    preset: str | None = None
    fields: dict[str, FieldValue] = Field(default_factory=dict)
    yaml: str | None = None
    plan: bool = True


class New(Body):
    """Where a new draft comes from; nothing named makes an empty one."""

    name: str = ""
    run: RunName | Literal[""] = ""
    yaml: str = ""
    preset: str | None = None


class Renamed(Body):
    """The new name."""

    to: str


class Measure(Body):
    """How to plan."""

    measure: bool = False


@router.get("")
def listing() -> list[dict[str, Any]]:
    """Every draft's name, newest first."""
    return settings.list_drafts()


@router.post("", status_code=201)
def make(new: New) -> dict[str, Any]:
    """Make a draft under a free name."""
    made = settings.make_draft(new.name, run=new.run, yaml=new.yaml, preset=new.preset)
    return settings.check_draft(made).as_dict()


@router.get("/{name}")
def show(name: str) -> dict[str, Any]:
    """A draft and what is known of it at once."""
    found = settings.get_draft(name)
    if found is None:
        raise settings.no_such_draft(name)
    return settings.check_draft(found).as_dict()


@router.put("/{name}")
def change(name: str, given: Change) -> dict[str, Any]:
    """Keep a draft and say what is wrong; with the plan where it is quickly had.

    ``planning`` says that the plan must be asked for by itself.
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
    """Forget a draft."""
    settings.delete_draft(name)
    return {"deleted": name}


@router.post("/{name}/rename")
def rename(name: str, wish: Renamed) -> dict[str, Any]:
    """Give a draft another name."""
    return settings.rename_draft(name, wish.to).as_dict()


@router.post("/{name}/plan")
def plan(name: str, how: Measure) -> dict[str, Any]:
    """Find out what a draft's run would do and need; ``measure`` takes a few real steps.

    A newer question for the same draft ends this one: ``{"superseded": true}``.
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
    """Start the job that takes a few real steps; its result is ``plan``, ``remarks``, ``hints``."""
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
