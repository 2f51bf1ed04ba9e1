"""/api/v1/notify: what happens when a run ends. Commands can be set only on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import APIRouter

from tunery.runs.status import RunStatus
from tunery.server.api.body import Body
from tunery.services import notify

router = APIRouter(prefix="/api/v1/notify", tags=["notify"])


@router.get("")
def show() -> dict[str, Any]:
    """The settings without their secret, and the power-off that is under way."""
    under_way = notify.countdown()
    return {**notify.read().public(), "countdown": vars(under_way) if under_way else None}


class Change(Body):
    """What a page may change; what is left out stays."""

    webhook_on: bool | None = None
    webhook: str | None = None
    email_on: bool | None = None
    power_off_on: bool | None = None
    countdown_seconds: float | None = None


@router.put("")
def change(new: Change) -> dict[str, Any]:
    """Change the settings."""
    return notify.change(**new.model_dump()).public()


@router.post("/test")
def test() -> dict[str, str]:
    """Send a message now as if a run had ended; the machine stays on."""
    state = RunStatus("test", Path("/"), "finished", step=1, num_steps=1)
    return notify.tell(state, notify.read(), wait=lambda _: None)


@router.post("/keep-on")
def keep_on() -> dict[str, Any]:
    """Cancel the power-off that is under way."""
    return {"cancelled": vars(notify.keep_on())}
