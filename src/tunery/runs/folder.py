"""The run folder: the paths in it, and how it is created.

The folder is the interface between processes, so no other module spells its file names. A new
folder is built under a name with a leading dot and then renamed, so it appears complete or not at
all; a rename onto an existing run fails, so two runs never share a name.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunery import atomic, env
from tunery.commands import quoted
from tunery.errors import RunError, did_you_mean
from tunery.i18n import joined, t
from tunery.workers.folder import WorkFolder, read_json, write_json

if TYPE_CHECKING:
    from tunery.config.config import Config

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class RunFolder(WorkFolder):
    """The paths in a run folder: the worker's files and the output of the run."""

    @property
    def config_file(self) -> Path:
        """config.yaml: every setting, versions, data hashes, seed, hardware."""
        return self.path / "config.yaml"

    @property
    def card_file(self) -> Path:
        """run.json: the facts that a list of runs shows, to avoid reading YAML."""
        return self.path / "run.json"

    @property
    def checkpoints_dir(self) -> Path:
        """Folder of the checkpoints, named like ``step-00000100``."""
        return self.path / "checkpoints"

    @property
    def adapter_dir(self) -> Path:
        """Folder of the final adapter, in PEFT format."""
        return self.path / "adapter"

    @property
    def model_dir(self) -> Path:
        """Folder of the final model in transformers format, for runs without an adapter."""
        return self.path / "model"

    @property
    def report_file(self) -> Path:
        """report.html: curves, samples and the diagnosis, in one file."""
        return self.path / "report.html"

    @property
    def report_json(self) -> Path:
        """report.json: the content of the report as data."""
        return self.path / "report.json"

    @property
    def loss_image_file(self) -> Path:
        """loss.png: the loss curves."""
        return self.path / "loss.png"

    @property
    def quarantine_file(self) -> Path:
        """quarantine.jsonl: invalid rows, with their position and the reason."""
        return self.path / "quarantine.jsonl"

    @property
    def replay_file(self) -> Path:
        """replay.jsonl: general prompts with the base model's own answers."""
        return self.path / "replay.jsonl"

    def reference_file(self, name: str) -> Path:
        """reference-NAME.safetensors: log-probabilities of rows under the model before training."""
        return self.path / f"reference-{name}.safetensors"

    def teacher_dir(self, name: str) -> Path:
        """teacher-NAME: a teacher's most probable tokens at the trained tokens of rows."""
        return self.path / f"teacher-{name}"

    @property
    def first_batch_file(self) -> Path:
        """first_batch.json: one row of the first batch, as trained."""
        return self.path / "first_batch.json"

    @property
    def notified_file(self) -> Path:
        """notified.json: results of the notifications that the run ended."""
        return self.path / "notified.json"

    @property
    def track_dir(self) -> Path:
        """Folder of the trackers' state and logs."""
        return self.path / "track"

    def track_file(self, tracker: str) -> Path:
        """track/NAME.json: URL of the run in a tracker, and the tracker's status."""
        return self.track_dir / f"{tracker}.json"

    def track_log(self, tracker: str) -> Path:
        """track/NAME.log: stdout and stderr of a tracker's process."""
        return self.track_dir / f"{tracker}.log"

    def track_lock(self, tracker: str) -> Path:
        """track/NAME.lock: locked (flock) by the process that sends to a tracker."""
        return self.track_dir / f"{tracker}.lock"

    def anomaly_file(self, step: int) -> Path:
        """anomaly-STEP.jsonl: the rows of a step with a non-finite loss or gradient."""
        return self.path / f"anomaly-{step:08d}.jsonl"

    def checkpoint_dir(self, step: int) -> Path:
        """Folder of the checkpoint of a step; it may not exist."""
        return self.checkpoints_dir / f"step-{step:08d}"

    def card(self) -> dict[str, Any]:
        """Read run.json; empty if it cannot be read."""
        return read_json(self.card_file)


def config_hash(config: Config) -> str:
    """SHA-256 over every setting in hex, independent of their order."""
    data = json.dumps(config.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(data.encode()).hexdigest()


def check_name(name: str) -> str:
    """Return the name if it is a valid run name.

    Raises:
        RunError: The name has other characters or is too long.
    """
    if not NAME.fullmatch(name):
        raise RunError(
            t(
                "{name!r} is not a valid run name: use 1 to 64 characters from a-z, "
                "0-9, '.', '_', '-', starting with a letter or a digit.",
                name=name,
            ),
            fix=t("Try --name {name}", name=slug(name) or "my-run"),
            run=name,
        )
    return name


def slug(text: str, *, length: int = 24) -> str:
    """Turn any text into a part of a run name; the result may be empty.

    Args:
        text: The text.
        length: Maximum number of characters.
    """
    plain = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[:length].strip("-")


def default_name(config: Config, *, today: datetime.date | None = None) -> str:
    """A run name from the date, subject and method, such as ``2026-11-24-tuna-sft``.

    The subject is the value of the ``name`` variable, else the first dataset, else the model.
    If the name exists already, ``create`` appends a number.
    """
    first = Path(config.data.train[0].split("*")[0]).stem if config.data.train else ""
    subject = slug(config.data.variables.get("name", "")) or slug(first) or slug(config.model.name)
    day = (today or datetime.date.today()).isoformat()
    return "-".join(part for part in (day, subject, config.method.type) if part)


def create(name: str | None, config: Config, meta: dict[str, Any]) -> RunFolder:
    """Create a run folder with its frozen config, atomically.

    Args:
        name: The run's name; None for ``default_name``, with a number if that exists.
        config: The resolved settings.
        meta: Versions, hashes, seed and hardware for the ``_run`` part of config.yaml.

    Raises:
        RunError: The name is invalid or exists already, or the folder cannot be written.
    """
    base = check_name(name) if name else default_name(config)
    if name and find_taken(name):
        raise taken(name)
    runs = env.runs_dir()
    staging = runs / f".new-{base}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        staging.mkdir(parents=True)
    except OSError as error:
        raise unwritable(runs, error) from error
    try:
        _fill(RunFolder(staging), base, config, meta)
        for number in range(1, 10_000):
            final = runs / (base if number == 1 else f"{base}-{number}")
            if _place(staging, final):
                return RunFolder(final)
            if name:
                raise taken(name)
    except OSError as error:
        raise unwritable(runs, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    raise taken(base)


def _fill(folder: RunFolder, name: str, config: Config, meta: dict[str, Any]) -> None:
    from tunery.config.frozen import write_frozen  # slow: imports YAML and pydantic

    folder.control_dir.mkdir()
    folder.checkpoints_dir.mkdir()
    write_frozen(folder.config_file, config, meta)
    card = {
        "created": round(time.time(), 3),
        "model": config.model.name,
        "method": config.method.type,
        "adapter": config.adapter.type,
        **({"quantization": config.quantization.type} if config.quantization.quantizes else {}),
        "data": list(config.data.train),
        "learning_rate": config.optim.learning_rate,
        "num_epochs": config.train.num_epochs,
        "config_hash": config_hash(config),
    }
    write_json(folder.card_file, card)


def _place(staging: Path, final: Path) -> bool:
    """Rename the staging folder; return False if the name exists."""
    try:
        # A run folder is never empty, so rename(2) onto one fails with ENOTEMPTY.
        staging.rename(final)
    except OSError:
        if final.exists():
            return False
        raise
    atomic.flush(final.parent)
    return True


def find_taken(name: str) -> bool:
    """Whether a run of this name exists."""
    return (env.runs_dir() / name).exists()


def require_free(name: str) -> None:
    """Check the name that a user chose for a new run.

    Raises:
        RunError: It is not valid, or a run of this name exists.
    """
    if find_taken(check_name(name)):
        raise taken(name)


def taken(name: str) -> RunError:
    """The error for a run name that exists already."""
    return RunError(
        t("--name {name}: a run with this name already exists.", name=name),
        fix=t(
            "Choose another name, resume it: tunery runs resume {name}, or delete it: "
            "tunery runs delete {name}",
            name=quoted(name),
        ),
        code="exists",
        run=name,
    )


def unwritable(path: Path, error: OSError) -> RunError:
    """The error for a runs folder that cannot be written; names the path and the user id."""
    who = getattr(os, "geteuid", lambda: "?")()
    return RunError(
        t(
            "User ID {user} cannot write to {path}: {reason}.",
            path=path,
            user=who,
            reason=error.strerror or str(error),
        ),
        fix=t("Make it writable, free some space, or set TUNERY_HOME to another folder."),
        path=path,
    )


def open_run(name: str | os.PathLike[str]) -> RunFolder:
    """Find an existing run by its name or the path of its folder.

    Raises:
        RunError: The run does not exist; suggests the most similar name.
    """
    text = os.fspath(name)
    if NAME.fullmatch(text):
        folder = RunFolder(env.runs_dir() / text)
    else:
        folder = RunFolder(env.expanded(text).absolute())
    if folder.config_file.is_file():
        return folder
    known = names()
    near = did_you_mean(text, known)
    raise RunError(
        t("Run {name!r} not found in {folder}.", name=text, folder=env.runs_dir()),
        fix=joined(near, t("List them with: tunery runs list")),
        code="unknown",
        run=text,
    )


def names() -> list[str]:
    """Names of all runs, sorted, without incomplete and deleted ones (names with a leading dot)."""
    return _folders(env.runs_dir())


def names_in(path: Path) -> list[str]:
    """Names of the runs that are folders inside any folder, sorted."""
    return [name for name in _folders(path) if is_run(path / name)]


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run."""
    folder = RunFolder(path)
    return folder.config_file.is_file() and folder.events_file.is_file()


def _folders(path: Path) -> list[str]:
    """Names of the folders in a folder that a run may have, sorted; empty if it cannot be read."""
    try:
        with os.scandir(path) as entries:
            return sorted(e.name for e in entries if NAME.fullmatch(e.name) and e.is_dir())
    except OSError:
        return []
