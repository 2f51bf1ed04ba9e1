"""The named datasets as lists and pages show them, and previews of one with a given model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery.chat import builtin
from tunery.commands import quoted
from tunery.config.data import DataConfig
from tunery.config.methods import METHODS
from tunery.data.catalog import BUILTIN, find
from tunery.data.formats import FORMATS
from tunery.data.kinds import fits, row_kind_named, row_kind_of
from tunery.data.registered import registered
from tunery.errors import DataError, TuneryError, unknown_name
from tunery.i18n import t, translated
from tunery.runs.store import list_runs
from tunery.services import machine, models
from tunery.services.datasets import _checks, _edits, _named
from tunery.services.datasets._rows import LIGHT_BYTES, located, size_bytes
from tunery.types import is_object
from tunery.workers import warm


@dataclass(frozen=True, slots=True)
class Looking:
    """The model and the settings that a row is previewed with.

    Args:
        model: The name of a model on this machine, or its path within the allowed folders.
        template: A built-in template; empty for the model's own.
        max_length: Longest row, in tokens.
        loss_on: Which tokens are trained on.
        too_long: What happens to a longer row.
    """

    model: str
    template: str = ""
    max_length: int = 2048
    loss_on: str = "assistant"
    too_long: str = "turns"

    def words(self) -> list[str]:
        """The settings as command-line arguments.

        Raises:
            TuneryError: The model's path lies outside the allowed folders, or there is no such
                template.
        """
        model = self.model.strip()
        if model.startswith(("/", "~", ".")) or "\\" in model:
            model = str(machine.inside_roots(Path(model)))
        if self.template and self.template not in builtin.choices():
            raise unknown_name("template", self.template, builtin.choices())
        words = [
            f"--model.name={model}",
            f"--data.max_length={self.max_length}",
            f"--data.loss_on={self.loss_on}",
            f"--data.too_long={self.too_long}",
        ]
        return [*words, f"--model.template={self.template}"] if self.template else words


def overview() -> list[dict[str, Any]]:
    """Every named dataset, with its rows, tokens, last check, and the runs that used it."""
    runs = [(run.name, {each.split("*")[0] for each in run.data}) for run in list_runs()]
    found: list[dict[str, Any]] = []
    for entry in _named.listing():
        name = entry["name"]
        check = _checks.latest(name)
        statistics: dict[str, Any] = (check or {}).get("statistics") or {}
        found.append(
            {
                **_plain(entry),
                "rows": entry["rows"] if entry["rows"] is not None else (check or {}).get("rows"),
                "tokens": statistics.get("tokens"),
                "tokens_by": statistics.get("model"),
                "check": _in_short(check),
                "runs": [run for run, trained in runs if name in trained],
            }
        )
    return found


def describe(name: str) -> dict[str, Any]:
    """A named dataset: its list entry, its placeholders, and whether its rows can be edited."""
    named(name)
    entry = next(each for each in overview() if each["name"] == name)
    dataset = find(name)
    size = size_bytes(dataset)
    small = bool(dataset.files) and size <= LIGHT_BYTES
    return {
        **entry,
        "bytes": size,
        "made": registered().get(name, {}).get("made"),
        "blanks": _edits.blanks(name) if small else [],
        "editable": bool(dataset.files) and size <= _edits.MAX_EDITED_BYTES,
    }


def named(name: str) -> None:
    """Check that there is a dataset with this name; a page never opens a path as a name.

    Raises:
        UnknownName: There is none.
    """
    known = [*BUILTIN, *registered()]
    if name not in known:
        raise unknown_name("dataset", name, known)


def ask_tokens(
    name: str, looking: Looking, *, row: int = 1, part: int | None = None
) -> dict[str, Any]:
    """Return one row as the model sees it, computed in the warm process.

    Raises:
        TuneryError: The dataset, the row or the model was not found.
    """
    named(name)
    return warm.ask("preview_row", name=name, words=looking.words(), row=row, part=part)


def ask_statistics(name: str, looking: Looking) -> dict[str, Any]:
    """Return token counts of a whole dataset, computed in the warm process, cached for lists.

    Raises:
        TuneryError: The dataset or the model was not found, or rows cannot be used.
    """
    named(name)
    if size_bytes(located(name, DataConfig())) > 8 * LIGHT_BYTES:
        raise DataError(
            t("{name} is too large to tokenize in the page.", name=name),
            fix=t(
                "A run does this when it starts. To do it now: tunery data preview {name} --stats",
                name=quoted(name),
            ),
            code="big",
        )
    found = warm.ask("statistics", name=name, words=looking.words(), lane=f"statistics:{name}")
    _checks.keep_statistics(name, found, model=looking.model)
    return found


def model_names() -> list[str]:
    """Models on this machine that have a name and are complete, the demo model first."""
    return [each["name"] for each in models.known() if each["ok"]] or ["demo"]


def method_for(name: str, current: str) -> str:
    """The method to select for a dataset; empty if the current one can learn from its rows.

    Args:
        name: A dataset whose format is known.
        current: The current ``method.type``; empty for the default.
    """
    try:
        known = find(name).format
    except TuneryError:
        return ""  # reported at the field of the datasets
    if known is None:
        return ""
    kind = row_kind_of(FORMATS.get(known).makes)
    methods = {each.model_fields["type"].default: each for each in METHODS}
    wanted = methods.get(current, METHODS[0]).rows
    if fits(row_kind_named(wanted), kind) is None:
        return ""
    return next((each for each, method in methods.items() if method.rows == kind.name), "")


def origin_of(name: str) -> str:
    """The dataset that a dataset is a copy of, such as ``identity`` with its blanks filled in."""
    entries, seen = registered(), {""}
    while name not in seen:
        seen.add(name)
        made = entries.get(name, {}).get("made")
        if not is_object(made) or made.get("how") == "upload":
            break
        name = str(made.get("from") or name)
    return name


def template_names() -> list[str]:
    """The built-in chat templates."""
    return builtin.choices()


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    description = translated(entry["description"]) if entry["source"] == "builtin" else ""
    return {
        "name": entry["name"],
        "source": entry["source"],
        "format": entry["format"],
        "ok": entry["ok"],
        "description": description,
        "where": "" if entry["source"] == "builtin" else entry["description"],
    }


def _in_short(check: dict[str, Any] | None) -> dict[str, Any] | None:
    if check is None:
        return None
    count = {"stop": 0, "warn": 0}
    for group in check["groups"]:
        if group["level"] in count:
            count[group["level"]] += group["count"]
    return {
        "ok": check["ok"],
        "when": check["when"],
        "stops": count["stop"],
        "warnings": count["warn"],
    }
