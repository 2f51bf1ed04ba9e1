"""The base of every request body under /api/v1."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A request body. A field that it does not have is an error, never ignored.

    A misspelled limit would otherwise be no limit. ``tests/contract/test_request_bodies.py``
    requires this base for every body and every object in one.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
