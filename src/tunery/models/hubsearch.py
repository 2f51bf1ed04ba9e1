"""Search a hub for models with ``/api/models?search=``, which mirrors support too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import accounts, hub, hubcache
from tunery.models.download import Downloader, Policy
from tunery.types import is_list, is_mapping

LIMIT = 20


@dataclass(frozen=True, slots=True)
class Match:
    """One search result.

    Args:
        name: Hub id, ``owner/name``.
        downloads: Recent downloads, as the hub counts them.
        likes: Number of likes.
        task: The hub's ``pipeline_tag``; may be empty.
        gated: Whether the authors require accepting terms first.
    """

    name: str
    downloads: int
    likes: int
    task: str
    gated: bool


def search(words: str, policy: Policy) -> list[Match]:
    """Search the hub at ``hub.endpoint()``; the most downloaded models come first.

    Returns:
        At most ``LIMIT`` models.

    Raises:
        ModelError: The hub refuses, cannot be reached, or returns something else.
    """
    from huggingface_hub import get_token
    from huggingface_hub.utils import build_hf_headers

    address = hub.endpoint()
    host = hub.host_of(address)
    token = accounts.value("hub_token") or get_token()
    downloader = Downloader(
        host=host,
        headers=build_hf_headers(token=token or False, library_name="tunery"),
        explain=lambda response: _refused(host, response),
        policy=policy,
    )
    query = urlencode({"search": words, "sort": "downloads", "direction": "-1", "limit": LIMIT})
    try:
        answer = downloader.json(f"{address}/api/models?{query}")
    finally:
        downloader.close()
    if not is_list(answer):
        raise ModelError(
            t("{host}: the search response is not a list of models.", host=host),
            fix=t(
                "Check {setting}, and whether a proxy or a login page is in between.",
                setting="HF_ENDPOINT",
            ),
        )
    return [found for found in map(_match, answer[:LIMIT]) if found is not None]


def _match(entry: Any) -> Match | None:
    """One search result; None if its name is not a valid hub id."""
    if not is_mapping(entry):
        return None
    name = entry.get("id") or entry.get("modelId")
    if not isinstance(name, str) or hubcache.parse(name) is None:
        return None
    return Match(
        name,
        _count(entry.get("downloads")),
        _count(entry.get("likes")),
        str(entry.get("pipeline_tag") or ""),
        bool(entry.get("gated")),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _refused(host: str, response: httpx.Response) -> ModelError:
    return ModelError(
        t("{host} refused the search (HTTP {status}).", host=host, status=response.status_code),
        fix=t("Enter the full model name instead, or choose another hub."),
    )
