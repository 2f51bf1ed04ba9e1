"""The hubs that models are downloaded from: the list, the default, and their tokens.

A token is stored by ``models.accounts`` and never returned; a source only says that it has one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tunery.errors import ModelError, unknown_name
from tunery.models import accounts, hub, modelscope
from tunery.models.pull import Source as Kind

MIRROR = "https://hf-mirror.com"


@dataclass(frozen=True, slots=True)
class HubSource:
    """A hub that models are downloaded from.

    Args:
        id: Its short name.
        kind: Which hub API it implements.
        endpoint: Its URL.
        by: The environment variable that sets it; empty for those that are always offered.
    """

    id: str
    kind: Kind
    endpoint: str
    by: str = ""

    @property
    def host(self) -> str:
        """Its host name, for display."""
        return hub.host_of(self.endpoint)

    @property
    def has_token(self) -> bool:
        """Whether a token would be sent to it."""
        name = "hub_token" if self.kind == "hf" else "modelscope_token"
        return bool(accounts.value(name))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the page."""
        return {
            "id": self.id,
            "kind": self.kind,
            "host": self.host,
            "endpoint": self.endpoint,
            "by": self.by,
            "has_token": self.has_token,
        }


def sources() -> list[HubSource]:
    """Every source, the default first: HF_ENDPOINT or the saved one, else huggingface.co."""
    known = [
        HubSource("huggingface", "hf", hub.DEFAULT),
        HubSource("hf-mirror", "hf", MIRROR),
        HubSource("modelscope", "modelscope", modelscope.endpoint()),
    ]
    try:
        named = hub.endpoint()
    except ModelError:  # HF_ENDPOINT is not a URL: reported on download
        return known
    first = next(
        (s for s in known if s.kind == "hf" and s.endpoint == named), HubSource("hub", "hf", named)
    )
    first = replace(first, by=accounts.show("hub_endpoint").variable)
    return [first, *(s for s in known if s.id != first.id)]


def find(source_id: str = "") -> HubSource:
    """Find a source by its id; the default for an empty id.

    Raises:
        UnknownName: There is no such source.
    """
    known = sources()
    for source in known:
        if source.id == source_id or not source_id:
            return source
    raise unknown_name("source", source_id, [source.id for source in known])


def save_token(source_id: str, token: str) -> HubSource:
    """Store a token for a source; an empty one removes it.

    Raises:
        UnknownName: There is no such source.
        ConfigError: The text is not a valid token.
    """
    source = find(source_id)
    accounts.save("hub_token" if source.kind == "hf" else "modelscope_token", token)
    return source
