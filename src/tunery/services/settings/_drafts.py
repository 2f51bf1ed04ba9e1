"""Drafts of runs: stored on the server as typed, checked on every change.

A draft is a preset, the fields that were set, and the content of the YAML editor while it is
invalid. It survives reload and restart; there can be several, each with a name. Checking is light
and immediate; what a run would do and need comes from the warm process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tunery.config import explain, layers, settings
from tunery.config.config import Config
from tunery.data import catalog
from tunery.errors import ConfigError, ModelError, TuneryError, UnknownName
from tunery.i18n import t
from tunery.models.resolve import resolve
from tunery.runs import store
from tunery.services.settings import _advice, _blanks, _filled, _recipes, _remedies, _showing
from tunery.services.settings._filled import Filled, Wrong
from tunery.state.database import database
from tunery.types import is_list
from tunery.workers import warm

FIRST = "draft"
LONGEST_NAME = 60
MOST_FIELDS = 500
MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Draft:
    """One draft.

    Args:
        name: Its name.
        preset: The preset it starts from.
        fields: What was set, by path, as typed.
        yaml: The content of the YAML editor while it is invalid; empty otherwise.
        updated: When it was last changed, seconds since 1970; 0 if it was never saved.
    """

    name: str
    preset: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    yaml: str = ""
    updated: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API."""
        return asdict(self)


@dataclass(frozen=True)
class CheckedDraft:
    """What is known about a draft immediately.

    Args:
        draft: The draft.
        filled: Its values and what is wrong with them.
        blanks: Placeholders of its datasets.
        fetch: The model that must be downloaded first; empty if it is here.
        ahead: How many runs are ahead of it.
        remarks: What the user should know even before there is a plan.
    """

    draft: Draft
    filled: Filled
    blanks: list[_blanks.Blank]
    fetch: str
    ahead: int
    remarks: list[_advice.Remark] = field(default_factory=list[_advice.Remark])

    @property
    def empty(self) -> list[str]:
        """Names of the placeholders that have no value yet."""
        if _blanks.accepted(self.filled.config):
            return []
        return [blank.name for blank in self.blanks if not blank.value]

    @property
    def can_plan(self) -> bool:
        """Whether the draft is complete enough to ask the warm process."""
        return self.filled.config is not None and not self.empty and not self.fetch

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API and the page."""
        config = self.filled.config
        return {
            "draft": self.draft.as_dict(),
            "values": {path: asdict(shown) for path, shown in self.filled.shown.items()},
            "errors": {path: asdict(wrong) for path, wrong in self.filled.errors.items()},
            "blanks": [asdict(blank) for blank in self.blanks],
            "empty": self.empty,
            "fetch": self.fetch,
            "ahead": self.ahead,
            "notes": [remark.as_dict() for remark in self.remarks],
            "can_plan": self.can_plan,
            "command": _filled.command(self.filled.words),
            "yaml": self.draft.yaml or _filled.yaml(self.filled),
            "diff": [] if config is None else _diff(config),
            "warnings": list(self.filled.warnings),
        }


def list_drafts() -> list[dict[str, Any]]:
    """Names of the drafts and when they were changed, newest first."""
    rows = database().read("SELECT name, updated FROM drafts ORDER BY updated DESC")
    return [{"name": row["name"], "updated": row["updated"]} for row in rows]


def get_draft(name: str) -> Draft | None:
    """The draft of that name; None if there is none."""
    rows = database().read("SELECT * FROM drafts WHERE name = ?", (name,))
    if not rows:
        return None
    kept = json.loads(rows[0]["config"])
    extra = json.loads(rows[0]["extra"])
    return Draft(
        name,
        kept.get("preset"),
        kept.get("fields") or {},
        extra.get("yaml", ""),
        rows[0]["updated"],
    )


def last_draft() -> Draft:
    """The draft that was changed last; an empty one if there is none."""
    names = list_drafts()
    return (get_draft(names[0]["name"]) if names else None) or Draft(FIRST)


def draft_for(dataset: str) -> Draft:
    """The draft to train on a dataset with: the newest one made for it, else a new one.

    A draft made for other data is never reused: its preset, its prompts and its share of held-out
    rows were chosen for that data. A new draft takes over only its model.
    """
    for row in list_drafts():
        found = get_draft(row["name"])
        if found is not None and datasets_of(found) == [dataset]:
            return found
    last = last_draft()
    if not datasets_of(last):
        return last
    model = {path: last.fields[path] for path in ("model.name",) if path in last.fields}
    name = "".join(c for c in dataset.rstrip("/").rpartition("/")[2] if c.isprintable()).strip()
    return Draft(free_name(name if name.strip(".") else FIRST), None, model)


def datasets_of(draft: Draft) -> list[str]:
    """The datasets that a draft trains on, without their repeats."""
    chosen = draft.fields.get("data.train")
    if chosen is None:
        is_known = draft.preset in layers.preset_names()
        return _recipes.preset_datasets(draft.preset) if draft.preset and is_known else []
    names = [str(each) for each in chosen] if is_list(chosen) else _filled.names(str(chosen))
    return [_blanks.without_weight(name) for name in names]


def put_draft(draft: Draft) -> Draft:
    """Store a draft, valid or not.

    Raises:
        ConfigError: Its name is not valid, it holds half of a character, or it is too large.
    """
    checked_draft_name(draft.name)
    explain.fail(explain.broken_texts({**draft.fields, "preset": draft.preset, "yaml": draft.yaml}))
    config = json.dumps(
        {"preset": draft.preset, "fields": dict(draft.fields)}, ensure_ascii=False, allow_nan=False
    )
    if len(draft.fields) > MOST_FIELDS or len(config) + len(draft.yaml) > MOST_BYTES:
        raise ConfigError(t("These settings are too large for a draft."), code="too_large")
    now = time.time()
    with database().write() as db:
        db.execute(
            "INSERT OR REPLACE INTO drafts (name, config, extra, updated) VALUES (?, ?, ?, ?)",
            (draft.name, config, json.dumps({"yaml": draft.yaml}), now),
        )
    return Draft(draft.name, draft.preset, draft.fields, draft.yaml, now)


def put_draft_yaml(name: str, text: str) -> tuple[Draft, Wrong | None]:
    """Replace a draft with the text of a settings file; an invalid text is kept until corrected.

    Returns:
        The draft, and what is wrong with the text.
    """
    before = get_draft(name) or Draft(name)
    try:
        preset, fields = _filled.fields_of(text) if text.strip() else (None, {})
    except (ConfigError, UnknownName) as error:
        draft = put_draft(Draft(name, before.preset, before.fields, text))
        return draft, Wrong(error.message, error.fix)
    return put_draft(Draft(name, preset, fields)), None


def make_draft(name: str, *, run: str = "", yaml: str = "", preset: str | None = None) -> Draft:
    """Make a draft under an unused name: empty, from a run's settings, from YAML or a preset.

    Raises:
        TuneryError: There is no such run, or the YAML is not valid.
    """
    fields: dict[str, Any] = {}
    if run:
        fields = _filled.fields_of_config(_showing.named(run))
    elif yaml:
        preset, fields = _filled.fields_of(yaml)
    return put_draft(Draft(free_name(name or run or FIRST), preset, fields))


def rename_draft(name: str, to: str) -> Draft:
    """Rename a draft.

    Raises:
        UnknownName: There is no such draft.
        ConfigError: The name is taken or not valid.
    """
    checked_draft_name(to)
    if get_draft(name) is None:
        raise no_such_draft(name)
    if get_draft(to) is not None:
        raise ConfigError(t("A draft named {name!r} already exists.", name=to), code="exists")
    with database().write() as db:
        db.execute("UPDATE drafts SET name = ? WHERE name = ?", (to, name))
    found = get_draft(to)
    assert found is not None
    return found


def delete_draft(name: str) -> None:
    """Delete a draft.

    Raises:
        UnknownName: There is no draft of that name.
    """
    with database().write() as db:
        gone = db.execute("DELETE FROM drafts WHERE name = ?", (name,)).rowcount
    if not gone:
        raise no_such_draft(name)


def check_draft(draft: Draft) -> CheckedDraft:
    """Find out immediately what is wrong and what is missing."""
    found = _filled.fill_form(draft.preset, draft.fields)
    errors = dict(found.errors)
    words = found.shown["data.train"].value
    datasets: list[str] = list(words) if is_list(words) else _filled.names(words)
    folder = found.config.data.catalog if found.config else None
    for name in datasets if "data.train" not in errors else ():
        try:
            catalog.find(catalog.weight(name)[0], catalog=folder)
        except TuneryError as error:
            errors.setdefault("data.train", Wrong(error.message, error.fix))
    fetch = ""
    try:
        if "model.name" not in errors:
            resolve(str(found.shown["model.name"].value))
    except ModelError as error:
        if error.fields.get("remedy") == "pull":
            fetch = str(error.fields["target"])
        else:
            errors.setdefault("model.name", Wrong(error.message, error.fix))
    loaded = None if errors else found.loaded
    found = Filled(found.words, found.shown, errors, loaded, found.warnings)
    readable = [] if "data.train" in errors else datasets
    variables = _filled.table(found.shown["data.variables"].value)
    blanks = _blanks.of(readable, variables, catalog_dir=folder)
    mixed = _advice.other_data(draft.preset, readable, blanks)
    return CheckedDraft(
        draft=draft,
        filled=found,
        remarks=[mixed] if mixed else [],
        blanks=blanks,
        fetch=fetch,
        ahead=sum(run.is_live for run in store.list_runs()),
    )


def plan_draft(
    checked: CheckedDraft, *, measure: bool = False, timeout_seconds: float = warm.TIMEOUT_SECONDS
) -> dict[str, Any]:
    """Ask the warm process to plan a draft's run; only the newest request per draft counts.

    Returns:
        ``plan``, ``remarks`` and ``hints``.

    Raises:
        TuneryError: Something is wrong with the request, with its remedies.
    """
    config = checked.filled.config
    assert config is not None
    try:
        made = warm.ask(
            "plan",
            lane=f"draft {checked.draft.name}",
            timeout_seconds=timeout_seconds,
            words=checked.filled.words,
            measure=measure,
        )
    except warm.Superseded:
        raise
    except TuneryError as error:
        raise _remedies.with_remedies(error) from error
    return plan_in_words(config, made)


def plan_in_words(config: Config, made: dict[str, Any]) -> dict[str, Any]:
    """A plan with its meaning for the user: ``plan``, ``remarks`` and ``hints``."""
    return {
        "plan": made,
        "remarks": [remark.as_dict() for remark in _advice.remarks(config, made)],
        "hints": _advice.hints(config, made),
    }


def checked_draft_name(name: str) -> str:
    """Return the name if it is a valid draft name.

    Raises:
        ConfigError: It is empty, too long, or has characters that a URL cannot contain.
    """
    usable = name.strip() == name and 0 < len(name) <= LONGEST_NAME and name.isprintable()
    if not usable or "/" in name or name in (".", ".."):
        raise ConfigError(
            t("{name!r} is not a valid draft name.", name=name[:LONGEST_NAME]),
            fix=t("Use up to {n} characters and no slash.", n=LONGEST_NAME),
        )
    return name


def free_name(wanted: str) -> str:
    """Append a number if the name is taken."""
    wanted = wanted[: LONGEST_NAME - 4]
    taken = {row["name"] for row in list_drafts()}
    tries = (wanted if n == 1 else f"{wanted}-{n}" for n in range(1, len(taken) + 3))
    return next(name for name in tries if name not in taken)


def no_such_draft(name: str) -> UnknownName:
    """The error for a draft that does not exist."""
    return UnknownName(t("Draft {name!r} not found.", name=name), code="unknown")


def _diff(config: Config) -> list[dict[str, Any]]:
    """Settings that differ from the defaults: the value and the default."""
    return [
        {"path": each.path, "left": _written(each.left), "right": _written(each.right)}
        for each in _showing.compare(Config(), config)
    ]


def _written(value: Any) -> str:
    return "–" if value is None else settings.show(value)
