"""What a run recorded about where it was made, in words: labels, units, and no empty values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tunery.env import human_bytes
from tunery.i18n import t
from tunery.types import is_list, is_mapping

Lines = list[tuple[str, str]]


def in_words(meta: Mapping[str, Any]) -> list[tuple[str, Lines]]:
    """The record of a run as labelled groups; each line has a label, which may be empty.

    Args:
        meta: What ``config.yaml`` has under ``_run``.
    """
    labels = _labels()
    found: list[tuple[str, Lines]] = []
    for key, value in meta.items():
        lines = _lines(key, value, labels)
        if lines:
            found.append((labels.get(key) or _plain(key), lines))
    return found


def _lines(key: str, value: Any, labels: Mapping[str, str]) -> Lines:
    if not is_mapping(value):
        return [("", _text(key, value))] if _says_something(value) else []
    return [
        (labels.get(f"{key}.{name}") or _plain(str(name)), _text(str(name), each))
        for name, each in value.items()
        if _says_something(each) and (key, name) not in _LEFT_OUT
    ]


_LEFT_OUT = {("model", "kind")}
"""What only the program needs: the name and the sentence beside it say the same to people."""


def _says_something(value: Any) -> bool:
    return value is not None and value is not False and value not in ("", 0, [], {})


def _text(key: str, value: Any) -> str:
    if value is True:
        return t("yes")
    if key.endswith("_bytes"):
        return human_bytes(value)
    if key == "context_length":
        return t("{n} tokens", n=f"{value:,}")
    if key == "created":
        return _moment(str(value))
    if is_mapping(value):
        return ", ".join(f"{_plain(str(name))} {_text(str(name), v)}" for name, v in value.items())
    if is_list(value):
        return ", ".join(str(each) for each in value)
    return f"{value:,}" if isinstance(value, int) and key != "seed" else str(value)


def _moment(stamp: str) -> str:
    try:
        return f"{datetime.fromisoformat(stamp).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return stamp


def _plain(key: str) -> str:
    return key.replace("_", " ")


def _labels() -> dict[str, str]:
    return {
        "created": t("Started"),
        "versions": t("Versions"),
        "python": "Python",
        "data_hash": t("Hash of the data"),
        "rows": t("Rows"),
        "rows.read": t("Rows read"),
        "rows.used": t("Rows used"),
        "rows.quarantined": t("Set aside"),
        "rows.filtered": t("Left out"),
        "rows.repeated": t("Repeated"),
        "model": t("Model"),
        "model.name": t("Name"),
        "model.path": t("Folder"),
        "model.base": t("Base model"),
        "model.revision": t("Revision"),
        "model.why": t("Found as"),
        "model.architecture": t("Architecture"),
        "model.num_parameters": t("Parameters"),
        "model.size_bytes": t("Size"),
        "model.context_length": t("Context length"),
        "model.chat_template": t("Chat template"),
        "model.weights": t("Weights"),
        "model.notes": t("Notes"),
        "seed": t("Seed"),
        "hardware": t("Hardware"),
        "hardware.platform": t("System"),
        "hardware.cores": t("CPU cores"),
        "hardware.memory_bytes": t("Memory"),
    }
