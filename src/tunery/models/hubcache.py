"""Read the Hugging Face cache on disk, without huggingface_hub and without network access.

The layout is ``HUB/models--OWNER--NAME/{blobs,refs,snapshots/COMMIT}``; no other module spells
these names. The environment is read at each call; huggingface_hub reads it once, at import.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tunery import env

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[\w.-]{1,96}")
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubName:
    """A hub id with an optional revision; written ``owner/name@revision``."""

    repo: str
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision}" if self.revision else self.repo


def hub_dir() -> Path:
    """The cache's folder: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return env.expanded(named).absolute()
    return hf_home() / "hub"


def hf_home() -> Path:
    """HF_HOME, else ``huggingface`` under XDG_CACHE_HOME or ~/.cache."""
    if home := os.environ.get("HF_HOME"):
        return env.expanded(home).absolute()
    return (env.user_cache() / "huggingface").absolute()


def parse(name: str) -> HubName | None:
    """Parse ``owner/name``, ``owner/name@revision`` or a URL of its page; None for other text."""
    text = re.sub(r"^(https?://)?(www\.)?(huggingface\.co|hf-mirror\.com|hf\.co)/", "", name)
    if text != name:  # a URL may continue: /tree/REVISION/...
        parts = text.strip("/").split("/")
        text = "/".join(parts[:2])
        if len(parts) >= 4 and parts[2] in ("tree", "blob", "resolve"):
            text += f"@{parts[3]}"
    repo, _, revision = text.partition("@")
    if not HUB_ID.fullmatch(repo) or ".." in repo or "--" in repo:
        return None
    if revision and (not re.fullmatch(r"[\w./-]{1,120}", revision) or ".." in revision):
        return None
    return HubName(repo, revision)


def repo_dir(repo: str) -> Path:
    """The folder of a repo in the cache; it may not exist."""
    return hub_dir() / f"models--{repo.replace('/', '--')}"


def repo_of(folder: Path) -> str:
    """The hub id in the name of a ``models--owner--name`` folder; empty for another folder."""
    if not folder.name.startswith("models--"):
        return ""
    return folder.name.removeprefix("models--").replace("--", "/", 1)


def cached_repos() -> list[Path]:
    """Every model folder of the cache, sorted."""
    return sorted(path for path in hub_dir().glob("models--*--*") if path.is_dir())


def commit_of(folder: Path, revision: str = "main") -> str | None:
    """The commit that a branch, tag or commit prefix refers to; None if unknown or ambiguous."""
    if not revision or ".." in Path(revision).parts:
        return None
    ref = folder / "refs" / revision
    if ref.is_file():
        commit = ref.read_text(encoding="utf-8", errors="replace").strip()
        return commit if COMMIT.fullmatch(commit) else None
    if re.fullmatch(r"[0-9a-f]{7,40}", revision):
        found = [path.name for path in snapshots(folder) if path.name.startswith(revision)]
        return found[0] if len(found) == 1 else None
    return None


def snapshots(folder: Path) -> list[Path]:
    """Snapshot folders of a repo folder, newest first."""
    found = [path for path in (folder / "snapshots").glob("*") if path.is_dir()]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def size_bytes(folder: Path) -> int:
    """Size of a repo folder in bytes; symlinked blobs count once."""
    total = 0
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            total += path.stat().st_size
    return total
