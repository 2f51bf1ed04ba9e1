"""The reference page of all settings, generated from the declaration.

``python -m tunery.config.reference`` writes docs/reference.md, docs/reference.zh.md and the JSON
schema next to them; a test fails when they are out of date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tunery import i18n
from tunery.config import settings
from tunery.config.frozen import to_yaml
from tunery.config.layers import preset_layer, preset_names
from tunery.config.schema import json_schema
from tunery.i18n import t

PAGES = {"en": "reference.md", "zh": "reference.zh.md"}
SCHEMA = "settings.schema.json"


def page(language: str) -> str:
    """Write the reference page in a language, as Markdown."""
    with i18n.speaking(language):
        return "\n".join(_page()) + "\n"


def write(folder: Path) -> list[Path]:
    """Write the pages of all languages into ``folder``; return their paths."""
    paths: list[Path] = []
    for language, name in PAGES.items():
        path = folder / name
        path.write_text(page(language), encoding="utf-8")
        paths.append(path)
    path = folder / SCHEMA
    text = json.dumps(json_schema(), ensure_ascii=False, indent=1)
    path.write_text(f"{text}\n", encoding="utf-8")
    return [*paths, path]


def _page() -> Iterator[str]:
    yield f"# {t('Settings')}"
    yield ""
    yield t("This page is generated from the code by `make docs`.")
    yield ""
    yield t(
        "Write a setting in a YAML file (`section: {name: value}`) or as a flag "
        "(`--section.name value`). Flags override files, files override the preset, the "
        "preset overrides defaults."
    )
    yield t("`tunery config show` prints the result with the source of each value.")
    yield ""
    heads = {(group.path, group.variant): group for group in settings.groups()}
    here: tuple[str, str | None] | None = None
    opened: set[str] = set()
    for setting in settings.walk():
        place = (setting.section, setting.variant)
        if place != here:
            if here is not None:
                yield ""
            here = place
            yield from _head(heads.get(place), opened)
            yield f"| {t('setting')} | {t('accepts')} | {t('default')} | {t('description')} |"
            yield "|---|---|---|---|"
        default = settings.show(setting.default)
        takes = f"{setting.type}, {setting.bounds}" if setting.bounds else setting.type
        yield f"| `{setting.path}` | {_cell(takes)} | `{default}` | {_cell(setting.help())} |"
    yield ""
    yield from _presets()


def _head(group: settings.Group | None, opened: set[str]) -> Iterator[str]:
    if group is None:
        return
    level = "##" if group.variant is None else "###"
    yield f"{level} {group.path}.type={group.variant}" if group.variant else f"{level} {group.path}"
    yield ""
    yield group.help()
    yield ""
    opened.add(group.path)


def _presets() -> Iterator[str]:
    yield f"## {t('Presets')}"
    yield ""
    yield t("A preset is a set of settings to start from: `--preset NAME`.")
    for name in preset_names():
        yield ""
        yield f"### {name}"
        yield ""
        yield "```yaml"
        yield to_yaml(preset_layer(name).values).rstrip()
        yield "```"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for written in write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs")):
        print(written)
