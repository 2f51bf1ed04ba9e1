"""/api/v1/queue: the runs that are waiting for a device, and their order."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from tunery.runs import queue
from tunery.server.api.body import Body
from tunery.server.security.access import needs

router = APIRouter(prefix="/api/v1/queue", tags=["runs"], dependencies=[Depends(needs("jobs"))])


@router.get("")
def listing() -> dict[str, Any]:
    """List the waiting runs, and the run that holds each device."""
    return {"waiting": [vars(waiting) for waiting in queue.waiting()], "held": queue.holders()}


class Order(Body):
    """The names of waiting runs, in the order in which they should start."""

    runs: Annotated[list[str], Field(min_length=1, max_length=1000)]


@router.post("/order")
def order(request: Order) -> dict[str, Any]:
    """Reorder the queue; refused if one of the runs is not waiting."""
    return {"waiting": [vars(waiting) for waiting in queue.reorder(request.runs)]}
