"""Download from ModelScope through its HTTP API, without its package.

MODELSCOPE_ENDPOINT (or MODELSCOPE_DOMAIN) sets the host, MODELSCOPE_API_TOKEN the token. The API
lists no commits, so a model is stored in one folder under TUNERY_HOME/models, which appears only
when complete and contains a record of its source.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from tunery import env
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import accounts
from tunery.models.download import Downloader, Policy, Wanted
from tunery.models.hub import Listing, RemoteFile, host_of
from tunery.models.hubcache import HubName
from tunery.models.importing import RECORD

DEFAULT = "https://www.modelscope.cn"


def endpoint() -> str:
    """URL of ModelScope, from the environment, the settings, or the default."""
    domain = os.environ.get("MODELSCOPE_DOMAIN")
    value = accounts.value("modelscope_endpoint") or (f"https://{domain}" if domain else DEFAULT)
    return value.rstrip("/")


def folder_of(repo: str) -> Path:
    """The folder of a model from ModelScope on this machine; it may not exist."""
    return env.models_dir() / f"modelscope--{repo.replace('/', '--')}"


def connect(hub: HubName, policy: Policy) -> Downloader:
    """Open a downloader for a repo; the caller closes it."""
    token = accounts.value("modelscope_token")
    headers = {"User-Agent": "tunery"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return Downloader(
        host=host_of(endpoint()),
        headers=headers,
        explain=lambda response: explain(response, hub, with_token=bool(token)),
        policy=policy,
        source="modelscope",
    )


def list_files(downloader: Downloader, hub: HubName) -> Listing:
    """List the files of a repo at a revision.

    Raises:
        ModelError: The repo does not exist, access is denied, or the host cannot be reached.
    """
    query = urlencode({"Revision": hub.revision or "master", "Recursive": "true"})
    answer = downloader.json(f"{endpoint()}/api/v1/models/{hub.repo}/repo/files?{query}")
    try:
        entries = [e for e in answer["Data"]["Files"] if e.get("Type") != "tree"]
        files = tuple(_file(entry) for entry in entries)
    except (KeyError, TypeError, ValueError):
        raise ModelError(
            t("{repo}: ModelScope returned no list of files.", repo=hub.repo),
            fix=t("Check the spelling of owner/name."),
        ) from None
    return Listing(hub.revision or "master", files)


def wanted(hub: HubName, revision: str, file: RemoteFile) -> Wanted:
    """Describe the download of a file into the staging folder of its model."""
    query = urlencode({"Revision": revision, "FilePath": file.file})
    parts = _parts(hub)
    return Wanted(
        file=file.file,
        url=f"{endpoint()}/api/v1/models/{hub.repo}/repo?{query}",
        size=file.size,
        digest=file.sha256,
        algorithm="sha256",
        target=parts / file.file,
        lock=env.models_dir() / ".locks" / f"{parts.name}-{file.sha256[:16]}.lock",
    )


def finish(hub: HubName, listing: Listing) -> Path:
    """Write the record and rename the staging folder, after all files are downloaded.

    Returns:
        The folder of the model.
    """
    parts, folder = _parts(hub), folder_of(hub.repo)
    record: dict[str, Any] = {
        "name": hub.repo,
        "source": {"kind": "modelscope", "repo": hub.repo, "revision": listing.commit},
        "files": {f.file: {"size_bytes": f.size, "sha256": f.sha256} for f in listing.files},
        "notes": [],
    }
    (parts / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        old = folder.with_name(f".trash-{folder.name}-{os.getpid()}")
        folder.rename(old)
        parts.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        parts.rename(folder)
    return folder


def explain(response: httpx.Response, hub: HubName, *, with_token: bool) -> ModelError:
    """The error for a refusal by ModelScope: what it means and what to do; see ``hub.explain``."""
    status = response.status_code
    if status == 404:
        return ModelError(
            t("{repo}: ModelScope has no such model.", repo=hub.repo),
            fix=t("Check the spelling of owner/name; owners differ between the hubs."),
        )
    if status in (401, 403):
        token = (
            t(
                "You may need to accept its terms at {page}.",
                page=f"{endpoint()}/models/{hub.repo}",
            )
            if with_token
            else t("Set MODELSCOPE_API_TOKEN to a token of your account.")
        )
        return ModelError(t("{repo}: ModelScope requires you to log in.", repo=hub.repo), fix=token)
    return ModelError(
        t("{repo}: ModelScope answered HTTP {status}.", repo=hub.repo, status=status),
        fix=t("Try again later, or --source hf."),
    )


def _parts(hub: HubName) -> Path:
    return env.models_dir() / f".parts-{folder_of(hub.repo).name}"


def _file(entry: dict[str, Any]) -> RemoteFile:
    sha256 = str(entry.get("Sha256") or "")
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError("not a hash")
    return RemoteFile(str(entry["Path"]), int(entry["Size"]), sha256, "")
