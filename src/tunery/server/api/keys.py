"""API keys: created once, shown once, revoked permanently."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from tunery.server.api.body import Body
from tunery.server.security import tokens
from tunery.server.security.key_limits import MOST, MOST_MODELS, KeyLimits

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])


class NewKey(Body):
    """The name, scopes and limits of a new key; 0 or an empty list means no limit."""

    name: Annotated[str, Field(max_length=80)]
    scopes: list[Literal["chat", "jobs", "admin"]] = Field(default_factory=lambda: ["chat"])
    models: Annotated[list[str], Field(default_factory=list, max_length=MOST_MODELS)]
    expires_in_days: Annotated[float | None, Field(gt=0, le=36_500)] = None
    requests_per_minute: Annotated[int, Field(ge=0, le=MOST)] = 0
    tokens_per_minute: Annotated[int, Field(ge=0, le=MOST)] = 0
    parallel: Annotated[int, Field(ge=0, le=MOST)] = 0

    def limits(self) -> KeyLimits:
        """The key's limits; 0 or an empty list means no limit."""
        days = self.expires_in_days
        return KeyLimits(
            tuple(dict.fromkeys(self.models)),
            None if days is None else time.time() + days * 86_400,
            self.requests_per_minute,
            self.tokens_per_minute,
            self.parallel,
        )


@router.get("")
def listing() -> list[dict[str, Any]]:
    """List all keys, newest first, without their secrets."""
    return [asdict(key) for key in tokens.list_keys()]


@router.post("", status_code=201)
def create(new: NewKey) -> dict[str, Any]:
    """Create a key; only this response contains it, as ``key``."""
    made, secret = tokens.create_key(new.name, new.scopes, new.limits())
    return {**asdict(made), "key": secret}


@router.delete("/{id_}", status_code=204)
def revoke(id_: str) -> None:
    """Revoke a key permanently."""
    tokens.revoke_key(id_)
