"""Jobs on this machine: start one detached, pause, resume and stop it.

The process, its lock, its log and its exit record are those of a run's worker (``workers.local``).
"""

from __future__ import annotations

import os
import time
from typing import Any

from tunery.errors import LaunchError
from tunery.i18n import t
from tunery.jobs import folder as jobs
from tunery.jobs.folder import Job, JobControl, JobFolder
from tunery.workers import local
from tunery.workers.entry import command
from tunery.workers.environment import worker_env

GRACE_SECONDS = 20.0
NETWORK = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "SSL_CERT_DIR", "HTTP_PROXY_REQUEST_FULLURI", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
)  # fmt: skip
NETWORK_PREFIXES = ("HF_", "HUGGING", "MODELSCOPE_", "PIP_", "UV_", "AWS_", "GOOGLE_", "AZURE_")


def start(
    kind: str,
    arguments: dict[str, Any],
    title: str,
    *,
    resumable: bool = False,
    network: bool = False,
) -> Job:
    """Start long-running work in its own process, which outlives this one.

    Args:
        kind: Kind of work, a name in ``services.job_kinds.KINDS``.
        arguments: Arguments of the request: plain data, and never a secret (they are stored).
        title: Short description for users.
        resumable: Whether it can continue where it stopped.
        network: Whether it may use the network, with the proxies and tokens of this process.

    Raises:
        LaunchError: Its process could not be started.
    """
    folder = jobs.create(kind, {**arguments}, title, resumable=resumable)
    _begin(folder, network=network)
    return jobs.derive(folder)


def resume(job_id: str, *, network: bool = True) -> Job:
    """Resume a job that was paused, stopped, interrupted or failed; no effect if it is running.

    Raises:
        UnknownName: There is no such job.
        LaunchError: It is done, cannot be resumed, or could not be started.
    """
    folder = jobs.open_job(job_id)
    job = jobs.derive(folder)
    if job.is_live:
        return job
    if not job.resumable or job.status not in jobs.RESUMABLE:
        raise LaunchError(
            t("{title}: this job cannot be resumed.", title=job.title),
            fix=t("Start it again."),
        )
    _begin(folder, network=network)
    return jobs.derive(folder)


def pause(job_id: str, *, grace_seconds: float = GRACE_SECONDS) -> Job:
    """Stop a job so that ``resume`` can continue it; its progress is kept.

    Raises:
        UnknownName: There is no such job.
        LaunchError: It cannot be paused, or its processes do not end.
    """
    folder = jobs.open_job(job_id)
    job = jobs.derive(folder)
    if not job.resumable:
        raise LaunchError(
            t("{title}: this job cannot be paused.", title=job.title),
            fix=t("Wait for it to finish, or cancel it."),
        )
    if job.is_live:
        JobControl(folder).request_pause()
        local.stop(folder, grace_seconds=grace_seconds)
    return jobs.derive(folder)


def stop(job_id: str, *, grace_seconds: float = GRACE_SECONDS) -> Job:
    """Stop a job: ask, wait, then kill it.

    Raises:
        UnknownName: There is no such job.
        LaunchError: A process of the job is still alive afterwards.
    """
    folder = jobs.open_job(job_id)
    if jobs.derive(folder).is_live:
        local.stop(folder, grace_seconds=grace_seconds)
    return jobs.derive(folder)


def wait(job_id: str, timeout_seconds: float) -> Job:
    """Wait until a job is over, or until the timeout.

    Raises:
        UnknownName: There is no such job.
    """
    folder = jobs.open_job(job_id)
    local.wait_until_gone(folder, timeout_seconds)
    return jobs.derive(folder)


def _begin(folder: JobFolder, *, network: bool) -> None:
    if not local.is_free(folder):  # its previous process is just ending
        end = time.monotonic() + local.START_SECONDS
        while not local.is_free(folder) and time.monotonic() < end:
            time.sleep(0.02)
    JobControl(folder).clear()
    local.start(
        folder,
        argv=command("job", str(folder.path)),
        environment=_environment(network=network),
    )


def _environment(*, network: bool) -> dict[str, str]:
    if not network:
        return worker_env()
    open_ = {
        name: value
        for name, value in os.environ.items()
        if name in NETWORK or name.startswith(NETWORK_PREFIXES)
    }
    kept = {name: value for name, value in worker_env().items() if not name.endswith("_OFFLINE")}
    return kept | open_
