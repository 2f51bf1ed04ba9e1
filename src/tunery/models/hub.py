"""The Hugging Face Hub and its mirrors: list the files of a model and explain errors.

huggingface_hub supplies tokens, headers and URLs. The endpoint is read from HF_ENDPOINT at each
call (the library reads it once, at import). Files are stored in the standard hub cache, which other
tools share.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx

from tunery import atomic
from tunery.errors import ModelError
from tunery.i18n import joined, t
from tunery.models import accounts, hubcache
from tunery.models.download import Downloader, Policy, Wanted
from tunery.models.download_errors import check_address
from tunery.models.hubcache import HubName

DEFAULT = "https://huggingface.co"
_chosen: ContextVar[str] = ContextVar("tunery_hub", default="")
SAFE_PATH = re.compile(r"(?!.*(^|/)\.\.?(/|$))[\w.+@ -]+(/[\w.+@ -]+)*")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file of a repo, as the hub lists it.

    Args:
        file: Path in the repo.
        size: Size in bytes.
        sha256: SHA-256 of an LFS file, in hex; empty for other files.
        blob: Git's blob hash; for an LFS file, that of its pointer.
    """

    file: str
    size: int
    sha256: str
    blob: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A repo at one commit: its files, whether it is gated, and its license."""

    commit: str
    files: tuple[RemoteFile, ...]
    gated: bool = False
    licence: str = ""


def endpoint() -> str:
    """URL of the hub: HF_ENDPOINT, else the one saved under Settings, else huggingface.co.

    Raises:
        ModelError: HF_ENDPOINT is not a URL.
    """
    value = (_chosen.get() or accounts.value("hub_endpoint") or DEFAULT).rstrip("/")
    if not value.startswith(("http://", "https://")):
        raise ModelError(
            t("HF_ENDPOINT: {value!r} is not a URL.", value=value),
            fix=t("Write it with its scheme, such as https://hf-mirror.com"),
        )
    return value


@contextlib.contextmanager
def at(address: str) -> Generator[None]:
    """Use another hub within a ``with`` block, in this thread or task."""
    before = _chosen.set(address)
    try:
        yield
    finally:
        _chosen.reset(before)


def connect(hub: HubName, policy: Policy) -> Downloader:
    """Open a downloader for a repo; the caller closes it."""
    from huggingface_hub import get_token
    from huggingface_hub.utils import build_hf_headers

    token = accounts.value("hub_token") or get_token()
    headers = build_hf_headers(token=token or False, library_name="tunery")
    return Downloader(
        host=host_of(endpoint()),
        headers=headers,
        explain=lambda response: explain(response, hub, with_token=bool(token)),
        policy=policy,
    )


def list_files(downloader: Downloader, hub: HubName) -> Listing:
    """List the files of a repo at a revision.

    Raises:
        ModelError: The repo or revision does not exist, access is denied, or the hub cannot be
            reached.
    """
    revision = quote(hub.revision or "main", safe="")
    answer = downloader.json(f"{endpoint()}/api/models/{hub.repo}/revision/{revision}?blobs=true")
    try:
        commit = str(answer["sha"])
        files = tuple(_file(entry) for entry in answer["siblings"])
    except (KeyError, TypeError, ValueError):
        commit, files = "", ()
    if not hubcache.COMMIT.fullmatch(commit):
        raise ModelError(
            t(
                "{host}: the response contains no commit; this is not a model hub.",
                host=downloader.host,
            ),
            fix=check_address("hf"),
        )
    card = answer.get("cardData")
    licence = card.get("license") if isinstance(card, dict) else ""
    return Listing(
        commit,
        files,
        gated=bool(answer.get("gated")),
        licence=licence if isinstance(licence, str) else "",
    )


def wanted(hub: HubName, commit: str, file: RemoteFile) -> Wanted:
    """Describe the download of a file into the hub cache."""
    from huggingface_hub import hf_hub_url

    folder = hubcache.repo_dir(hub.repo)
    name = file.sha256 or file.blob
    return Wanted(
        file=file.file,
        url=hf_hub_url(hub.repo, file.file, revision=commit, endpoint=endpoint()),
        size=file.size,
        digest=name,
        algorithm="sha256" if file.sha256 else "blob",
        target=folder / "blobs" / name,
        lock=hubcache.hub_dir() / ".locks" / folder.name / f"{name}.lock",
        link=folder / "snapshots" / commit / file.file,
    )


def finish(hub: HubName, commit: str) -> Path:
    """Point the branch or tag to the commit, after all its files are downloaded.

    Returns:
        The folder of the snapshot.
    """
    folder = hubcache.repo_dir(hub.repo)
    revision = hub.revision or "main"
    if not hubcache.COMMIT.fullmatch(revision):
        ref = folder / "refs" / revision
        ref.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(ref, commit)
    return folder / "snapshots" / commit


def sweep(hub: HubName) -> None:
    """Remove empty folders of a repo, after a download that brought nothing."""
    folder = hubcache.repo_dir(hub.repo)
    for path in (*folder.glob("snapshots/*"), *folder.glob("*"), folder):
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()


def explain(response: httpx.Response, hub: HubName, *, with_token: bool) -> ModelError:
    """The error for a refusal by the hub: what it means and what to do.

    Args:
        response: The response, with a status of 400 or more.
        hub: The repo that was requested.
        with_token: Whether the request had a token.
    """
    code = response.headers.get("X-Error-Code", "")
    status = response.status_code
    host = host_of(endpoint())
    page = f"{endpoint()}/{hub.repo}"
    login = t("Provide a token: hf auth login, or HF_TOKEN.")
    if code == "GatedRepo":
        licence = t("Accept its terms at {page} with your account.", page=page)
        again = t("Then run again; the token must belong to that account.") if with_token else login
        return ModelError(
            t("{repo}: gated: its authors ask you to accept their terms first.", repo=hub.repo),
            fix=joined(licence, again),
            code="gated",
            model=hub.repo,
            page=page,
        )
    if code == "RevisionNotFound":
        return ModelError(
            t("{repo}: revision {revision} not found.", repo=hub.repo, revision=hub.revision),
            fix=t("See its branches and tags: {page}/tree/main", page=page),
            code="no_revision",
            model=hub.repo,
            page=f"{page}/tree/main",
        )
    if code == "RepoNotFound" or status == 404 or (status == 401 and not with_token):
        private = () if with_token else (t("If it is private:"), login)
        return ModelError(
            t(
                "{repo}: {host} has no such model, or you have no access to it.",
                repo=hub.repo,
                host=host,
            ),
            fix=joined(t("Check the spelling of owner/name."), *private),
            code="no_repo",
            model=hub.repo,
        )
    if status == 401:
        return ModelError(
            t("{host}: the token was refused (HTTP 401).", host=host),
            fix=t("It may be expired or mistyped: hf auth login, or set HF_TOKEN again."),
            code="token_refused",
            model=hub.repo,
        )
    if status == 403:
        return ModelError(
            t("{repo}: {host} denies access with this token (HTTP 403).", repo=hub.repo, host=host),
            fix=t("Grant the token read access to this repository in your account settings."),
            model=hub.repo,
        )
    return ModelError(
        t("{repo}: {host} answered HTTP {status}.", repo=hub.repo, host=host, status=status),
        fix=t("Try again later, or use another source: HF_ENDPOINT, or --source modelscope."),
        model=hub.repo,
    )


def host_of(url: str) -> str:
    """Host and port of a URL, without credentials."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)


def _file(entry: dict[str, Any]) -> RemoteFile:
    large = entry.get("lfs") or {}
    name, sha256, blob = str(entry["rfilename"]), str(large.get("sha256", "")), str(entry["blobId"])
    if not re.fullmatch(r"[0-9a-f]{64}|", sha256) or not re.fullmatch(r"[0-9a-f]{40}", blob):
        raise ValueError("not a hash")
    return RemoteFile(name, int(large.get("size") or entry["size"]), sha256, blob)
