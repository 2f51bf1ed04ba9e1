"""REST for the available settings: the form, its JSON schema, the presets."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from tunery.config.schema import json_schema
from tunery.i18n import LANGUAGES, language
from tunery.server.api.named import check_choice
from tunery.services import settings

router = APIRouter(prefix="/api/v1/config", tags=["config"])


@router.get("/schema")
def schema(lang: str = "") -> dict[str, Any]:
    """Get the JSON schema of a settings file; ``lang`` selects the language of its descriptions."""
    check_choice("lang", lang, LANGUAGES)
    return json_schema(lang or language())


@router.get("/form")
def form() -> dict[str, Any]:
    """Get every setting with label, help, unit, bounds and default, as the Train page shows it."""
    return settings.form().as_dict()


@router.get("/presets")
def presets() -> dict[str, str]:
    """List the presets, each with a one-sentence description."""
    return settings.presets()
