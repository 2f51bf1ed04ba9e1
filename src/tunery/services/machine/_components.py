"""The components of this installation: versions and licences of Tunery and its dependencies."""

from __future__ import annotations

import functools
import importlib.metadata
import re
from dataclasses import dataclass

from tunery import __version__
from tunery.services.machine._doctor import installed

LIBRARIES = (
    "torch", "transformers", "peft", "safetensors", "tokenizers", "huggingface_hub", "pyarrow",
    "llguidance", "fastapi", "starlette", "uvicorn", "pydantic", "jinja2", "httpx", "cyclopts",
    "rich", "psutil",
)  # fmt: skip
UPLOT = ("uPlot", "1.6.32", "MIT")
"""The one library that is bundled in this package (web/static/vendor)."""


@dataclass(frozen=True, slots=True)
class Component:
    """One component with its licence; ``licence`` is empty if its package names none."""

    name: str
    version: str
    licence: str


@functools.cache
def components() -> tuple[Component, ...]:
    """Tunery first, then the installed libraries it uses."""
    found = [Component("Tunery", __version__, "Apache-2.0"), Component(*UPLOT)]
    for name in LIBRARIES:
        version = installed(name)
        if version:
            found.append(Component(name, version, _licence(name)))
    return tuple(found)


def _licence(name: str) -> str:
    facts = importlib.metadata.metadata(name).json
    expression = str(facts.get("license_expression") or "")
    if expression:
        return " AND ".join(sorted(set(re.split(r" AND ", expression))))
    given = str(facts.get("license") or "").strip()
    if given and len(given) <= 40:
        return given
    classifiers = (str(each) for each in facts.get("classifier") or ())
    named = (each.split(" :: ")[-1] for each in classifiers if each.startswith("License ::"))
    return next(named, "")
