"""Download files from a hub, complete and verified: ranges, resume, retries, hashes.

huggingface_hub 2.x deletes a partial file when a download is interrupted (it uses one temporary
name per process, unlinked in ``finally``) and does not check hashes. So it only supplies names,
tokens and URLs, and this module downloads the bytes from every source. A partial download is kept
as ``NAME.incomplete`` next to the target, and the next call resumes it.
"""

from __future__ import annotations

import email.utils
import hashlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import filelock
import httpx

from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import accounts
from tunery.models.download_errors import RetryLater, busy, check_address, gave_up, wrong_bytes

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
REPORT_SECONDS = 0.1

Explain = Callable[[httpx.Response], ModelError]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file to download.

    Args:
        file: Path within the model.
        url: URL of the file.
        size: Size in bytes.
        digest: Expected hash, in hex.
        algorithm: ``sha256`` of the bytes, or git's ``blob`` hash.
        target: Path of the complete file.
        lock: Lock file; a second process waits for it.
        link: Symlink to create to the target (the hub cache's snapshots), or None.
    """

    file: str
    url: str
    size: int
    digest: str
    algorithm: Literal["sha256", "blob"]
    target: Path
    lock: Path
    link: Path | None = None

    @property
    def partial(self) -> Path:
        """Path of the file until it is complete and verified."""
        return self.target.with_name(self.target.name + ".incomplete")

    @property
    def have(self) -> int:
        """Bytes of the file that are already on this machine."""
        for path in (self.target, self.partial):
            if path.is_file():
                return min(path.stat().st_size, self.size)
        return 0


@dataclass(frozen=True, slots=True)
class Policy:
    """Retries and timeouts of a download.

    Args:
        attempts: Consecutive attempts without a new byte before the download fails.
        first_delay_seconds: Delay after the first failure; doubles each time, with jitter.
        max_delay_seconds: Maximum of that delay.
        max_wait_seconds: Longest Retry-After to wait for; a longer one is an error.
        connect_seconds: Connect timeout.
        silence_seconds: Read timeout: time without a byte.
        workers: Files downloaded in parallel.
    """

    attempts: int = 5
    first_delay_seconds: float = 0.5
    max_delay_seconds: float = 20.0
    max_wait_seconds: float = 300.0
    connect_seconds: float = 10.0
    silence_seconds: float = 30.0
    workers: int = 4


@dataclass
class Downloader:
    """Downloads files of one model from one host.

    Args:
        host: Host name, for messages.
        headers: Sent with every request; redirects to another host drop ``Authorization``.
        explain: Creates the error for a response that is not retried.
        policy: Retries and timeouts.
        on_bytes: Called with (file, its bytes so far, bytes of all files so far).
        on_verify: Called with a file before its hash is computed.
        on_wait: Called with (file or URL, seconds) before a delay after a failure.
        source: ``hf`` or ``modelscope``, for advice that names its settings.
    """

    host: str
    headers: dict[str, str]
    explain: Explain
    policy: Policy = field(default_factory=Policy)
    on_bytes: Callable[[Wanted, int, int], None] = lambda wanted, have, done: None
    on_verify: Callable[[Wanted], None] = lambda wanted: None
    on_wait: Callable[[str, float], None] = lambda what, seconds: None
    source: str = "hf"

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._count = threading.Lock()
        self._done: dict[str, int] = {}
        self._reported_at = 0.0
        self._client = httpx.Client(
            headers={**self.headers, "Accept-Encoding": "identity"},
            follow_redirects=True,  # httpx drops Authorization when the host changes
            timeout=httpx.Timeout(self.policy.silence_seconds, connect=self.policy.connect_seconds),
            proxy=accounts.proxy(),
        )

    def json(self, url: str) -> Any:
        """Get a JSON response, with the same retries as for a file.

        Raises:
            ModelError: The host refuses, cannot be reached, or does not return JSON.
        """

        def get() -> Any:
            response = self._client.get(url, headers={"Accept": "application/json"})
            self._check(response)
            try:
                return response.json()
            except ValueError:
                raise ModelError(
                    t("{host}: the response is not JSON; this is not a model hub.", host=self.host),
                    fix=check_address(self.source),
                ) from None

        return self._with_retries(get, lambda: 0, url)

    def fetch_all(self, files: Iterable[Wanted]) -> None:
        """Download several files in parallel; on an interrupt, partial files are kept.

        Raises:
            ModelError: A file cannot be downloaded; the first error.
            KeyboardInterrupt: The download was closed meanwhile.
        """
        queue = list(files)
        self._done = {wanted.file: wanted.have for wanted in queue}
        queue.sort(key=lambda wanted: wanted.size, reverse=True)  # pop() takes the smallest first
        failures: list[BaseException] = []

        def work() -> None:
            while not self._stop.is_set():
                try:
                    wanted = queue.pop()
                except IndexError:
                    return
                try:
                    self._fetch(wanted)
                except BaseException as error:  # noqa: BLE001  (handed to the caller's thread)
                    failures.append(error)
                    self._stop.set()

        # daemon threads, so that a silent connection does not delay Ctrl-C
        threads = [
            threading.Thread(target=work, daemon=True)
            for _ in range(min(self.policy.workers, len(queue)))
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.1)
        finally:
            self._stop.set()
        if failures:
            raise failures[0]

    def close(self) -> None:
        """Close every connection."""
        self._stop.set()
        self._client.close()

    def _fetch(self, wanted: Wanted) -> None:
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        wanted.lock.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(wanted.lock):
            if not wanted.target.is_file():
                try:
                    self._download(wanted)
                except BaseException:
                    if wanted.partial.is_file() and not wanted.partial.stat().st_size:
                        wanted.partial.unlink()  # no empty file after a refusal
                    raise
                _commit(wanted)
        self._report(wanted, wanted.size, force=True)
        if wanted.link is not None:
            link(wanted.target, wanted.link)

    def _download(self, wanted: Wanted) -> None:
        """Download; if the hash is wrong, retry once from the start without the partial file."""
        if self._fill(wanted):
            return
        wanted.partial.unlink()
        self._report(wanted, 0)
        if not self._fill(wanted):
            wanted.partial.unlink()
            raise wrong_bytes(wanted.file, wanted.algorithm, self.host, self.source)

    def _fill(self, wanted: Wanted) -> bool:
        """Download the rest of the partial file; return whether its hash matches."""
        partial = wanted.partial
        if partial.exists() and partial.stat().st_size > wanted.size:
            partial.unlink()
        partial.touch()

        def get() -> None:
            while (have := partial.stat().st_size) < wanted.size:
                self._stream(wanted, have)

        self._with_retries(get, lambda: partial.stat().st_size, wanted.file)
        self.on_verify(wanted)
        return _hash(partial, wanted) == wanted.digest

    def _stream(self, wanted: Wanted, have: int) -> None:
        """Send one request and append its body to the partial file, up to the expected size."""
        headers = {"Range": f"bytes={have}-"} if have else {}
        with (
            self._client.stream("GET", wanted.url, headers=headers) as response,
            wanted.partial.open("r+b", buffering=0) as file,
        ):
            if response.status_code == 416:
                file.truncate(0)
                raise httpx.RemoteProtocolError("the range was refused")
            self._check(response)
            start = _start_of(response, have)
            file.truncate(start)  # a host that ignores ranges sends the whole file
            file.seek(start)
            for chunk in response.iter_raw():
                if self._stop.is_set():
                    raise KeyboardInterrupt
                file.write(chunk[: wanted.size - start])
                start += len(chunk)
                self._report(wanted, min(start, wanted.size))
                if start > wanted.size:
                    return  # too long: the hash decides
            if start < wanted.size:
                raise httpx.RemoteProtocolError("the body ended early")

    def _check(self, response: httpx.Response) -> None:
        if response.status_code in RETRIED:
            raise RetryLater(response.status_code, _retry_after(response))
        if response.status_code >= 400:
            response.read()
            raise self.explain(response)

    def _with_retries(self, get: Callable[[], Any], have: Callable[[], int], what: str) -> Any:
        """Retry ``get`` until it succeeds; attempts that make progress do not count as failures."""
        failed = 0
        before = have()
        while True:
            delay = min(
                self.policy.first_delay_seconds * 2**failed * random.uniform(0.5, 1.0),
                self.policy.max_delay_seconds,
            )
            try:
                return get()
            except RetryLater as error:
                reason: Exception = error
                delay = max(delay, error.seconds)
                if error.seconds > self.policy.max_wait_seconds:
                    raise busy(self.host, error) from None
            except (httpx.TransportError, httpx.TooManyRedirects) as error:
                reason = error
            now = have()
            failed = 0 if now > before else failed + 1
            before = now
            if failed >= self.policy.attempts:
                raise gave_up(self.host, what, now, reason, self.source) from reason
            self.on_wait(what, delay)
            if self._stop.wait(delay):
                raise KeyboardInterrupt

    def _report(self, wanted: Wanted, done: int, *, force: bool = False) -> None:
        with self._count:
            self._done[wanted.file] = done
            now = time.monotonic()
            if not force and now - self._reported_at < REPORT_SECONDS:
                return
            self._reported_at = now
            self.on_bytes(wanted, done, sum(self._done.values()))


def link(target: Path, place: Path) -> None:
    """Create a relative symlink ``place`` to ``target``; a copy if symlinks are not supported."""
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    staged = place.with_name(f".{place.name}.{os.getpid()}")
    staged.unlink(missing_ok=True)
    try:
        staged.symlink_to(os.path.relpath(target, place.parent))
    except OSError:
        staged.write_bytes(target.read_bytes())
    staged.replace(place)


def _commit(wanted: Wanted) -> None:
    with wanted.partial.open("rb") as file:
        os.fsync(file.fileno())
    wanted.partial.replace(wanted.target)


def _hash(path: Path, wanted: Wanted) -> str:
    digest = hashlib.sha256()
    if wanted.algorithm == "blob":  # git's hash of a file: SHA-1 over a header and the bytes
        digest = hashlib.sha1(f"blob {wanted.size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _start_of(response: httpx.Response, asked: int) -> int:
    """The file offset where the body starts: 0, or from Content-Range for a partial response."""
    if response.status_code != 206:
        return 0
    text = response.headers.get("Content-Range", "")
    begin = text.removeprefix("bytes ").partition("-")[0]
    if not begin.isdecimal() or int(begin) > asked:
        raise httpx.RemoteProtocolError(f"a range that was not asked for: {text[:60]}")
    return int(begin)


def _retry_after(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    date = email.utils.parsedate_to_datetime(text) if "," in text else None
    return max(0.0, date.timestamp() - time.time()) if date else 0.0
