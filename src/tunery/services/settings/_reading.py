"""What the page offers for a problem with rows: a setting of how they are read, as a button.

The sentences of the checker name settings. Those that are stored with a dataset can be set where it
is added; all others belong to a run, so the page says where they are.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Any

from tunery.config import settings as known
from tunery.data.problems import Phrase
from tunery.i18n import joined, t
from tunery.services import datasets
from tunery.services.settings import _forms, _remedies

ROLES = ("user", "assistant", "system", "tool")
MOST = 4
_SECTION = "data."


def with_ways(told: dict[str, Any]) -> dict[str, Any]:
    """Add to a proposal or a refusal of rows what can be set for each problem, and where.

    Args:
        told: From ``datasets.propose_columns``, or the fields of an error of ``add_source``.
    """
    if "problem" in told:
        told["remedies"] = remedies([told["problem"]])
    for row in told.get("preview") or ():
        row["remedies"] = remedies([row.pop("fix", "")])
    for group in told.get("groups") or ():
        group["remedies"] = remedies(each["fix"] for each in group["examples"])
    return with_places(told, here=datasets.READING)


def with_places(told: dict[str, Any], *, here: Collection[str] = ()) -> dict[str, Any]:
    """Add to each group of problems where its settings are, except those that are ``here``."""
    for group in told.get("groups") or ():
        group["elsewhere"] = elsewhere((each["fix"] for each in group["examples"]), here=here)
    return told


def remedies(fixes: Iterable[str | Phrase]) -> list[dict[str, Any]]:
    """The settings that sentences offer and that a dataset is stored with.

    Returns:
        For each ``{"label", "data"}``: settings of the section ``data`` to add to the current ones.
        Or ``{"label", "choices"}`` where the sentence leaves the value open: such a pair for each
        value.
    """
    found: list[dict[str, Any]] = []
    for fix in fixes:
        for path, value in _remedies.changes_in(fix):
            offer = _offer(path, value)
            if offer is not None and offer not in found:
                found.append(offer)
    return found[:MOST]


def elsewhere(fixes: Iterable[str | Phrase], *, here: Collection[str] = ()) -> str:
    """Say where the settings are that sentences name; empty if all of them can be set here.

    Args:
        fixes: The sentences.
        here: Settings of the section ``data`` that have a field or a button on the page.
    """
    labels: dict[str, None] = {}
    for fix in fixes:
        for path in _remedies.paths_in(fix):
            owner = known.find(path)
            name = owner.path.removeprefix(_SECTION) if owner else ""
            if owner and owner.path.startswith(_SECTION) and name not in (*here, "train"):
                labels[_forms.label_of(owner.key, owner.path)] = None
    if not labels:
        return ""
    names = joined(*labels, between=", ")
    return t("On the Train page, under More settings: {names}", names=names)


def _offer(path: str, value: str) -> dict[str, Any] | None:
    owner = known.find(path)
    name = owner.path.removeprefix(_SECTION) if owner else ""
    if owner is None or not owner.path.startswith(_SECTION) or name not in datasets.READING:
        return None
    entry = path[len(owner.path) + 1 :]
    label = _forms.label_of(owner.key, owner.path)
    if entry:
        label = t("{label}: {entry}", label=label, entry=entry)
    if name == "role_map" and value == "ROLE":
        choices = [_change(owner, name, entry, label, role) for role in ROLES]
        return {"label": label, "choices": choices} if entry else None
    if value.isupper() or value == "...":  # stands for a word that only the reader knows
        return None
    return _change(owner, name, entry, label, value)


def _change(owner: known.Setting, name: str, entry: str, label: str, value: str) -> dict[str, Any]:
    held: Any = value
    if owner.is_list:
        held = value.split(",")
    elif owner.is_dict:
        held = {entry: value} if entry else _parsed(value)
    elif not owner.takes(str):
        held = _parsed(value)
    return {
        "label": t("{label} = {value}", label=label, value=value),
        "value": value,
        "data": {name: held},
    }


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value
