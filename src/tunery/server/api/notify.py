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
    """Get the settings without their secret, and the pending power-off if there is one."""
    under_way = notify.countdown()
    return {**notify.read().public(), "countdown": vars(under_way) if under_way else None}


class Change(Body):
    """The settings that a page may change; omitted ones stay unchanged."""

    webhook_on: bool | None = None
    webhook: str | None = None
    email_on: bool | None = None
    power_off_on: bool | None = None
    countdown_seconds: float | None = None


@router.put("")
def change(new: Change) -> dict[str, Any]:
    """Change what happens when a run ends."""
    return notify.change(**new.model_dump()).public()


@router.post("/test")
def test() -> dict[str, str]:
    """Send a test message as if a run had ended; the machine is not powered off."""
    state = RunStatus("test", Path("/"), "finished", step=1, num_steps=1)
    return notify.tell(state, notify.read(), wait=lambda _: None)


@router.post("/keep-on")
def keep_on() -> dict[str, Any]:
    """Cancel the pending power-off."""
    return {"cancelled": vars(notify.keep_on())}
