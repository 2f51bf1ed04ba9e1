"""API keys: made once, shown once, revoked for good."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tunery.server.security import tokens

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])


class NewKey(BaseModel):
    """What a new key is for."""

    name: Annotated[str, Field(max_length=80)]
    scopes: list[Literal["chat", "jobs", "admin"]] = ["chat"]


@router.get("")
def listing() -> list[dict[str, Any]]:
    """Every key, newest first, without the key itself."""
    return [asdict(key) for key in tokens.list_keys()]


@router.post("", status_code=201)
def create(new: NewKey) -> dict[str, Any]:
    """Make a key; ``key`` in this answer is the only time that it is shown."""
    made, secret = tokens.create_key(new.name, new.scopes)
    return {**asdict(made), "key": secret}


@router.delete("/{id_}", status_code=204)
def revoke(id_: str) -> None:
    """Let a key open nothing from now on."""
    tokens.revoke_key(id_)
