"""Downloads of models as jobs: start, progress, pause, resume, cancel.

``models.pull`` is the only downloader; here it runs in a job's process, so that it outlives the
page and the server, and its events become the job's progress with a rate and a remaining time.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from dataclasses import replace
from typing import Any

from tunery import env
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.jobs import folder as jobs
from tunery.jobs import start as launch
from tunery.jobs.folder import Job
from tunery.jobs.process import Handle
from tunery.models import demo, hubcache, modelscope
from tunery.models.download import Policy
from tunery.models.progress import ProgressEvent
from tunery.services.models import _local, _sources

PATIENT = {"attempts": 400, "max_delay_seconds": 30.0, "max_wait_seconds": 3600.0}
"""A job waits hours for the network: nobody is watching it."""
RATE_SECONDS = 8.0
ACTIVE_SHOWN = 6


def start_download(
    name: str, *, source_id: str = "", policy: dict[str, float] | None = None
) -> Job:
    """Download or import a model in a job; an earlier unfinished job is continued.

    Args:
        name: A hub id, a .gguf file, or demo.
        source_id: The source, an id from ``sources``.
        policy: Retry behaviour, as fields of ``Policy``.

    Raises:
        ModelError: There is nothing to download.
        UnknownName: There is no such source.
    """
    name = name.strip()
    found = hubcache.parse(name)
    if found is None and name != demo.NAME and not name.endswith(".gguf"):
        raise ModelError(
            t("{name}: cannot be downloaded.", name=name[:200]),
            fix=t("Use a hub id (owner/name, owner/name@revision), a .gguf file, or demo."),
        )
    source = _sources.find(source_id)
    name = str(found) if found and not name.endswith(".gguf") else name
    if begun := _begun(name, source.endpoint):
        return launch.resume(begun.id)
    arguments: dict[str, Any] = {
        "name": name,
        "source": source.kind,
        "endpoint": source.endpoint,
        "host": "" if name == demo.NAME or name.endswith(".gguf") else source.host,
        "policy": policy or PATIENT,
    }
    return launch.start("download", arguments, name, resumable=True, network=True)


def downloads() -> list[Job]:
    """Downloads that are active, paused or failed, newest first; not those done or cancelled."""
    return [job for job in jobs.listing(kind="download") if job.status not in ("done", "stopped")]


def cancel_download(job_id: str) -> int:
    """Cancel a download and remove its partial files.

    Returns:
        The number of bytes freed.

    Raises:
        UnknownName: There is no such job.
    """
    job = launch.stop(job_id)
    others = [other for other in downloads() if other.title == job.title and other.id != job.id]
    jobs.forget(job_id)
    return 0 if others or job.status == "done" else _remove_parts(job.title)


def download_job(arguments: dict[str, Any], handle: Handle) -> dict[str, Any]:
    """Run a download: the function of the ``download`` job.

    Raises:
        ModelError: It cannot be downloaded; includes what to do.
    """
    kind = arguments["source"]
    os.environ["HF_ENDPOINT" if kind == "hf" else "MODELSCOPE_ENDPOINT"] = arguments["endpoint"]
    teller = _Teller(handle)
    policy = Policy(**arguments.get("policy", PATIENT))
    with handle.interruptible():
        found = _local.pull(
            arguments["name"], revision=None, source=kind, progress=teller.take, policy=policy
        )
    return found.as_dict()


class _Teller:
    """Turns the downloader's events into a job's progress."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._samples: deque[tuple[float, int]] = deque()
        self._active: dict[str, tuple[int, int]] = {}
        self._whole: set[str] = set()
        self._last = ProgressEvent("note", "")
        self._phase = ""

    def take(self, event: ProgressEvent) -> None:
        """Write one event."""
        match event.kind:
            case "plan":
                self._active.clear()
                self._samples.clear()
                self._whole.clear()
                self._tell(event, "fetching")
            case "file":
                self._file(event)
                self._tell(event, "fetching")
            case "verify":
                self._tell(replace(self._last, file=event.file), "verifying")
            case "wait":
                self._samples.clear()
                retry_at = round(time.time() + event.seconds, 1)
                self._tell(replace(self._last, file=event.file), "waiting", retry_at=retry_at)
            case "convert":
                self._samples.clear()  # no more bytes arrive
                self._tell(event, "converting", seconds=round(event.seconds))
            case "note":
                self._handle.say(event.text)
            case "done":
                pass

    def _file(self, event: ProgressEvent) -> None:
        self._samples.append((time.monotonic(), event.done_bytes))
        while self._samples[-1][0] - self._samples[0][0] > RATE_SECONDS:
            self._samples.popleft()
        if event.file_bytes >= event.file_total:
            self._active.pop(event.file, None)
            self._whole.add(event.file)
        else:
            self._active[event.file] = (event.file_bytes, event.file_total)

    def _tell(self, event: ProgressEvent, phase: str, **more: Any) -> None:
        at_once, self._phase, self._last = phase != self._phase, phase, event
        rate = self._rate()
        left = event.total_bytes - event.done_bytes
        files = list(self._active.items())[:ACTIVE_SHOWN]
        self._handle.progress(
            event.done_bytes,
            event.total_bytes,
            "bytes",
            event.file,
            at_once=at_once,
            phase=phase,
            num_files=event.num_files,
            files_done=len(self._whole),
            rate=round(rate) if rate else None,
            eta_seconds=round(left / rate, 1) if rate and left > 0 else None,
            active=[{"file": file, "done": d, "total": total} for file, (d, total) in files],
            **more,
        )

    def _rate(self) -> float:
        """Bytes per second over the last seconds; 0 if unknown."""
        if len(self._samples) < 2:
            return 0.0
        (begin, before), (end, now) = self._samples[0], self._samples[-1]
        return max(0.0, (now - before) / (end - begin)) if end > begin else 0.0


def _begun(name: str, endpoint: str) -> Job | None:
    """An earlier download of the same model that is active or can be continued."""
    for job in downloads():
        same = job.title == name and job.arguments.get("endpoint") == endpoint
        if same and (job.is_live or job.status in jobs.RESUMABLE):
            return job
    return None


def _remove_parts(name: str) -> int:
    """Delete the partial files of a model; complete ones stay, other models may need them."""
    found = hubcache.parse(name)
    if name == demo.NAME:
        folders = [env.models_dir() / ".parts-demo"]
    elif found is None:
        return 0
    else:
        folders = [
            hubcache.repo_dir(found.repo) / "blobs",
            modelscope.folder_of(found.repo).with_name(
                f".parts-{modelscope.folder_of(found.repo).name}"
            ),
        ]
    freed = 0
    for folder in folders:
        parts = folder.rglob("*") if name == demo.NAME else folder.rglob("*.incomplete")
        for part in parts:
            with contextlib.suppress(FileNotFoundError):
                if part.is_file():
                    freed += part.stat().st_size
                    part.unlink()
    return freed
