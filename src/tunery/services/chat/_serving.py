"""What the OpenAI-compatible API serves: public names, and the models behind them.

``tunery serve`` fixes the list for its process; under ``tunery web`` it is what the user enabled on
the Export & Serve page, stored in the preferences.
"""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tunery.chat import builtin
from tunery.config.frozen import read_frozen
from tunery.errors import ConfigError, TuneryError, unknown_name
from tunery.i18n import t
from tunery.models import facts, files, heads
from tunery.models.resolve import resolve
from tunery.models.resolved import Resolved
from tunery.runs.folder import RunFolder
from tunery.services.chat._words import split_served
from tunery.state import prefs
from tunery.types import is_list, is_object

KEY = "served"
MOST_CHARACTERS = 200
_PART = r"[^\W_][\w.:@+-]*"
NAME = re.compile(rf"(?=.{{1,{MOST_CHARACTERS}}}\Z){_PART}(?:/{_PART})*")
"""What clients may write as ``model``: hub names contain a slash, none can traverse upwards."""
_OTHER = re.compile(r"[^\w.:@+-]+")
_SIGNS = "_.:@+-"
_PARTS = ("adapter", "model", "checkpoints")
_fixed: tuple[Served, ...] | None = None


@dataclass(frozen=True, slots=True)
class Served:
    """A model that clients may use.

    Args:
        name: What clients write as ``model``; never a path on this machine.
        model: What ``models resolve`` accepts.
        since: When it was enabled, in seconds since the epoch.
    """

    name: str
    model: str
    since: int


def served() -> tuple[Served, ...]:
    """All served models, in the order in which they were enabled."""
    if _fixed is not None:
        return _fixed
    return tuple(Served(**entry) for entry in prefs.get(KEY, []))


def find_served(name: str) -> Served:
    """Find the served model of a name.

    Raises:
        UnknownName: No model is served under it; the error names the closest one.
    """
    known = {each.name: each for each in served()}
    if name not in known:
        nothing = "" if known else t("No models are served yet. Start one under Export & Serve.")
        raise unknown_name("model", name[:100], known, fix=nothing)
    return known[name]


def serve(model: str, *, name: str = "") -> Served:
    """Start serving a model.

    Args:
        model: What ``models resolve`` accepts.
        name: What clients write; by default derived from the model's own name.

    Raises:
        ConfigError: The name is not valid.
        ModelError: There is no such model.
    """
    new = _described(model, name)
    kept = [each for each in served() if each.name != new.name]
    prefs.set(KEY, [asdict(each) for each in (*kept, new)])
    return new


def unserve(name: str) -> None:
    """Stop serving a model.

    Raises:
        UnknownName: It is not being served.
    """
    gone = find_served(name)
    prefs.set(KEY, [asdict(each) for each in served() if each != gone])


def fix_served(models: Sequence[str]) -> tuple[Served, ...]:
    """Serve exactly these models while this process runs; ``NAME=MODEL`` sets a name.

    Raises:
        ModelError: One of them is not on this machine.
        ConfigError: Two would have the same name, or a name is not valid.
    """
    global _fixed
    found: dict[str, Served] = {}
    for words in models:
        name, model = split_served(words)
        new = _described(model, name)
        if new.name in found:
            raise ConfigError(
                t("Two models would share the served name {name}.", name=new.name),
                fix=t("Give one of them another name: OTHER={model}", model=model),
            )
        found[new.name] = new
    _fixed = tuple(found.values())
    return _fixed


def unfix() -> None:
    """Return to the list in the preferences."""
    global _fixed
    _fixed = None


def template_source(found: Resolved) -> str:
    """The source of the chat template that a model answers with."""
    run = _run_of(found)
    name = _template_name(run) if run is not None else ""
    lead = builtin.find(name).text if name else ""
    if lead and name != builtin.OWN_WITH_TOOLS:
        return lead
    folders = [found.path, found.model_folder] if found.base else [found.path]
    for folder in folders:
        if source := _template_in(folder, _changed(folder)):
            return lead + source
    return builtin.find("alpaca").text


def _described(model: str, name: str) -> Served:
    if name and not NAME.fullmatch(name):
        raise ConfigError(
            t("{name!r} is not a valid name for a served model.", name=name[:80]),
            fix=t(
                "Use letters, digits, dots, dashes, _, : and +, with / between parts that begin "
                "with a letter or a digit, such as owner/model; at most 200 characters."
            ),
            code="bad_name",
        )
    found = resolve(model)
    heads.require_writer(found)
    return Served(name or _usable(_name_of(found)), model, int(time.time()))


def _usable(name: str) -> str:
    """Replace every character that a served name cannot contain with a dash."""
    parts = (_OTHER.sub("-", part).lstrip(_SIGNS) for part in name.split("/"))
    return "/".join(part for part in parts if part)[:MOST_CHARACTERS].rstrip("/") or "model"


def _name_of(found: Resolved) -> str:
    if os.sep not in found.name or found.kind in ("hub", "demo"):
        return found.name
    if (run := _run_of(found)) is not None:
        return run.name
    parts = [part for part in found.path.parts if part not in _PARTS]
    return parts[-1] if parts else found.path.name


def _run_of(found: Resolved) -> RunFolder | None:
    if found.kind not in ("run", "checkpoint", "adapter", "folder"):
        return None
    for place in (found.path.parent, found.path.parent.parent.parent):
        run = RunFolder(place)
        if run.config_file.is_file():
            return run
    return None


def _template_name(run: RunFolder) -> str:
    """The template in a run's settings, if one of that name still exists."""
    try:
        name = read_frozen(run.config_file).model.template or ""
        return builtin.find(name).name and name if name else ""
    except TuneryError:
        return ""


def _changed(folder: Path) -> int:
    files = (folder / name for name in ("chat_template.jinja", "tokenizer_config.json"))
    return max((file.stat().st_mtime_ns for file in files if file.is_file()), default=0)


@functools.lru_cache(maxsize=64)
def _template_in(folder: Path, changed: int) -> str:
    """A folder's own template, followed by the one it has for tools."""
    own = facts.tokenizer_facts(folder).template
    try:
        named = files.read_json(folder / "tokenizer_config.json").get("chat_template")
    except TuneryError:
        return own
    entries = [entry for entry in named if is_object(entry)] if is_list(named) else []
    more = [str(entry.get("template")) for entry in entries if entry.get("name") == "tool_use"]
    return "\n".join([own, *more])
