"""Settings: this browser, folders, sources and tokens, access, limits, components."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from tunery import env
from tunery.i18n import t
from tunery.models import accounts, hub, modelscope
from tunery.server.security import tokens
from tunery.server.security.key_limits import describe_limits
from tunery.server.settings import ServerSettings
from tunery.services import datasets, machine, notify
from tunery.web.render import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that Tunery stores things in."""

    label: str
    path: Path
    free_bytes: int
    remark: str


@dataclass(frozen=True, slots=True)
class SettingsView:
    """The view of settings.html.

    Args:
        folders: Where things are stored.
        roots: Folders that the page may open by default; ``added`` are those the user added.
        sources: The settings of ``models.accounts`` by name, without secrets.
        usual: Addresses that apply if none is saved.
        server: How this server is reached.
        token_file: Path of the access token.
        keys: API keys that are valid.
        notify: What happens when a run ends, without the secret.
        upload_bytes: Maximum size of an upload; ``upload_variable`` if the environment sets it.
        components: Versions and licences.
    """

    folders: list[Folder]
    roots: list[Path]
    added: list[str]
    sources: dict[str, accounts.Shown]
    usual: dict[str, str]
    server: ServerSettings
    keys: list[tokens.Key]
    notify: dict[str, Any]
    upload_bytes: int
    upload_variable: str
    components: tuple[machine.Component, ...]

    def limits_of(self, key: tokens.Key) -> list[str]:
        """The limits of a key, in words."""
        return describe_limits(key.limits)


@router.get("/settings")
def settings(request: Request) -> HTMLResponse:
    """Render the page."""
    added = machine.added_roots()
    view = SettingsView(
        folders=_folders(),
        roots=[path for path in machine.roots() if str(path) not in added],
        added=added,
        sources={name: accounts.show(name) for name in accounts.VARIABLES},
        usual={"hub_endpoint": hub.DEFAULT, "modelscope_endpoint": modelscope.DEFAULT},
        server=request.app.state.settings,
        keys=[key for key in tokens.list_keys() if key.revoked is None],
        notify=notify.read().public(),
        upload_bytes=datasets.upload_limit(),
        upload_variable=datasets.UPLOAD_LIMIT_VARIABLE
        if os.environ.get(datasets.UPLOAD_LIMIT_VARIABLE)
        else "",
        components=machine.components(),
    )
    return render(request, "settings.html", view)


def _folders() -> list[Folder]:
    kept = (
        (t("All Tunery data (TUNERY_HOME)"), env.home()),
        (t("Models"), env.models_dir()),
        (t("Datasets"), env.datasets_dir()),
        (t("Runs"), env.runs_dir()),
        (t("Hub downloads (HF_HOME)"), machine.hub_cache()),
    )
    return [
        Folder(label, path, env.free_bytes(path), machine.survives(path)[1]) for label, path in kept
    ]
