"""Hardware figures of this machine that the page can show immediately.

No torch and no waiting: memory and disk are read on each call, the GPU's name and memory come from
nvidia-smi, whose output is cached for a few seconds, and only ``check_hub()`` contacts the hub.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import time
from dataclasses import asdict, dataclass
from typing import Any

from tunery import env, memory
from tunery.models.hub import endpoint, host_of
from tunery.redaction import redact
from tunery.services.machine import _doctor

SMI_TIMEOUT_SECONDS = 5.0
SMI_KEPT_SECONDS = 5
_SMI_FIELDS = "name,memory.total_bytes(),memory.free,utilization.gpu,driver_version"


@dataclass(frozen=True, slots=True)
class Gpu:
    """One NVIDIA GPU as reported by its driver; ``busy`` is a fraction from 0 to 1."""

    name: str
    total_bytes: int
    free_bytes: int
    busy: float | None
    driver: str


@dataclass(frozen=True, slots=True)
class Machine:
    """Figures of this machine.

    Args:
        cores: CPU cores this process may use.
        memory_bytes: Total memory; ``available_bytes`` of it are available now.
        home: TUNERY_HOME; ``disk_free_bytes`` are free on its disk.
        lasting: Whether the home folder survives a rented machine; None if unknown.
        gpus: NVIDIA GPUs; empty if there are none.
        hub: Host that models are downloaded from.
        offline: Whether HF_HUB_OFFLINE forbids contacting it.
    """

    cores: int
    memory_bytes: int
    available_bytes: int
    home: str
    disk_free_bytes: int
    lasting: bool | None
    gpus: tuple[Gpu, ...]
    hub: str
    offline: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API."""
        return asdict(self)


def look() -> Machine:
    """Read the current figures of this machine."""
    return Machine(
        cores=env.cores(),
        memory_bytes=memory.total_bytes(),
        available_bytes=memory.available_bytes(),
        home=str(env.home()),
        disk_free_bytes=env.free_bytes(env.home()),
        lasting=_doctor.survives(env.home())[0],
        gpus=gpus(),
        hub=host_of(endpoint()),
        offline=is_offline(),
    )


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine; empty if nvidia-smi is missing or fails."""
    return _ask_smi(int(time.monotonic() // SMI_KEPT_SECONDS))


def check_hub() -> dict[str, Any]:
    """Check whether the hub responds; takes up to three seconds."""
    found = _doctor.hub()
    return {
        "host": host_of(endpoint()),
        "offline": is_offline(),
        "reachable": False,
        "milliseconds": None,
        "timeout_seconds": _doctor.HUB_TIMEOUT_SECONDS,
        "text": found.text,
        "fix": found.fix,
        **{key: value for key, value in (found.data or {}).items() if key != "endpoint"},
    }


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids contacting the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def report() -> str:
    """Text for a bug report: versions and findings, without names or secrets in addresses."""
    lines = [f"{name} {version}" for name, version in _doctor.versions().items()]
    lines += [f"{found.level}: {found.name}: {found.text}" for found in _doctor.examine()]
    text, home = redact("\n".join(lines)), env.user_home()
    return text.replace(str(home), "~") if home else text


@functools.lru_cache(maxsize=1)
def _ask_smi(_moment: int) -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, f"--query-gpu={_SMI_FIELDS}", "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=SMI_TIMEOUT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    if done.returncode != 0:
        return ()
    return tuple(_gpu(line) for line in done.stdout.splitlines() if line.count(",") >= 4)


def _gpu(line: str) -> Gpu:
    name, total, free, busy, driver = (part.strip() for part in line.rsplit(",", 4))
    return Gpu(name, _mebibytes(total), _mebibytes(free), _share(busy), driver)


def _mebibytes(text: str) -> int:
    return int(text) * 2**20 if text.isdigit() else 0


def _share(text: str) -> float | None:
    return int(text) / 100 if text.isdigit() else None
