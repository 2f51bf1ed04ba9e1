"""REST for this machine: its figures, the hub check, the bug report, the first steps."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from tunery.server.api.body import Body
from tunery.services import first_steps, machine
from tunery.state import set_aside

router = APIRouter(prefix="/api/v1/machine", tags=["machine"])


class Hidden(Body):
    """Whether to hide the list of first steps."""

    hidden: bool


@router.get("")
def look() -> dict[str, Any]:
    """Get the current figures of this machine, and notices."""
    return {**machine.look().as_dict(), "notices": _notices()}


@router.get("/hub")
def hub() -> dict[str, Any]:
    """Check whether the hub can be reached; takes up to three seconds."""
    return machine.check_hub()


@router.get("/report")
def report() -> dict[str, str]:
    """Get the text of a bug report; takes a few seconds because it loads torch."""
    return {"text": machine.report()}


@router.get("/first-steps")
def steps() -> dict[str, Any]:
    """Get the five first steps for new users, and whether they are hidden."""
    return {"steps": [step.as_dict() for step in first_steps.first_steps()],
            "hidden": first_steps.hidden()}  # fmt: skip


@router.put("/first-steps")
def hide(wish: Hidden) -> dict[str, bool]:
    """Hide the list of first steps, or show it again."""
    first_steps.hide(wish.hidden)
    return {"hidden": first_steps.hidden()}


def _notices() -> list[dict[str, str]]:
    """Notices for the user that no other response contains."""
    aside = set_aside()
    if aside is None:
        return []
    return [{"code": "state_set_aside", "detail": aside.message(), "fix": aside.fix()}]
