"""Datasets in cloud storage (s3://, gs://): downloaded with fsspec and cached by ETag."""

# fsspec and botocore have no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunery import env
from tunery.data.dataset import NOT_ROWS, SUFFIXES, Dataset
from tunery.data.problems import Problem
from tunery.data.splits import chosen_splits, divided, split_problems
from tunery.errors import DataError
from tunery.i18n import t

MODULES = {"s3": ("s3fs", 'pip install "tunery[cloud]"'), "gs": ("gcsfs", "pip install gcsfs")}


def fetch_cloud(dataset: Dataset) -> Dataset:
    """Download an object, or the files of a folder, and return the dataset with them.

    Raises:
        DataError: The package is missing, the path does not exist or has no data files, access is
            denied, or the network fails.
    """
    url = str(dataset.origin).replace("gcs://", "gs://", 1)
    try:
        return _fetch(dataset, url, anonymous=False)
    except DataError as error:
        if error.code != "access":
            raise
    # Access with credentials failed; public buckets can be read anonymously.
    return _fetch(dataset, url, anonymous=True)


def file_system(url: str, *, anonymous: bool = False) -> Any:
    """The fsspec file system for an address.

    Raises:
        DataError: Its package is not installed.
    """
    scheme = url.partition("://")[0]
    module, install = MODULES[scheme]
    try:
        import fsspec

        return fsspec.filesystem(scheme, anon=True) if anonymous else fsspec.filesystem(scheme)
    except (ModuleNotFoundError, ImportError) as error:
        raise DataError(
            t("{scheme}:// needs {module}, which is not installed.", scheme=scheme, module=module),
            fix=t("Run: {install}", install=install),
        ) from error


def _fetch(dataset: Dataset, url: str, *, anonymous: bool) -> Dataset:
    system = file_system(url, anonymous=anonymous)
    known = _access_errors()
    try:
        objects, problems = _objects(system, url, dataset.split)
        files = [_copied(system, url, each) for each in objects]
    except FileNotFoundError as error:
        raise DataError(
            t("{url}: not found.", url=url), fix=t("Check the bucket and the path.")
        ) from error
    except PermissionError as error:
        raise _no_access(url, str(error)) from error
    except (OSError, ValueError, *_network_errors()) as error:
        raise DataError(
            t("{url}: {why}.", url=url, why=str(error)[:200].rstrip(".")),
            fix=t("Check the network and AWS_ENDPOINT_URL."),
        ) from error
    except known as error:
        raise _no_access(url, str(error)) from error
    scheme = url.partition("://")[0]
    return replace(
        dataset,
        files=tuple(files),
        names=tuple(f"{scheme}://{o['name']}" for o in objects),
        problems=(*dataset.problems, *problems),
    )


def _objects(
    system: Any, url: str, split: str | None
) -> tuple[list[dict[str, Any]], tuple[Problem, ...]]:
    """The object itself, or the data files of one split under the prefix, and warnings."""
    system.invalidate_cache()
    info = system.info(url)
    if info["type"] != "directory":
        return [info], ()
    prefix = str(info["name"]).rstrip("/") + "/"
    present = {
        str(each["name"]).removeprefix(prefix): each
        for _, each in sorted(system.find(url, detail=True).items())
        if _suffix(each["name"]) in SUFFIXES and Path(each["name"]).name not in NOT_ROWS
    }
    if not present:
        raise DataError(
            t("{url}: no data files found.", url=url),
            fix=t("Expected files ending in {names}.", names=" ".join(SUFFIXES)),
            code="E196",
        )
    by_split = divided(list(present))
    chosen = chosen_splits(list(by_split), url, split)
    found = [present[name] for each in chosen for name in by_split[each]]
    kinds = sorted({_suffix(each["name"]) for each in found})
    if len(kinds) > 1:
        raise DataError(
            t("{url}: several file types ({names}).", url=url, names=", ".join(kinds)),
            fix=t("Use one file, or a folder with one file type."),
            code="E197",
        )
    return found, split_problems(by_split, url, chosen, split)


def _copied(system: Any, url: str, each: dict[str, Any]) -> Path:
    """The cached copy of an object, downloaded if its ETag or size is new."""
    version = f"{each.get('ETag') or each.get('etag') or each.get('mtime')}|{each['size']}"
    where = os.environ.get("AWS_ENDPOINT_URL", "")
    key = hashlib.sha256(f"{where}|{url}|{each['name']}|{version}".encode()).hexdigest()[:32]
    target = env.cache_dir() / "data" / f"cloud-{key}" / Path(each["name"]).name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        system.get_file(each["name"], str(staging))
        if staging.stat().st_size != each["size"]:
            raise OSError(f"{each['name']} came incomplete")
        staging.replace(target)
    finally:
        staging.unlink(missing_ok=True)
    return target


def _suffix(name: str) -> str:
    return Path(name.lower().removesuffix(".gz")).suffix


def _network_errors() -> tuple[type[Exception], ...]:
    """The exceptions of botocore if the storage cannot be reached."""
    try:
        from botocore.exceptions import ConnectionError, HTTPClientError
    except ModuleNotFoundError:
        return ()
    return (ConnectionError, HTTPClientError)


def _access_errors() -> tuple[type[Exception], ...]:
    """The exceptions of botocore if credentials are missing or rejected."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError:
        return (PermissionError,)
    return (BotoCoreError, ClientError)


def _no_access(url: str, why: str) -> DataError:
    return DataError(
        t("{url}: access denied ({why}).", url=url, why=why[:120]),
        fix=t("Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."),
        code="access",
    )
