"""Datasets on the Hugging Face Hub: their files are downloaded to the usual cache and read there.

Code in a repository is never run. Downloads are recorded, so that later runs work offline.
HF_ENDPOINT, HF_HOME and HF_TOKEN are read at each call.
"""

from __future__ import annotations

import fnmatch
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunery import env
from tunery.data.dataset import NOT_ROWS, SUFFIXES, Dataset, suffix_of
from tunery.data.problems import Problem, say
from tunery.data.sources import elsewhere
from tunery.data.splits import canonical, split_of, warn_of_tests
from tunery.errors import DataError
from tunery.i18n import t
from tunery.types import is_list, is_mapping

DEFAULT_ENDPOINT = "https://huggingface.co"
PREFERRED = (".parquet", ".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".txt", ".arrow")


def fetch_hub(dataset: Dataset) -> Dataset:
    """Download the files of one split and return the dataset with them.

    Offline, files in the caches are used. A repository with a loading script gets problem E170.

    Raises:
        DataError: There is no such repository, revision or split, access is denied, or the hub
            cannot be reached and the files are not cached.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return _recorded(dataset, t("HF_HUB_OFFLINE is set"))
    from huggingface_hub import errors

    unreachable = _network_errors()
    try:
        return _fetch(dataset)
    except errors.GatedRepoError as error:
        raise DataError(
            t(
                "{name}: this dataset is gated; its owner decides who may access it.",
                name=dataset.name,
            ),
            fix=t(
                "Request access at {endpoint}/datasets/{origin}, then set HF_TOKEN.",
                endpoint=endpoint(),
                origin=dataset.origin,
            ),
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(
            t(
                "{name}: the hub has no dataset {origin}, or it is private.",
                name=dataset.name,
                origin=dataset.origin,
            ),
            fix=t("Check the name; for a private dataset, set HF_TOKEN."),
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DataError(
            t("{name}: no revision {revision!r}.", name=dataset.name, revision=dataset.revision),
            fix=t("Check what follows the #."),
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", "?")
        return _recorded(dataset, t("{url} answered {status}", url=endpoint(), status=status))
    except unreachable as error:
        return _recorded(
            dataset,
            t("{url} cannot be reached ({kind})", url=endpoint(), kind=type(error).__name__),
        )
    except (errors.HFValidationError, ValueError) as error:
        raise DataError(
            t("{name}: {error}", name=dataset.name, error=error), fix=t("Write hf:owner/name.")
        ) from error


def _network_errors() -> tuple[type[Exception], ...]:
    """The exceptions of network failures; huggingface_hub 1 uses httpx, 2 uses httpx2."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    found: list[type[Exception]] = [ConnectionError, TimeoutError, LocalEntryNotFoundError]
    for name in ("httpx2", "httpx"):
        try:
            found.append(importlib.import_module(name).HTTPError)
        except ModuleNotFoundError:
            continue
    return tuple(found)


def endpoint() -> str:
    """The address of the hub: HF_ENDPOINT, or the public one."""
    return (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")


def cache_folder() -> Path:
    """The cache shared by all programs: HF_HUB_CACHE, or HF_HOME/hub."""
    named = os.environ.get("HF_HUB_CACHE")
    if named:
        return env.expanded(named)
    return env.expanded(os.environ.get("HF_HOME") or env.user_cache() / "huggingface") / "hub"


def _fetch(dataset: Dataset) -> Dataset:
    from huggingface_hub import (
        HfApi,
        hf_hub_download,  # pyright: ignore[reportUnknownVariableType]
    )
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars

    if not sys.stderr.isatty() and not are_progress_bars_disabled():
        disable_progress_bars()
    repo = str(dataset.origin)
    token = os.environ.get("HF_TOKEN") or None
    api = HfApi(endpoint=endpoint(), token=token)
    info = api.dataset_info(repo, revision=dataset.revision, timeout=20)
    present = sorted(each.rfilename for each in info.siblings or ())
    script = f"{repo.rsplit('/', 1)[-1]}.py"
    if script in present:
        return replace(dataset, problems=(_scripted(dataset, api, script),))
    chosen = choose(dataset, present, _configs(info.card_data))
    commit = info.sha or dataset.revision or "main"
    files: list[Path] = []
    for name in chosen:
        local = (
            cache_folder() / f"datasets--{repo.replace('/', '--')}" / "snapshots" / commit / name
        )
        if not local.exists():
            local = Path(
                hf_hub_download(
                    repo,
                    name,
                    repo_type="dataset",
                    revision=commit,
                    endpoint=endpoint(),
                    token=token,
                    cache_dir=cache_folder(),
                )
            )
        files.append(local)
    names = tuple(f"hf:{repo}/{name}" for name in chosen)
    _record(dataset, commit, files, names)
    return _with(dataset, files, names)


def _with(dataset: Dataset, files: Sequence[Path], names: Sequence[str]) -> Dataset:
    problems = (*dataset.problems, *warn_of_tests(dataset.name, dataset.split))
    return replace(dataset, files=tuple(files), names=tuple(names), problems=problems)


def choose(
    dataset: Dataset, present: Sequence[str], configs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Choose the files of a subset and split from the card's configs, or from their names.

    If files chosen by name have several types, only one type is read: Parquet before JSON, CSV,
    text and Arrow.

    Args:
        dataset: The dataset, with subset, split and folder.
        present: Names of all files in the repository.
        configs: The configs of the dataset card.

    Raises:
        DataError: There is no such subset or split, or the repository has no data files (E196).
    """
    split = dataset.split or "train"
    rows = [name for name in present if _is_rows(name)]
    if dataset.folder:
        rows = [name for name in rows if name.startswith(dataset.folder.strip("/") + "/")]
    by_card = _by_card(dataset, split, rows, configs)
    if by_card:
        return by_card
    if dataset.subset:
        inside = [n for n in rows if dataset.subset in n.split("/")[:-1]]
        inside = inside or [n for n in rows if Path(n).name.split(".")[0] == dataset.subset]
        if not inside:
            folders = sorted({n.split("/")[0] for n in rows if "/" in n})
            raise DataError(
                t("{name}: no subset {subset!r}.", name=dataset.name, subset=dataset.subset),
                fix=t("Available: {names}.", names=", ".join(folders) or t("no subsets")),
            )
        rows = inside
    if not rows:
        raise DataError(
            t("{name}: the repository contains no data files.", name=dataset.name),
            fix=t("Expected files ending in {names}.", names=" ".join(SUFFIXES)),
            code="E196",
        )
    splits = {name: split_of(name) for name in rows}
    wanted = canonical(split)
    chosen = [name for name in rows if splits[name] == wanted]
    if not chosen and not any(splits.values()) and wanted == "train":
        chosen = rows
    if not chosen:
        known = sorted({each for each in splits.values() if each})
        raise DataError(
            t("{name}: no split {split!r}.", name=dataset.name, split=split),
            fix=t(
                "Available: {names}; write hf:{origin}@{known}.",
                names=", ".join(known),
                origin=dataset.origin,
                known=known[0],
            )
            if known
            else t("Its files do not name a split; write hf:{origin}.", origin=dataset.origin),
        )
    return _one_kind(chosen)


def _by_card(
    dataset: Dataset, split: str, rows: Sequence[str], configs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """The files that the dataset card lists for a subset and split; empty if it lists none."""
    named = [c for c in configs if c.get("data_files")]
    if dataset.subset:
        named = [c for c in named if c.get("config_name") == dataset.subset]
    elif len(named) > 1:
        default = [c for c in named if c.get("default") or c.get("config_name") == "default"]
        if not default:
            known = ", ".join(str(c.get("config_name")) for c in named)
            raise DataError(
                t("{name}: the dataset has several subsets.", name=dataset.name),
                fix=t(
                    "Choose one: hf:{origin}:SUBSET with one of {known}.",
                    origin=dataset.origin,
                    known=known,
                ),
            )
        named = default
    for config in named[:1]:
        files = config["data_files"]
        if isinstance(files, str) or (files and isinstance(files[0], str)):
            files = [{"split": "train", "path": files}]
        known = [str(each.get("split")) for each in files]
        for each in files:
            if each.get("split") == split:
                patterns = each["path"] if is_list(each["path"]) else [each["path"]]
                found = [n for n in rows if any(_matches(n, str(p)) for p in patterns)]
                if found:
                    return found
        if split not in known:
            raise DataError(
                t("{name}: no split {split!r}.", name=dataset.name, split=split),
                fix=t(
                    "Available: {names}; write hf:{origin}@{known}.",
                    names=", ".join(known),
                    origin=dataset.origin,
                    known=known[0],
                ),
            )
    return []


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or (
        "**/" in pattern and fnmatch.fnmatchcase(name, pattern.replace("**/", ""))
    )


def _one_kind(names: Sequence[str]) -> list[str]:
    kinds = {suffix_of(Path(name)) for name in names}
    kind = next(suffix for suffix in PREFERRED if suffix in kinds)
    return [name for name in names if suffix_of(Path(name)) == kind]


def _is_rows(name: str) -> bool:
    base = Path(name).name.lower()
    hidden = any(part.startswith(".") for part in name.split("/"))
    return suffix_of(Path(name)) in SUFFIXES and base not in NOT_ROWS and not hidden


def _configs(card: Any) -> list[Mapping[str, Any]]:
    configs = card.get("configs") if card is not None else None
    return [c for c in configs if is_mapping(c)] if is_list(configs) else []


def _scripted(dataset: Dataset, api: Any, script: str) -> Problem:
    """Make E170 for a repository with a loading script; suggests its Parquet branch, if any."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        refs = api.list_repo_refs(str(dataset.origin), repo_type="dataset")
        branch = next((each.ref for each in refs.converts if "parquet" in each.ref), None)
    except HfHubHTTPError:
        branch = None
    fix = (
        say("Use its Parquet branch: hf:{repo}#{branch}", repo=dataset.origin, branch=branch)
        if branch
        else say("Download its data files and use their paths.")
    )
    return Problem(
        "E170",
        dataset.name,
        say("the repository needs the script {script}; scripts are never run", script=script),
        fix,
    )


def _record_file(dataset: Dataset) -> Path:
    spec = [
        endpoint(),
        dataset.origin,
        dataset.subset,
        dataset.split,
        dataset.folder,
        dataset.revision,
    ]
    key = hashlib.sha256(json.dumps(spec).encode()).hexdigest()[:32]
    return env.cache_dir() / "data" / f"hub-{key}.json"


def _record(dataset: Dataset, commit: str, files: Iterable[Path], names: Iterable[str]) -> None:
    """Record the files of a dataset, for later offline use."""
    target = _record_file(dataset)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    entry = {"commit": commit, "files": [str(path) for path in files], "names": list(names)}
    staging.write_text(json.dumps(entry), encoding="utf-8")
    staging.replace(target)


def _recorded(dataset: Dataset, why: str) -> Dataset:
    """The dataset with files that were downloaded before.

    Args:
        dataset: The dataset.
        why: Why it cannot be downloaded now.

    Raises:
        DataError: The files were not downloaded before.
    """
    try:
        entry: dict[str, Any] = json.loads(_record_file(dataset).read_text(encoding="utf-8"))
        files = [Path(name) for name in entry["files"]]
    except (OSError, ValueError, KeyError):
        entry, files = {}, []
    if not files or not all(path.exists() for path in files):
        if (found := _from_other_program(dataset, why)) is not None:
            return found
        raise DataError(
            t("{name}: not downloaded yet, and {why}.", name=dataset.name, why=why),
            fix=t("Try again when online, or set HF_ENDPOINT to a mirror you can reach."),
        )
    return _with(dataset, files, entry["names"])


def _from_other_program(dataset: Dataset, why: str) -> Dataset | None:
    """The dataset with files that another program downloaded; None if there are none.

    Raises:
        DataError: Only another split or subset, or only some of the files, are downloaded.
    """
    held = elsewhere.snapshot(dataset)
    if held is None or not any(_is_rows(name) for name in held[1]):
        return elsewhere.prepared(dataset)
    folder, present = held
    try:
        chosen = choose(dataset, present, elsewhere.configs(folder))
    except DataError as error:
        if (found := elsewhere.prepared(dataset)) is not None:
            return found
        raise DataError(
            t(
                "{name}: not downloaded, and {why}. In {folder}: {problem}",
                name=dataset.name,
                why=why,
                folder=folder,
                problem=str(error),
            ),
            fix=error.fix,
            code=error.code,
        ) from error
    if missing := elsewhere.missing_shards(chosen):
        raise DataError(
            t(
                "{name}: {missing} of its files are not downloaded ({folder}), and {why}.",
                name=dataset.name,
                missing=missing,
                folder=folder,
                why=why,
            ),
            fix=t("Try again when online, or set HF_ENDPOINT to a mirror you can reach."),
        )
    files = [folder / name for name in chosen]
    names = [f"hf:{dataset.origin}/{name}" for name in chosen]
    found = elsewhere.from_other_cache(dataset, files, names, folder)
    return _with(found, files, names)
