"""A model hub on loopback: a small real HTTP server that can fail in every way a hub does.

It speaks the parts of the Hugging Face and the ModelScope interfaces that a download uses: the
listing with hashes, ranges, redirects of large files to another host (a second port, which must
never see a token), and refusals. ``hub.fail(...)`` scripts what goes wrong; ``hub.log`` says what
was asked and how many bytes were sent.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

LARGE = (".safetensors", ".gguf", ".bin")


@dataclass
class Repo:
    """A repo at one commit."""

    files: dict[str, bytes]
    commit: str = ""
    branches: tuple[str, ...] = ("main", "master")
    gated: bool = False
    private: bool = False

    def __post_init__(self) -> None:
        whole = b"".join(name.encode() + data for name, data in sorted(self.files.items()))
        self.commit = self.commit or hashlib.sha1(whole).hexdigest()


@dataclass
class Fault:
    """What goes wrong, for requests whose path holds ``match``, ``times`` times.

    Args:
        match: Part of the path.
        times: How often; -1 is for ever.
        status: Answer with this status.
        retry_after: Header of that answer.
        cut_after: Close the connection after this many bytes of the body.
        flip: Change the first byte of the body.
        ignore_range: Answer 200 with the whole body.
        longer: Append this many bytes, and announce them.
        drip: Send this many bytes a write.
        html: Answer with a page in place of JSON.
    """

    match: str
    times: int = 1
    status: int = 0
    retry_after: str = ""
    cut_after: int = -1
    flip: bool = False
    ignore_range: bool = False
    longer: int = 0
    drip: int = 0
    html: bool = False


@dataclass
class Request:
    """One request as it came."""

    host: str
    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0


@dataclass
class Hub:
    """The hub's state; tests change it while it runs."""

    repos: dict[str, Repo] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    log: list[Request] = field(default_factory=list)
    token: str = "hf_right"
    endpoint: str = ""
    cdn: str = ""

    def add(self, name: str, files: dict[str, bytes], **more: Any) -> Repo:
        """Put a repo on the hub."""
        self.repos[name] = Repo(files, **more)
        return self.repos[name]

    def fail(self, match: str, **how: Any) -> None:
        """Script a fault."""
        self.faults.append(Fault(match, **how))

    def fault_for(self, path: str) -> Fault:
        """Take the next fault scripted for a path."""
        for fault in self.faults:
            if fault.match in path and fault.times != 0:
                fault.times -= 1
                return fault
        return Fault("")

    def sent(self, match: str) -> int:
        """Bytes of bodies sent for paths that hold ``match``."""
        return sum(request.sent for request in self.log if match in request.path)

    def asked(self, match: str) -> list[Request]:
        """Requests for paths that hold ``match``."""
        return [request for request in self.log if match in request.path]


class Handler(BaseHTTPRequestHandler):
    """Serves both hosts; ``hub`` and ``is_cdn`` are set by the fixture."""

    hub: ClassVar[Hub]
    is_cdn: ClassVar[bool] = False
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        self.request_log = Request(
            "cdn" if self.is_cdn else "hub", self.command, self.path, dict(self.headers)
        )
        self.hub.log.append(self.request_log)
        fault = self.hub.fault_for(unquote(self.path))
        if fault.status:
            headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
            self._send(fault.status, b"no", headers, Fault(""), body)
            return
        if fault.html:
            self._send(200, b"<html>log in</html>", {"Content-Type": "text/html"}, fault, body)
            return
        status, data, headers = self._find()
        self._send(status, data, headers, fault, body)

    def _find(self) -> tuple[int, bytes, dict[str, str]]:
        url = urlsplit(self.path)
        path, query = unquote(url.path), parse_qs(url.query)
        if self.is_cdn:
            return self._blob(path.rsplit("/", 1)[-1])
        if path == "/api/models":
            return self._search(query.get("search", [""])[0])
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path):
            return self._listing(found[1], found[2])
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(found[1], found[3])
        if found := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo(/files)?", path):
            file = None if found[2] else query["FilePath"][0]
            return self._modelscope(found[1], file)
        return 404, b"", {}

    def _token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def _refusal(self, name: str) -> tuple[int, bytes, dict[str, str]] | None:
        repo, token = self.hub.repos.get(name), self._token()
        if token and token != self.hub.token:
            return 401, b'{"error":"Invalid credentials"}', {}
        if repo is None or (repo.private and not token):
            status = 404 if token else 401
            return status, b'{"error":"Repository not found"}', {"X-Error-Code": "RepoNotFound"}
        return None

    def _search(self, words: str) -> tuple[int, bytes, dict[str, str]]:
        found = [
            {"id": name, "downloads": 12_345, "likes": 6, "gated": repo.gated,
             "pipeline_tag": "text-generation"}
            for name, repo in self.hub.repos.items()
            if all(word in name.lower() for word in words.lower().split())
        ]  # fmt: skip
        return 200, json.dumps(found).encode(), {"Content-Type": "application/json"}

    def _listing(self, name: str, revision: str) -> tuple[int, bytes, dict[str, str]]:
        if refusal := self._refusal(name):
            return refusal
        repo = self.hub.repos[name]
        if revision not in repo.branches and revision != repo.commit:
            return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
        siblings = [self._sibling(file, data) for file, data in repo.files.items()]
        answer = {"id": name, "sha": repo.commit, "gated": repo.gated, "siblings": siblings}
        return 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}

    def _sibling(self, file: str, data: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"rfilename": file, "size": len(data), "blobId": git_hash(data)}
        if file.endswith(LARGE):
            pointer = f"sha256:{sha256(data)}".encode()
            lfs = {"sha256": sha256(data), "size": len(data), "pointerSize": len(pointer)}
            entry |= {"blobId": git_hash(pointer), "lfs": lfs}
        return entry

    def _file(self, name: str, file: str) -> tuple[int, bytes, dict[str, str]]:
        if refusal := self._refusal(name):
            return refusal
        repo = self.hub.repos[name]
        if repo.gated:
            code = {"X-Error-Code": "GatedRepo"}
            return (403 if self._token() else 401), b'{"error":"gated"}', code
        if file not in repo.files:
            return 404, b"", {"X-Error-Code": "EntryNotFound"}
        data = repo.files[file]
        headers = {"X-Repo-Commit": repo.commit}
        if not file.endswith(LARGE):
            return 200, data, {**headers, "ETag": f'"{git_hash(data)}"'}
        linked = {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
        place = {"Location": f"{self.hub.cdn}/{name}/{file}/{sha256(data)}"}
        return 302, b"", {**headers, **linked, **place}

    def _blob(self, digest: str) -> tuple[int, bytes, dict[str, str]]:
        for repo in self.hub.repos.values():
            for data in repo.files.values():
                if sha256(data) == digest:
                    return 200, data, {"ETag": f'"{digest}"'}
        return 404, b"", {}

    def _modelscope(self, name: str, file: str | None) -> tuple[int, bytes, dict[str, str]]:
        repo = self.hub.repos.get(name)
        if repo is None:
            return 404, b'{"Code":10010205001,"Success":false}', {}
        if file is not None:
            return 200, repo.files[file], {}
        files = [
            {"Path": path, "Name": path, "Type": "blob", "Size": len(data), "Sha256": sha256(data)}
            for path, data in repo.files.items()
        ]
        folder = {"Path": "images", "Name": "images", "Type": "tree", "Size": 0, "Sha256": ""}
        answer = {"Code": 200, "Success": True, "Data": {"Files": [*files, folder]}}
        return 200, json.dumps(answer).encode(), {"Content-Type": "application/json"}

    def _send(
        self, status: int, data: bytes, headers: dict[str, str], fault: Fault, body: bool
    ) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        data += b"\0" * fault.longer
        if wanted and status == 200 and not fault.ignore_range:
            start = int(wanted[1])
            if start >= len(data):
                status, data = 416, b""
            else:
                status = 206
                headers = {**headers, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
                data = data[start:]
        if fault.flip and data:
            data = bytes([data[0] ^ 255]) + data[1:]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self._write(data, fault)

    def _write(self, data: bytes, fault: Fault) -> None:
        size = len(data) if fault.cut_after < 0 else min(fault.cut_after, len(data))
        step = fault.drip or 2**16
        try:
            for start in range(0, size, step):
                piece = data[start : min(start + step, size)]
                self.wfile.write(piece)
                self.request_log.sent += len(piece)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):  # the client left
            self.close_connection = True
        if size < len(data):
            self.close_connection = True


def sha256(data: bytes) -> str:
    """Hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def git_hash(data: bytes) -> str:
    """Git's name for a file of these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A running hub; HF_ENDPOINT and MODELSCOPE_ENDPOINT name it, HF_HOME is this test's own."""
    state = Hub()
    servers = []
    for is_cdn in (False, True):
        kind = type("H", (Handler,), {"hub": state, "is_cdn": is_cdn})
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
    # another name for the same address: what a redirect to another host looks like
    state.endpoint = f"http://127.0.0.1:{servers[0].server_port}"
    state.cdn = f"http://localhost:{servers[1].server_port}"
    monkeypatch.setenv("HF_ENDPOINT", state.endpoint)
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", state.endpoint)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "MODELSCOPE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    yield state
    for server in servers:
        server.shutdown()
        server.server_close()


def safetensors(tensors: dict[str, tuple[int, ...]], *, fill: int = 0) -> bytes:
    """The bytes of a safetensors file of F32 tensors, without torch."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in tensors.items():
        size = 4
        for width in shape:
            size *= width
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    body = bytes((i * 7 + fill) % 251 for i in range(min(at, 4096)))
    data = (body * (at // max(len(body), 1) + 1))[:at]
    return struct.pack("<Q", len(text)) + text + data


def model_files(*, shards: int = 1, rows: int = 64, fill: int = 0) -> dict[str, bytes]:
    """The files of a model that resolves; its weights are no real ones."""
    config = {"model_type": "llama", "max_position_embeddings": 2048, "hidden_size": 16}
    files = {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b'{"chat_template": "{{ messages }}", "eos_token": "</s>"}',
    }
    if shards == 1:
        weights = safetensors({"embed.weight": (rows, 16)}, fill=fill)
        return {**files, "model.safetensors": weights}
    index = {}
    for number in range(1, shards + 1):
        name = f"model-{number:05d}-of-{shards:05d}.safetensors"
        files[name] = safetensors({f"layer.{number}.weight": (rows, 16)}, fill=number)
        index[f"layer.{number}.weight"] = name
    files["model.safetensors.index.json"] = json.dumps({"weight_map": index}).encode()
    return files


def write_files(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder
