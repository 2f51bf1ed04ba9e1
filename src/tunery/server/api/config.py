"""REST for the available settings: the form, its JSON schema, the presets."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from tunery.config.schema import json_schema
from tunery.i18n import LANGUAGES, language
from tunery.services import settings

router = APIRouter(prefix="/api/v1/config", tags=["config"])


@router.get("/schema")
def schema(lang: str = "") -> dict[str, Any]:
    """The JSON schema of a settings file, described in a language."""
    return json_schema(lang if lang in LANGUAGES else language())


@router.get("/form")
def form() -> dict[str, Any]:
    """Every setting with label, help, unit, bounds and default, as the Train page draws it."""
    return settings.form().as_dict()


@router.get("/presets")
def presets() -> dict[str, str]:
    """The presets with a sentence on each."""
    return settings.presets()
