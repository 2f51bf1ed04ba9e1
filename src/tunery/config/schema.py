"""The JSON schema of a settings file, for editors and forms.

Generated from the declaration; descriptions are available in both languages. It includes the short
forms that loading accepts (``model: demo``, ``adapter: full``, an empty section).
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from tunery.config import settings
from tunery.config.config import Config
from tunery.config.frozen import META
from tunery.config.layers import SHORT

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(language: str = "en") -> dict[str, Any]:
    """Make the JSON schema (draft 2020-12) of a settings file.

    Args:
        language: Language of the descriptions: ``en`` or ``zh``.
    """
    made = Config.model_json_schema()
    definitions = made["$defs"]
    helps = {group.key: group.help(language) for group in settings.groups()}
    helps |= {setting.key: setting.help(language) for setting in settings.walk()}
    _describe(made, Config, "", definitions, helps)
    properties = made["properties"]
    for name, part in properties.items():
        if name == "preset":
            continue
        forms = part.pop("oneOf", None) or [{"$ref": part.pop("$ref")}]
        part.pop("discriminator", None)
        if name in settings.tagged():
            forms.append({"enum": list(settings.tagged()[name])})
        if name in SHORT:
            forms.append({"type": "string"})
        # anyOf: a section without a type matches the default variant, and perhaps others as well.
        part["anyOf"] = [*forms, {"type": "null"}]
        part.pop("default", None)
    properties[META] = {"type": "object"}
    made.pop("description", None)
    return {
        "$schema": DIALECT,
        "title": "Tunery",
        **{k: v for k, v in made.items() if k != "title"},
    }


def _describe(
    schema: dict[str, Any],
    model: type[BaseModel],
    key: str,
    definitions: dict[str, Any],
    helps: dict[str, str],
    *,
    shared: str = "",
) -> None:
    """Write the help of every field into a schema; ``shared`` is the key of the shared fields."""
    for name, part in schema["properties"].items():
        here = f"{key}.{name}" if key else name
        text = helps.get(here) or helps.get(f"{shared}.{name}") or helps.get(key, "")
        part.pop("title", None)
        part["description"] = text
        if here in settings.switches():
            part["anyOf"].append({"type": "boolean"})
        for inner in settings.models_of(model.model_fields[name].annotation):
            tagged = here in settings.tagged()
            inner_key = f"{here}.{inner.model_fields['type'].default}" if tagged else here
            definition = definitions[inner.__name__]
            definition["description"] = helps.get(inner_key, "")
            definition.pop("title", None)
            _describe(definition, inner, inner_key, definitions, helps, shared=here)
