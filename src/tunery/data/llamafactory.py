"""LLaMA-Factory's ``dataset_info.json``, read as a catalog without a change to it.

A ``columns`` block names all that is read, as there; only what a row cannot be without keeps its
own name. A partial ``tags`` block keeps the other defaults, which is what its author meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tunery.data.dataset import REGISTRY, SUFFIXES, Dataset
from tunery.data.problems import Problem, say
from tunery.errors import ConfigError, did_you_mean
from tunery.i18n import t
from tunery.types import is_object

KEYS = frozenset(
    {
        *("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "cloud_file_name", "script_url"),
        *("formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags"),
    }
)
COLUMNS = frozenset(
    {
        *("prompt", "query", "response", "history", "messages", "system", "tools"),
        *("images", "videos", "audios", "chosen", "rejected", "kto_tag"),
    }
)
TAGS = frozenset(
    {
        *("role_tag", "content_tag", "user_tag", "assistant_tag"),
        *("observation_tag", "function_tag", "system_tag"),
    }
)
ALPACA = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "history": "history",
    "system": "system",
    "tools": "tools",
}
ROLE_TAGS = {
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}


def read_registry(folder: Path) -> list[Dataset]:
    """Read every entry of a folder's ``dataset_info.json``.

    Args:
        folder: The folder, or the file itself.

    Raises:
        ConfigError: There is none, it is not JSON, or an entry has an unknown key.
    """
    file = folder if folder.name == REGISTRY else folder / REGISTRY
    try:
        entries = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(
            t("data.catalog: {folder} holds no {REGISTRY}.", folder=folder, REGISTRY=REGISTRY),
            fix=t("Name the folder of a LLaMA-Factory {REGISTRY}.", REGISTRY=REGISTRY),
        ) from error
    except OSError as error:
        raise ConfigError(
            t("{file}: {strerror}.", file=file, strerror=error.strerror), fix=t("Check the path.")
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            t("{file} is not UTF-8.", file=file), fix=t("Save it as UTF-8.")
        ) from error
    except json.JSONDecodeError as error:
        raise ConfigError(
            t(
                "{file} line {lineno}: {msg} (column {colno}).",
                file=file,
                lineno=error.lineno,
                msg=error.msg,
                colno=error.colno,
            ),
            fix=t("Correct the JSON."),
        ) from error
    if not is_object(entries):
        raise ConfigError(
            t("{file}: expected an object of datasets.", file=file), fix=t("Write name: {...}.")
        )
    return [_entry(str(name), entry, file) for name, entry in entries.items()]


def _entry(name: str, entry: Any, file: Path) -> Dataset:
    where = f"{file}: {name}"
    if not is_object(entry):
        raise ConfigError(
            t("{where}: expected an object.", where=where), fix=t('Write {"file_name": ...}.')
        )
    _known(entry, KEYS, where)
    columns = _block(entry, "columns", COLUMNS, where)
    tags = _block(entry, "tags", TAGS, where)
    formatting = entry.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt", "openai"):
        near = did_you_mean(str(formatting), ("alpaca", "sharegpt", "openai"))
        raise ConfigError(
            t(
                "{where}: formatting {formatting!r} is none of alpaca, sharegpt, openai.",
                where=where,
                formatting=formatting,
            ),
            fix=near,
        )
    format, ours, our_tags, roles = _translated(formatting, columns, tags)
    dataset = _located(name, entry, file)
    ranking = bool(entry.get("ranking")) or "chosen" in columns
    if ranking:
        format = "preference"
        ours |= {name: columns[name] for name in ("chosen", "rejected") if name in columns}
    elif "kto_tag" in columns:
        format = "unpaired"
        ours["label"] = columns["kto_tag"]
    problems = (*dataset.problems, *_refusals(columns, dataset))
    return Dataset(
        name,
        dataset.source,
        dataset.files,
        dataset.names,
        origin=dataset.origin,
        format=format,
        columns=ours,
        tags=our_tags,
        role_map=roles,
        ranking=ranking,
        num_samples=_count(entry.get("num_samples"), where),
        split=entry.get("split"),
        subset=entry.get("subset"),
        folder=entry.get("folder"),
        description=f"{file.parent.name}/{REGISTRY}",
        problems=problems,
    )


def _known(keys: Iterable[str], known: frozenset[str], where: str) -> None:
    for key in keys:
        if key not in known:
            near = did_you_mean(key, known)
            raise ConfigError(
                t("{where}: unknown key {key!r}.", where=where, key=key),
                fix=near or t("Known: {names}.", names=", ".join(sorted(known))),
            )


def _block(entry: Mapping[str, Any], key: str, known: frozenset[str], where: str) -> dict[str, str]:
    """``columns`` or ``tags``: names to names; null means the default."""
    value: Any = entry.get(key) or {}
    if not is_object(value):
        raise ConfigError(
            t("{where}.{key}: expected an object.", where=where, key=key),
            fix=t("Write names to names."),
        )
    _known(value, known, f"{where}.{key}")
    for name, theirs in value.items():
        if theirs is not None and not isinstance(theirs, str):
            raise ConfigError(
                t(
                    "{where}.{key}.{name}: expected a name, got {theirs!r}.",
                    where=where,
                    key=key,
                    name=name,
                    theirs=theirs,
                )
            )
    return {name: theirs for name, theirs in value.items() if theirs}


def _count(value: Any, where: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ConfigError(
            t(
                "{where}.num_samples: expected a whole number above 0, got {value!r}.",
                where=where,
                value=value,
            )
        )
    return value


def _translated(
    formatting: str, columns: Mapping[str, str], tags: Mapping[str, str]
) -> tuple[str, dict[str, str], dict[str, str], dict[str, str]]:
    """Format, columns, tags and role map in our words."""
    if formatting == "alpaca":
        ours = {ALPACA[name]: theirs for name, theirs in columns.items() if name in ALPACA}
        return "alpaca", ours, {}, {}
    ours = {name: columns[name] for name in ("system", "tools") if name in columns}
    plain_tags = (
        tags.get("role_tag", "role") == "role" and tags.get("content_tag", "content") == "content"
    )
    if formatting == "openai" and plain_tags:
        if "messages" in columns:
            ours["messages"] = columns["messages"]
        roles = {
            tags[tag]: role
            for tag, role in ROLE_TAGS.items()
            if tag in tags and tags[tag] != role and role != "function_call"
        }
        return "openai", ours, {}, roles
    if "messages" in columns:
        ours["conversations"] = columns["messages"]
    return "sharegpt", ours, dict(tags), {}


def _located(name: str, entry: Mapping[str, Any], file: Path) -> Dataset:
    """Where the rows are: hub first, as its own reader does, then cloud, then file."""
    if entry.get("hf_hub_url"):
        return Dataset(name, "hub", origin=str(entry["hf_hub_url"]))
    if entry.get("cloud_file_name"):
        return Dataset(name, "cloud", origin=str(entry["cloud_file_name"]))
    if entry.get("script_url"):
        problem = Problem(
            "E170",
            str(file),
            say(
                "{name} runs a loading script ({script}); scripts are never run",
                name=name,
                script=str(entry["script_url"]),
            ),
            say("Save its rows as JSON Lines and name that file in file_name."),
        )
        return Dataset(name, "catalog", problems=(problem,))
    if not entry.get("file_name"):
        remote = entry.get("ms_hub_url") or entry.get("om_hub_url")
        problem = Problem(
            "E171",
            str(file),
            say(
                "{name} is on a hub that is not read here ({remote})", name=name, remote=str(remote)
            )
            if remote
            else say("{name} names no file_name and no hub", name=name),
            say("Download its files and name them in file_name."),
        )
        return Dataset(name, "catalog", problems=(problem,))
    path = file.parent / str(entry["file_name"])
    if path.is_dir():
        files = tuple(
            sorted(
                f
                for f in path.rglob("*")
                if Path(f.name.lower().removesuffix(".gz")).suffix in SUFFIXES
            )
        )
    else:
        files = (path,)
    return Dataset(name, "catalog", files, tuple(str(f) for f in files))


def _refusals(columns: Mapping[str, str], dataset: Dataset) -> list[Problem]:
    """What is not learned from here, said before a row is read."""
    file = dataset.names[0] if dataset.names else dataset.name
    media = [name for name in ("images", "videos", "audios") if name in columns]
    if not media:
        return []
    return [
        Problem(
            "E600",
            file,
            say("this dataset has {media}; only text is trained", media=", ".join(media)),
            say("Choose a dataset of texts."),
        )
    ]
