"""REST to start a run, once per Idempotency-Key."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header

from tunery.errors import ConfigError
from tunery.i18n import joined, t
from tunery.server.api.body import Body
from tunery.server.security.access import needs
from tunery.services import runs, settings

router = APIRouter(prefix="/api/v1/runs", tags=["runs"], dependencies=[Depends(needs("jobs"))])


class Start(Body):
    """The run to start: from a draft, or from settings as in a settings file."""

    draft: str | None = None
    config: dict[str, Any] | None = None
    name: str | None = None


@router.post("", status_code=201)
def start(
    wish: Start, idempotency_key: Annotated[str, Header(max_length=200)] = ""
) -> dict[str, str]:
    """Check the settings, create the run folder and start its worker, which waits for its device.

    With an ``Idempotency-Key`` that was already used, the run of that request is returned.
    """
    words = _words(wish)
    return {"name": runs.start_once(words, key=idempotency_key, name=wish.name or None)}


def _words(wish: Start) -> list[str]:
    if wish.draft is not None:
        draft = settings.get_draft(wish.draft)
        if draft is None:
            raise settings.no_such_draft(wish.draft)
        preset, fields = draft.preset, dict(draft.fields)
    elif wish.config is not None:
        preset, fields = settings.fields_of_values(wish.config)
    else:
        raise ConfigError(t("Pass a draft name, or the settings as config."))
    found = settings.fill_form(preset, fields)
    if found.loaded is None:
        lines = [
            joined(f"{path}:" if path else "", w.message, w.fix) for path, w in found.errors.items()
        ]
        raise settings.with_remedies(
            ConfigError(
                joined(*lines, between="\n"), problems=[{"setting": p} for p in found.errors]
            )
        )
    return found.words
