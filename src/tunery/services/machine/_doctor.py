"""`tunery version` and `tunery doctor`: what this machine has, what is missing, and the fix.

Nothing heavy is imported into this process: torch is queried in a child process, versions are read
from package metadata. Every check is a ``Finding`` with a level; the command's exit status follows
the worst of them.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import httpx

from tunery import __version__, env, memory
from tunery.i18n import t
from tunery.models import accounts, hubcache
from tunery.services.machine import _rented

Level = Literal["ok", "note", "problem"]

PACKAGES = ("torch", "transformers", "peft", "safetensors", "huggingface_hub", "pyarrow")
COMPANIONS = ("torchvision", "torchaudio")
"""Compiled for one build of torch. Tunery uses neither; transformers imports them if found."""
HUB = "https://huggingface.co"
MIRROR = "https://hf-mirror.com"
HUB_TIMEOUT_SECONDS = 3.0
LOW_DISK_BYTES = 10 * 2**30
LOW_MEMORY_BYTES = 4 * 2**30
_PROBE = """
import json, torch
devices = []
if torch.cuda.is_available():
    for i in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(i)
        free, total = torch.cuda.mem_get_info(i)
        devices.append({"id": f"cuda:{i}", "name": p.name, "memory_bytes": total,
                        "free_bytes": free, "capability": f"{p.major}.{p.minor}"})
elif getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
    devices.append({"id": "mps", "name": "Apple GPU"})
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "devices": devices}))
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report.

    Args:
        name: What was checked, a stable machine-readable name.
        level: ``ok``, ``note`` (works, worth knowing) or ``problem`` (something will not work).
        text: What was found, for the user.
        fix: What to do; empty if there is nothing to do.
        data: The figures.
    """

    name: str
    level: Level
    text: str
    fix: str = ""
    data: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def versions() -> dict[str, Any]:
    """Versions of Tunery, Python and the packages that matter; None for those not installed."""
    packages = {name: installed(name) for name in PACKAGES}
    return {
        "tunery": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **packages,
    }


def installed(package: str) -> str | None:
    """Version of an installed package, None if it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine() -> Iterator[Finding]:
    """Check this machine, yielding one finding at a time, quick checks first."""
    yield _python()
    yield from _requirements()
    yield _torch()
    yield from _companions()
    yield _cores()
    yield _memory()
    yield from _disks()
    yield hub()


def _python() -> Finding:
    place = "conda" if os.environ.get("CONDA_PREFIX") else ""
    place = place or ("venv" if sys.prefix != sys.base_prefix else "system")
    data = {"version": platform.python_version(), "executable": sys.executable, "kind": place}
    text = t(
        "Python {version} ({kind}: {path})", version=data["version"], kind=place, path=sys.prefix
    )
    if place == "system" and not Path("/.dockerenv").exists():
        return Finding(
            "python",
            "note",
            text,
            t(
                "This Python is shared with other programs; use a virtual environment: "
                "python -m venv .venv"
            ),
            data,
        )
    return Finding("python", "ok", text, data=data)


def _requirements() -> Iterator[Finding]:
    """Check installed packages against the requirements in tunery's own metadata."""
    from packaging.requirements import Requirement

    clashes: list[str] = []
    for line in importlib.metadata.requires("tunery") or []:
        requirement = Requirement(line)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", "train")
        )
        found = installed(requirement.name) if wanted else None
        if found is not None and not requirement.specifier.contains(found, prereleases=True):
            clashes.append(f"{requirement.name}{requirement.specifier}")
            yield Finding(
                f"package {requirement.name}",
                "problem",
                t(
                    "{name} {found} is installed; Tunery needs {wanted}.",
                    name=requirement.name,
                    found=found,
                    wanted=str(requirement.specifier),
                ),
                f'pip install "{requirement.name}{requirement.specifier}"',
            )
    missing = [name for name in PACKAGES if installed(name) is None]
    if missing:
        yield Finding(
            "packages",
            "problem",
            t("Packages needed for training are missing: {names}", names=", ".join(missing)),
            'pip install "tunery[train]"',
            {"missing": missing},
        )
    elif not clashes:
        listed = ", ".join(f"{name} {installed(name)}" for name in PACKAGES)
        yield Finding("packages", "ok", listed, data={n: installed(n) for n in PACKAGES})


def _torch() -> Finding:
    if installed("torch") is None:
        return Finding(
            "device",
            "problem",
            t("torch is not installed, so training is not possible."),
            'pip install "tunery[train]"',
        )
    done = subprocess.run(
        [sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return Finding(
            "device",
            "problem",
            t("torch cannot be imported: {reason}", reason=last[:200]),
            "pip install --force-reinstall torch",
        )
    data = json.loads(done.stdout.strip().splitlines()[-1])
    if data["devices"]:
        names = ", ".join(
            f"{d['id']} {d['name']} {env.human_bytes(d.get('memory_bytes', 0))}"
            for d in data["devices"]
        )
        return Finding("device", "ok", names, data=data)
    if Path("/proc/driver/nvidia/version").exists() and data["cuda"] is None:
        return Finding(
            "device",
            "problem",
            t(
                "This machine has an NVIDIA driver, but torch {v} is a CPU build.",
                v=data["version"],
            ),
            "pip install --force-reinstall torch",
            data,
        )
    return Finding(
        "device", "note", t("No GPU found. Small models still train on the CPU."), data=data
    )


def _companions() -> Iterator[Finding]:
    """Import packages compiled for one build of torch; a mismatch breaks transformers' imports."""
    torch = installed("torch")
    for name in COMPANIONS:
        found = installed(name)
        if torch is None or found is None:
            continue
        done = subprocess.run(
            [sys.executable, "-c", f"import torch, {name}"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode == 0:
            continue
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        yield Finding(
            f"package {name}",
            "problem",
            t(
                "{name} {found} is incompatible with torch {torch}, so models cannot be "
                "loaded: {reason}",
                name=name,
                found=found,
                torch=torch,
                reason=last[:200],
            ),
            t(
                "Tunery does not need it: pip uninstall {name}. To keep it, install the version "
                "built for torch {torch}.",
                name=name,
                torch=torch,
            ),
            {"version": found, "torch": torch},
        )


def _cores() -> Finding:
    usable = env.cores()
    load = os.getloadavg()[0]
    text = t("{n} CPU cores, load {load:.1f}", n=usable, load=load)
    data = {"cores": usable, "load": load}
    if load > 0.5 * usable:
        return Finding(
            "cores",
            "note",
            text,
            t("Other programs are using the cores; training will be slower."),
            data,
        )
    return Finding("cores", "ok", text, data=data)


def _memory() -> Finding:
    total, available = memory.total_bytes(), memory.available_bytes()
    data = {"total_bytes": total, "available_bytes": available}
    text = t(
        "{free} of {total} memory available",
        free=env.human_bytes(available),
        total=env.human_bytes(total),
    )
    if available < LOW_MEMORY_BYTES:
        return Finding(
            "memory", "note", text, t("Close other programs, or train a small model."), data
        )
    return Finding("memory", "ok", text, data=data)


def survives(path: Path) -> tuple[bool | None, str]:
    """Whether a folder survives the end of a rented machine, and how that is known.

    Returns:
        (True, False, or None if unknown; the reason in words).
    """
    lasting, why = _rented.survives(path)
    if lasting is not None:
        return lasting, why
    if mount_type(path) in ("overlay", "tmpfs"):
        return False, t("it is on {kind}, which may be cleared by a restart", kind=mount_type(path))
    return None, ""


def writable(folder: Path) -> bool:
    """Whether a file can really be created in ``folder`` (root passes every permission check)."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def mount_type(path: Path) -> str:
    """File-system type of the mount that holds ``path``; empty if it cannot be determined."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return ""
    best, kind = "", ""
    for line in mounts.read_text().splitlines():
        _, point, fstype, *_ = line.split(" ")
        if path.is_relative_to(point) and len(point) > len(best):
            best, kind = point, fstype
    return kind


def _disks() -> Iterator[Finding]:
    cache = hubcache.hf_home()
    for name, path in (("disk TUNERY_HOME", env.home()), ("disk HF_HOME", cache)):
        place = env.existing_parent(path)
        free = env.free_bytes(path)
        lasting, why = survives(path)
        data = {"path": str(path), "free_bytes": free, "survives": lasting}
        text = t("{path}: {free} free", path=path, free=env.human_bytes(free))
        variable = name.split()[1]
        if not writable(place):
            fix = t("Choose a writable folder: export {v}=/path", v=variable)
            yield Finding(name, "problem", t("{path} is not writable", path=place), fix, data)
        elif lasting is False:
            fix = t("Choose a persistent disk: export {v}=/path", v=variable)
            yield Finding(name, "note", t("{line} ({more})", line=text, more=why), fix, data)
        elif free < LOW_DISK_BYTES:
            yield Finding(
                name,
                "note",
                text,
                t("Free some space, or choose another disk: export {v}=/path", v=variable),
                data,
            )
        else:
            yield Finding(
                name, "ok", t("{line} ({more})", line=text, more=why) if why else text, data=data
            )


def hub() -> Finding:
    """Check whether the hub responds; takes up to HUB_TIMEOUT_SECONDS."""
    endpoint = (accounts.value("hub_endpoint") or HUB).rstrip("/")
    data: dict[str, Any] = {"endpoint": endpoint, "reachable": False}
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Finding(
            "hub",
            "note",
            t("Offline because HF_HUB_OFFLINE is set; downloaded models work."),
            data=data,
        )
    start = time.monotonic()
    try:
        answer = httpx.head(
            endpoint,
            timeout=HUB_TIMEOUT_SECONDS,
            follow_redirects=True,
            proxy=accounts.proxy(),
        )
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        reason = type(error).__name__
        fix = t("To use a mirror: export HF_ENDPOINT={mirror}", mirror=MIRROR)
        return Finding(
            "hub",
            "note",
            t(
                "{endpoint} did not respond ({reason}); downloaded models still work.",
                endpoint=endpoint,
                reason=reason,
            ),
            fix if endpoint == HUB else t("Check HF_ENDPOINT, or unset it."),
            data,
        )
    milliseconds = round((time.monotonic() - start) * 1000)
    data |= {"reachable": answer.status_code < 500, "milliseconds": milliseconds}
    text = t("{endpoint} responds in {ms} ms", endpoint=endpoint, ms=milliseconds)
    return Finding("hub", "ok", text, data=data)
