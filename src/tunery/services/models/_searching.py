"""Search a hub from the Models page."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import hub, hubsearch
from tunery.services import machine
from tunery.services.models import _sources
from tunery.services.models._resolving import QUICK


def search_hub(words: str, *, source_id: str = "") -> dict[str, Any]:
    """Search a hub for models.

    Args:
        words: Search terms; empty returns no results.
        source_id: The hub; empty for the default.

    Returns:
        ``host`` and ``models`` (name, downloads, likes, task, gated).

    Raises:
        ModelError: Offline, or the hub cannot be searched.
    """
    source = _sources.find(source_id)
    if not words.strip():
        return {"host": source.host, "models": []}
    if machine.is_offline():
        raise ModelError(
            t("HF_HUB_OFFLINE is set, so the hub is not contacted."),
            fix=t("Unset it and restart, or choose a folder on this machine."),
            code="offline_hub",
        )
    if source.kind != "hf":
        raise ModelError(
            t("Searching {host} is not supported.", host=source.host),
            fix=t("Enter the full model name instead, or choose another hub."),
        )
    with hub.at(source.endpoint):
        found = hubsearch.search(words.strip(), QUICK)
    return {"host": source.host, "models": [asdict(each) for each in found]}
