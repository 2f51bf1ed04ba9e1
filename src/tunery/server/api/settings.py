"""REST for sources, tokens, the proxy, folders and limits of this machine.

A token can be written but never read: responses only say that one is saved.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from tunery.models import accounts
from tunery.server.api.body import Body
from tunery.server.security.access import person_only
from tunery.services import datasets, machine

router = APIRouter(prefix="/api/v1/settings", tags=["settings"])


class Source(Body):
    """A new value for one setting of ``models.accounts``; an empty value deletes the saved one."""

    value: Annotated[str, Field(max_length=1024)]


class Folders(Body):
    """Folders that the page may open, in addition to the default ones."""

    folders: Annotated[list[str], Field(max_length=50)]


class Folder(Body):
    """One more folder that the page may open."""

    folder: Annotated[str, Field(min_length=1, max_length=4096)]


class Limits(Body):
    """The maximum size of an upload; null restores the default."""

    upload_bytes: Annotated[int, Field(ge=2**20, le=2**50)] | None


@router.get("")
def show() -> dict[str, Any]:
    """Get the sources, the folders and the upload limit, without secrets."""
    return {
        "sources": {name: asdict(accounts.show(name)) for name in accounts.VARIABLES},
        "roots": [str(path) for path in machine.roots()],
        "added_roots": machine.added_roots(),
        "upload_bytes": datasets.upload_limit(),
    }


@router.put("/sources/{name}")
def source(name: accounts.Setting, new: Source) -> dict[str, Any]:
    """Save an address, a token or the proxy."""
    accounts.save(name, new.value)
    return asdict(accounts.show(name))


@router.post("/roots/allow", dependencies=[Depends(person_only)])
def allow(new: Folder) -> dict[str, Any]:
    """Allow the page to open one more folder; only a logged-in person may do this."""
    machine.add_root(new.folder)
    return {"roots": [str(path) for path in machine.roots()], "added_roots": machine.added_roots()}


@router.put("/roots", dependencies=[Depends(person_only)])
def folders(new: Folders) -> dict[str, Any]:
    """Set the additional folders that the page may open; only a logged-in person may do this."""
    machine.set_added_roots(new.folders)
    return {"roots": [str(path) for path in machine.roots()], "added_roots": machine.added_roots()}


@router.put("/limits")
def limits(new: Limits) -> dict[str, Any]:
    """Set the maximum size of an upload."""
    datasets.set_upload_limit(new.upload_bytes)
    return {"upload_bytes": datasets.upload_limit()}
