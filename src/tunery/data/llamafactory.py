"""Read LLaMA-Factory's ``dataset_info.json`` as a catalog, without changing it.

As in LLaMA-Factory, a ``columns`` block lists the columns to read; only required columns keep
their default names. A partial ``tags`` block keeps the defaults of the other tags. An entry that
cannot be read becomes a dataset with a problem and does not affect the other entries.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tunery.data.dataset import BUCKET, REGISTRY, SUFFIXES, Dataset, registry_text, suffix_of
from tunery.data.problems import Phrase, Problem, say, show, visible
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.types import is_object

KEYS = frozenset(
    {
        *("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "cloud_file_name", "script_url"),
        *("formatting", "ranking", "subset", "split", "folder", "num_samples", "columns", "tags"),
        # A key of older versions: a checksum that was only logged.
        "file_sha1",
    }
)
MAX_SAMPLES = 100_000_000
"""Maximum of ``num_samples``."""
TEXTS = (
    *("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "cloud_file_name", "script_url"),
    *("subset", "split", "folder"),
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


class _EntryError(Exception):
    """An entry cannot be read: what was found and what to do."""

    def __init__(self, code: str, found: Phrase, fix: Phrase) -> None:
        super().__init__(code, str(found))
        self.code = code
        self.found = found
        self.fix = fix


def is_registry(folder: Path) -> bool:
    """Whether a folder has a ``dataset_info.json`` that lists datasets.

    Hugging Face datasets writes a file of the same name that describes its Arrow files and does not
    list datasets.
    """
    try:
        return not _is_description(json.loads(registry_text(folder / REGISTRY)))
    except OSError:
        return False
    except (ValueError, RecursionError):
        return True  # damaged; read_registry reports it


def read_registry(folder: Path) -> list[Dataset]:
    """Read every entry of a folder's ``dataset_info.json``.

    Args:
        folder: The folder, or the file itself.

    Raises:
        ConfigError: The file is missing, cannot be read, is not JSON, or does not list datasets.
    """
    file = folder if folder.name == REGISTRY else folder / REGISTRY
    try:
        entries = json.loads(registry_text(file))
    except FileNotFoundError as error:
        raise ConfigError(
            t("data.catalog: {folder} has no {REGISTRY}.", folder=folder, REGISTRY=REGISTRY),
            fix=t("Give the folder that contains a LLaMA-Factory {REGISTRY}.", REGISTRY=REGISTRY),
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
            t("{file}: expected an object of datasets.", file=file),
            fix=t('Map each dataset name to an object: {"NAME": {...}}.'),
        )
    if _is_description(entries):
        raise ConfigError(
            t("{file} describes a single dataset; it does not list any.", file=file),
            fix=t("Use the folder with its files as the dataset: {folder}", folder=file.parent),
        )
    return [_entry(str(name), entry, file) for name, entry in entries.items()]


def _is_description(entries: Any) -> bool:
    """Whether the file is the metadata that Hugging Face datasets writes for its Arrow files."""
    return (
        is_object(entries)
        and ("features" in entries or "builder_name" in entries)
        and not all(is_object(entry) for entry in entries.values())
    )


def _entry(name: str, entry: Any, file: Path) -> Dataset:
    try:
        return _read(name, entry, file)
    except _EntryError as error:
        problem = Problem(error.code, str(file), error.found, error.fix)
        files = _files(entry, file) if is_object(entry) and entry.get("file_name") else ()
        return Dataset(name, "catalog", files, tuple(str(f) for f in files), problems=(problem,))


def _read(name: str, entry: Any, file: Path) -> Dataset:
    """Convert one entry to a dataset.

    Raises:
        _EntryError: The entry cannot be read.
    """
    if not is_object(entry):
        raise _EntryError(
            "E173", say("{where}: expected an object", where=name), say('Write {"file_name": ...}.')
        )
    _check_keys(entry, KEYS, name)
    for key in TEXTS:
        if entry.get(key) is not None and not isinstance(entry[key], str):
            raise _EntryError(
                "E173",
                say("{where}: expected text, got {found}", where=f"{name}.{key}",
                    found=show(entry[key])),
                say("Write one name; for several files, use their folder."),
            )  # fmt: skip
    columns = _block(entry, "columns", COLUMNS, name)
    tags = _block(entry, "tags", TAGS, name)
    formatting = entry.get("formatting", "alpaca")
    if formatting not in ("alpaca", "sharegpt", "openai"):
        raise _EntryError(
            "E173",
            say(
                "{where}: formatting must be alpaca, sharegpt or openai, got {formatting}",
                where=name,
                formatting=repr(formatting),
            ),
            _near(str(formatting), ("alpaca", "sharegpt", "openai")),
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
    problems = (*dataset.problems, *_unsupported(columns, dataset), *_unused(name, entry, dataset))
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
        num_samples=_count(entry.get("num_samples"), name),
        split=entry.get("split"),
        subset=entry.get("subset"),
        folder=entry.get("folder"),
        description=f"{file.parent.name}/{REGISTRY}",
        problems=problems,
    )


def _near(word: str, known: Iterable[str]) -> Phrase:
    """Suggest the most similar name, or list all names."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.7)
    if near:
        return say("Did you mean {name}?", name=near[0])
    return say("Available: {names}.", names=", ".join(names))


def _check_keys(keys: Iterable[str], known: frozenset[str], where: str) -> None:
    for key in keys:
        if key not in known:
            raise _EntryError(
                "E173",
                say("{where}: unknown key {key}", where=where, key=repr(key)),
                _near(key, known),
            )


def _block(entry: Mapping[str, Any], key: str, known: frozenset[str], where: str) -> dict[str, str]:
    """Read ``columns`` or ``tags``, which map names to names; null means the default."""
    value: Any = entry.get(key) or {}
    if not is_object(value):
        raise _EntryError(
            "E173",
            say("{where}: expected an object", where=f"{where}.{key}"),
            say('Map names to names, such as {"prompt": "instruction"}.'),
        )
    _check_keys(value, known, f"{where}.{key}")
    for name, theirs in value.items():
        if theirs is not None and not isinstance(theirs, str):
            raise _EntryError(
                "E173",
                say(
                    "{where}: expected a name, got {theirs}",
                    where=f"{where}.{key}.{name}",
                    theirs=show(theirs),
                ),
                say("Write the name of a column."),
            )
    return {name: theirs for name, theirs in value.items() if theirs}


def _count(value: Any, where: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise _EntryError(
            "E173",
            say(
                "{where}.num_samples: expected a whole number above 0, got {value}",
                where=where,
                value=show(value),
            ),
            say("Correct the number, or remove it to take every row."),
        )
    if value is not None and value > MAX_SAMPLES:
        raise _EntryError(
            "E173",
            say(
                "{where}.num_samples: expected at most {limit}, got {value}",
                where=where,
                limit=f"{MAX_SAMPLES:,}",
                value=show(value),
            ),
            say("Correct the number, or remove it to take every row."),
        )
    return value


def _translated(
    formatting: str, columns: Mapping[str, str], tags: Mapping[str, str]
) -> tuple[str, dict[str, str], dict[str, str], dict[str, str]]:
    """Our format, columns, tags and role map for an entry."""
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
    """Locate the rows: hub first, as in LLaMA-Factory, then cloud, then file."""
    if entry.get("hf_hub_url"):
        return Dataset(name, "hub", origin=str(entry["hf_hub_url"]))
    if entry.get("cloud_file_name"):
        url = str(entry["cloud_file_name"])
        if not BUCKET.match(url):
            raise _EntryError(
                "E173",
                say(
                    "{where}: expected the address of a bucket, got {found}",
                    where=f"{name}.cloud_file_name",
                    found=show(entry["cloud_file_name"]),
                ),
                say("Write s3://BUCKET/PATH or gs://BUCKET/PATH."),
            )
        return Dataset(name, "cloud", origin=url)
    if entry.get("script_url"):
        problem = Problem(
            "E170",
            str(file),
            say(
                "{name} needs a loading script ({script}); scripts are never run",
                name=name,
                script=str(entry["script_url"]),
            ),
            say("Save its rows as JSON Lines and set file_name to that file."),
        )
        return Dataset(name, "catalog", problems=(problem,))
    if not entry.get("file_name"):
        remote = entry.get("ms_hub_url") or entry.get("om_hub_url")
        problem = Problem(
            "E171",
            str(file),
            say(
                "{name} is on a hub that is not supported ({remote})", name=name, remote=str(remote)
            )
            if remote
            else say("{name} has neither file_name nor a hub name", name=name),
            say("Download its files and set file_name to them."),
        )
        return Dataset(name, "catalog", problems=(problem,))
    files = _files(entry, file)
    return Dataset(name, "catalog", files, tuple(str(f) for f in files))


def _files(entry: Mapping[str, Any], file: Path) -> tuple[Path, ...]:
    path = file.parent / str(entry["file_name"])
    if not path.is_dir():
        return (path,)
    return tuple(sorted(f for f in path.rglob("*") if suffix_of(f) in SUFFIXES))


def _unused(name: str, entry: Mapping[str, Any], dataset: Dataset) -> list[Problem]:
    """Warn (W733) about keys that select a part of a hub dataset, in an entry for a local file."""
    keys = {"hub": (), "cloud": ("subset", "folder")}.get(
        dataset.source, ("subset", "split", "folder")
    )
    # split: train is no selection: a file contains the training rows anyway.
    found = [key for key in keys if entry.get(key) and (key, entry[key]) != ("split", "train")]
    if not found:
        return []
    listed = ", ".join(f"{key} ({visible(str(entry[key]), 40)})" for key in found)
    return [
        Problem(
            "W733",
            f"{name} ({REGISTRY})",
            say("not used: {keys}; every row of {file} is read", keys=listed,
                file=visible(str(entry.get("file_name") or entry.get("cloud_file_name")), 60)),
            say("Remove it, or set file_name to the file of the wanted rows."),
        )
    ]  # fmt: skip


def _unsupported(columns: Mapping[str, str], dataset: Dataset) -> list[Problem]:
    """E600 if an entry has images, videos or audio; reported before any row is read."""
    file = dataset.names[0] if dataset.names else dataset.name
    media = [name for name in ("images", "videos", "audios") if name in columns]
    if not media:
        return []
    return [
        Problem(
            "E600",
            file,
            say("this dataset has {media}; only text can be trained on", media=", ".join(media)),
            say("Choose a text dataset."),
        )
    ]
