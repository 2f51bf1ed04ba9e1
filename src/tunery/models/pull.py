"""Download a model from a hub, import a .gguf file, or get the demo model.

Chooses the files of a repo that are needed (safetensors, tokenizer and configs, never pickles),
checks the free disk space, and downloads them with ``download``.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tunery import env
from tunery.errors import ModelError
from tunery.i18n import joined, t
from tunery.models import demo, files, hub, hubcache, modelscope
from tunery.models.download import Downloader, Policy, Wanted
from tunery.models.hub import SAFE_PATH, Listing, RemoteFile
from tunery.models.hubcache import HubName
from tunery.models.importing import check_disk, import_gguf
from tunery.models.progress import Progress, ProgressEvent, silent

Source = Literal["hf", "modelscope"]

SMALL_FILES = (
    "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "*.py", "LICENSE*", "README.md",
)  # fmt: skip
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")


def fetch(
    name: str,
    *,
    source: Source = "hf",
    progress: Progress = silent,
    policy: Policy | None = None,
) -> Path:
    """Download or import one model, without the base model of an adapter.

    Args:
        name: A hub id (optionally @revision), a .gguf file, or ``demo``.
        source: The hub for a hub id.
        progress: Called with progress events.
        policy: Retries and timeouts.

    Returns:
        Its folder.

    Raises:
        ModelError: The name is not one of these, or the download or conversion failed.
    """
    if name == demo.NAME:
        return demo.ensure_demo(progress)
    path = env.expanded(name)
    if name.endswith(".gguf") and path.is_file():
        return import_gguf(path, name=name, progress=progress)
    found = hubcache.parse(name)
    if found is None or name.startswith(("/", "./", "../", "~")):
        raise ModelError(
            t("{name}: cannot be downloaded.", name=name),
            fix=t("Use a hub id (owner/name, owner/name@revision), a .gguf file, or demo."),
            model=name,
        )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise ModelError(
            t("{name}: HF_HUB_OFFLINE is set, so nothing is downloaded.", name=name),
            fix=t("Unset HF_HUB_OFFLINE, or use a model that is already downloaded."),
            model=name,
        )
    match source:
        case "hf":
            return _from_hub(found, progress, policy or Policy())
        case "modelscope":
            return _from_modelscope(found, progress, policy or Policy())


def choose(listing: Listing, name: str) -> list[RemoteFile]:
    """Choose the files of a repo that loading needs: one form of the weights and all small files.

    Args:
        listing: The files of the repo; those in subfolders are skipped.
        name: The repo, for messages.

    Raises:
        ModelError: The repo has no safetensors, or a file name is unsafe.
    """
    top = [file for file in listing.files if "/" not in file.file]
    for file in top:
        if not SAFE_PATH.fullmatch(file.file):
            raise ModelError(
                t(
                    "{repo}: one of its files has the unsafe name {file!r}.",
                    repo=name,
                    file=file.file,
                ),
                fix=t("Do not use this model."),
            )
    names = {file.file: file for file in top}
    if files.WEIGHTS in names:
        weights = [names[files.WEIGHTS]]
    elif files.INDEX in names:
        weights = [file for file in top if SHARD.fullmatch(file.file)]
    elif files.ADAPTER_WEIGHTS in names:
        weights = [names[files.ADAPTER_WEIGHTS]]
    else:
        raise _unusable(names, name)
    small = [
        file
        for file in top
        if any(fnmatch.fnmatchcase(file.file, pattern) for pattern in SMALL_FILES)
    ]
    return small + weights


def _from_hub(name: HubName, progress: Progress, policy: Policy) -> Path:
    downloader = hub.connect(name, policy)
    downloader.on_wait = _report_waits(str(name), progress)
    try:
        listing = hub.list_files(downloader, name)
        chosen = choose(listing, name.repo)
        wanted = [hub.wanted(name, listing.commit, file) for file in chosen]
        _download(downloader, str(name), wanted, hubcache.hub_dir(), progress)
        folder = hub.finish(name, listing.commit)
    finally:
        downloader.close()
        hub.sweep(name)
    progress(ProgressEvent("done", str(name), text=str(folder)))
    return folder


def _from_modelscope(name: HubName, progress: Progress, policy: Policy) -> Path:
    downloader = modelscope.connect(name, policy)
    downloader.on_wait = _report_waits(str(name), progress)
    try:
        listing = modelscope.list_files(downloader, name)
        listing = replace(listing, files=tuple(choose(listing, name.repo)))
        wanted = [modelscope.wanted(name, listing.commit, file) for file in listing.files]
        _download(downloader, str(name), wanted, env.models_dir(), progress)
        folder = modelscope.finish(name, listing)
    finally:
        downloader.close()
    progress(ProgressEvent("done", str(name), text=str(folder)))
    return folder


def _download(
    downloader: Downloader, name: str, wanted: list[Wanted], place: Path, progress: Progress
) -> None:
    total = sum(file.size for file in wanted)
    have = sum(file.have for file in wanted)
    check_disk(place, total - have, what=name)
    plan = ProgressEvent("plan", name, done_bytes=have, total_bytes=total, num_files=len(wanted))
    progress(plan)
    downloader.on_bytes = lambda file, have, done: progress(
        replace(
            plan,
            kind="file",
            file=file.file,
            done_bytes=done,
            file_bytes=have,
            file_total=file.size,
        )
    )
    downloader.on_verify = lambda file: progress(replace(plan, kind="verify", file=file.file))
    downloader.fetch_all(wanted)


def _report_waits(name: str, progress: Progress) -> Callable[[str, float], None]:
    return lambda what, seconds: progress(ProgressEvent("wait", name, file=what, seconds=seconds))


def _unusable(names: dict[str, RemoteFile], repo: str) -> ModelError:
    pickles = sorted(name for name in names if name.endswith(files.PICKLES))
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    if ggufs:
        return ModelError(
            t(
                "{repo}: contains only GGUF files ({files}).",
                repo=repo,
                files=joined(*ggufs[:4], between=", "),
            ),
            fix=t(
                "Use the repository it was made from, or download one of the files by "
                "other means and use its path."
            ),
            model=repo,
        )
    if pickles:
        return ModelError(
            t(
                "{repo}: contains only pickle weights ({files}), which can run code when "
                "opened; nothing was downloaded.",
                repo=repo,
                files=joined(*pickles[:3], between=", "),
            ),
            fix=t("Look for a version with safetensors (many repos have one in a branch)."),
            model=repo,
        )
    return ModelError(
        t("{repo}: this repository contains no weights.", repo=repo),
        fix=t("Is it a dataset or a demo page? Check the name."),
        model=repo,
    )
