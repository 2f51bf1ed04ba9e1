"""A dataset hub on loopback: repositories from dicts, as little of the API as fetching needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest


@dataclass
class DatasetHub:
    """What the hub holds and what it was asked.

    Args:
        repos: owner/name -> revision -> path -> content.
        cards: owner/name -> front matter of its card.
        refused: owner/name -> (status, X-Error-Code).
        requests: Paths asked, in order.
    """

    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    cards: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def add(self, repo: str, files: dict[str, bytes], *, revision: str = "main") -> None:
        self.repos.setdefault(repo, {})[revision] = files

    def commit(self, repo: str, revision: str) -> str:
        content = json.dumps(sorted((p, len(c)) for p, c in self.repos[repo][revision].items()))
        return hashlib.sha1(f"{repo}{revision}{content}".encode()).hexdigest()

    def files(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        for name, files in self.repos.get(repo, {}).items():
            commit = self.commit(repo, name)
            if revision in (name, commit):
                return commit, files
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: DatasetHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_GET(self) -> None:
        self._serve(body=True)

    def _serve(self, *, body: bool) -> None:
        path = unquote(self.path.partition("?")[0])
        self.hub.requests.append(path)
        if path.startswith("/api/datasets/"):
            parts = path.removeprefix("/api/datasets/").split("/")
            repo = "/".join(parts[:2])
            if self._refused(repo):
                return
            if parts[2:] == ["refs"]:
                converts = [
                    {"name": "parquet", "ref": name, "targetCommit": self.hub.commit(repo, name)}
                    for name in self.hub.repos[repo]
                    if name.startswith("refs/convert/")
                ]
                self._json({"branches": [], "tags": [], "converts": converts}, body)
                return
            self._info(repo, "/".join(parts[3:]) or "main", body)
        elif path.startswith("/datasets/"):
            owner, name, _, rest = path.removeprefix("/datasets/").split("/", 3)
            repo = f"{owner}/{name}"
            if not self._refused(repo):
                self._file(repo, rest, body)
        else:
            self._error(404, "EntryNotFound")

    def _info(self, repo: str, revision: str, body: bool) -> None:
        found = self.hub.files(repo, revision)
        if found is None:
            self._error(404, "RevisionNotFound" if repo in self.hub.repos else "RepoNotFound")
            return
        commit, files = found
        info = {
            "id": repo,
            "sha": commit,
            "private": False,
            "siblings": [{"rfilename": name} for name in files],
            "cardData": self.hub.cards.get(repo),
            "tags": [],
            "downloads": 0,
            "likes": 0,
        }
        self._json(info, body)

    def _file(self, repo: str, rest: str, body: bool) -> None:
        for revision in self.hub.repos.get(repo, {}):
            for name in (revision, self.hub.commit(repo, revision)):
                if rest.startswith(name + "/"):
                    commit, files = self.hub.files(repo, name) or ("", {})
                    content = files.get(rest.removeprefix(name + "/"))
                    if content is not None:
                        etag = hashlib.sha1(content).hexdigest()
                        self._send(
                            200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, body
                        )
                        return
        self._error(404, "EntryNotFound")

    def _refused(self, repo: str) -> bool:
        if repo in self.hub.refused:
            self._error(*self.hub.refused[repo])
            return True
        if repo not in self.hub.repos:
            self._error(404, "RepoNotFound")
            return True
        return False

    def _json(self, value: Any, body: bool) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"}, body)

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code}, True)

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def dataset_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatasetHub]:
    """A running hub that HF_ENDPOINT points to, with an empty cache."""
    hub = DatasetHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
