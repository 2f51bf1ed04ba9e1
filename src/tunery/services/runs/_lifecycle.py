"""Run operations: start, follow, stop, resume, and gather the outcome.

Decisions live here; rendering is up to the front ends. Everything is read from the run folder, so
any number of terminals can follow the same run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tunery.commands import command, quoted
from tunery.config.exporters import DEFAULT
from tunery.config.frozen import completed, read_frozen
from tunery.errors import RunError, RunFailed
from tunery.i18n import joined, retold, t
from tunery.runs import drift, manifest
from tunery.runs.curves import RunLog
from tunery.runs.diagnosis import Diagnosis, diagnose
from tunery.runs.folder import RunFolder, open_run
from tunery.runs.status import SECONDS_BEFORE, RunStatus, derive
from tunery.services.runs._preparing import read_rows, versions
from tunery.services.runs._tracking import Tracked, start_trackers, tracked
from tunery.workers import local
from tunery.workers.entry import run_command
from tunery.workers.log import Event, follow


def start(folder: RunFolder, *, allow_drift: Sequence[str] = ()) -> int:
    """Start the worker and the trackers of a prepared run, detached; returns the worker's pid.

    Raises:
        RunError: A process is already working in this folder.
        LaunchError: The worker could not be started.
    """
    pid = local.start(
        folder,
        argv=run_command(str(folder.path), allow_drift=allow_drift),
        facts={SECONDS_BEFORE: derive(folder).duration_seconds or 0.0},
    )
    start_trackers(folder)
    return pid


@dataclass(frozen=True)
class Resumed:
    """A resumed run.

    Args:
        folder: The run.
        step: The step it continues from; 0 for the beginning.
        rejected: Newer checkpoints that were skipped, with the reason.
        allowed: Changed settings that were accepted.
        offset: Where the events of this attempt begin.
    """

    folder: RunFolder
    step: int
    rejected: list[manifest.Rejected]
    allowed: list[str]
    offset: int


def resume(
    name: str, *, allow_drift: Sequence[str] = (), launch: Callable[..., int] = start
) -> Resumed:
    """Continue a run from its newest valid checkpoint.

    Args:
        name: The run.
        allow_drift: Changed settings that the user accepts.
        launch: Starts the worker.

    Raises:
        RunError: It is running or finished, or something changed that was not allowed.
    """
    folder = open_run(name)
    state = derive(folder)
    if state.is_live:
        raise local.already_running(folder)
    if state.status == "finished":
        raise RunError(
            t("Run {run} is finished; there is nothing to resume.", run=folder.name),
            fix=t("Continue training from its result: tunery train {config} --model.name {run}",
                  config=quoted(folder.config_file), run=quoted(folder.name)),
            run=folder.name,
        )  # fmt: skip
    if allow_drift:
        compared: dict[str, Any] = read_frozen(folder.config_file).model_dump(mode="json")
        compared |= {"data_hash": "", "facts": "", "versions": ""}
        drift.refuse_unknown(folder.name, allow_drift, compared)
    checkpoint, rejected = manifest.newest_valid(folder.checkpoints_dir)
    allowed: list[str] = []
    if checkpoint is not None:
        allowed = check_drift(folder, manifest.read_manifest(checkpoint), allow_drift)
    offset = folder.events_file.stat().st_size if folder.events_file.exists() else 0
    launch(folder, allow_drift=allow_drift)
    step = manifest.step_of(checkpoint) if checkpoint is not None else 0
    return Resumed(folder, step or 0, rejected, allowed, offset)


def check_drift(folder: RunFolder, saved: dict[str, Any], allowed: Sequence[str]) -> list[str]:
    """Compare what a checkpoint was made with to what would be used now.

    The worker compares what only the worker can see (template, tokenizer, weights).

    Returns:
        The differences that are allowed.

    Raises:
        RunError: There are others; each is listed with its old and new value.
    """
    config = read_frozen(folder.config_file)
    rows, _ = read_rows(config)
    installed = versions()
    before = {
        **completed(saved.get("config", {})),
        "data_hash": saved["data_hash"],
        "versions": {k: v for k, v in saved["versions"].items() if k in installed},
    }
    now = {
        **config.model_dump(mode="json"),
        "data_hash": rows.hash,
        "versions": {k: v for k, v in installed.items() if k in saved["versions"]},
    }
    return drift.refuse(folder.name, drift.differences(before, now), allowed=allowed)


def stop(name: str, *, grace_seconds: float | None = None) -> RunStatus:
    """Stop a run so that it can be resumed; kill it when the grace period is over.

    Args:
        name: The run.
        grace_seconds: How long saving may take; by default ``train.stop_grace_seconds``.

    Raises:
        RunError: No process is working in it.
        LaunchError: One of its processes does not end.
    """
    folder = open_run(name)
    state = derive(folder)
    if not state.is_live:
        raise not_running(state)
    local.stop(folder, grace_seconds=grace_seconds or grace(folder))
    return derive(folder)


def request_stop(name: str, *, how: Literal["save", "now"]) -> RunStatus:
    """Stop a run without waiting until it has saved.

    Args:
        name: The run.
        how: ``save``: it saves after this step and then ends; ``now``: it is killed and keeps its
            last checkpoint.

    Raises:
        RunError: No process is working in it.
        LaunchError: One of its processes does not end.
    """
    folder = open_run(name)
    state = derive(folder)
    if not state.is_live:
        raise not_running(state)
    if how == "now":
        end(folder)
    else:
        ask_to_stop(folder)
    return derive(folder)


def not_running(state: RunStatus) -> RunError:
    """The error for stopping a run that no process is working in."""
    return RunError(
        t("Run {run} is not running; its status is {status}.", run=state.name, status=state.status),
        run=state.name,
    )


def ask_to_stop(folder: RunFolder) -> None:
    """Request a stop with saving, and return at once."""
    local.ask_to_stop(folder)


def end(folder: RunFolder) -> None:
    """Kill a run with all of its processes."""
    local.stop(folder, grace_seconds=0.0)


def grace(folder: RunFolder) -> float:
    """How long this run may take to save after a stop request."""
    return read_frozen(folder.config_file).train.stop_grace_seconds


def follow_run(
    folder: RunFolder, offset: int = 0, *, interval: float = 0.2
) -> Iterator[list[Event]]:
    """Yield batches of new events until no process is working in the run.

    An empty batch means no news: the caller can check the time or handle a signal.

    Args:
        folder: The run.
        offset: Where to start in the event log.
        interval: Seconds between polls.
    """
    path = folder.events_file
    return follow(path, offset, done=lambda: not local.at_work(folder), interval=interval)


@dataclass(frozen=True)
class Answers:
    """The answers to one prompt, before and after training.

    Args:
        prompt: The prompt.
        before: The first answer.
        after: The last one.
        before_cut: Whether the first answer reached ``evaluate.max_new_tokens``.
        after_cut: Whether the last one did.
    """

    prompt: str
    before: str
    after: str
    before_cut: bool = False
    after_cut: bool = False


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Args:
        state: Its state.
        answers: The fixed prompts, before and after.
        diagnosis: What the curves mean.
        rows: The row ledger.
        best_step: The best checkpoint's step.
        files: What is in the folder, by name.
        commands: Suggested next commands.
        warnings: Warnings raised during the run.
        trackers: Other places that show the run.
    """

    state: RunStatus
    answers: list[Answers]
    diagnosis: Diagnosis
    rows: dict[str, Any]
    files: dict[str, Path]
    commands: list[str]
    warnings: list[str] = field(default_factory=list[str])
    trackers: list[Tracked] = field(default_factory=list[Tracked])

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            **self.state.as_dict(),
            "declared": [measure.as_dict() for measure in self.state.declared.measures],
            "answers": [vars(answer) for answer in self.answers],
            "diagnosis": self.diagnosis.as_dict(),
            "rows": self.rows,
            "files": {name: str(path) for name, path in self.files.items()},
            "next": self.commands,
            "warnings": self.warnings,
            "trackers": [vars(each) for each in self.trackers],
        }


def outcome(folder: RunFolder) -> Outcome:
    """Gather what the user wants to know at the end of a run."""
    events = RunLog(folder.events_file).refresh().thinned()
    state = derive(folder)
    files = {
        "folder": folder.path,
        "adapter": folder.adapter_dir,
        "model": folder.model_dir,
        "report": folder.report_file,
        "loss": folder.loss_image_file,
    }
    rows = next((e for e in reversed(events) if e["type"] == "rows"), Event())
    return Outcome(
        state=state,
        answers=_answers(events),
        diagnosis=diagnose(events),
        rows={k: v for k, v in rows.items() if k not in ("seq", "time", "clock", "type")},
        files={name: path for name, path in files.items() if path.exists()},
        commands=_next(folder, state),
        warnings=[retold(e, "text") for e in events if e["type"] == "warning"],
        trackers=tracked(folder),
    )


def failure(state: RunStatus) -> RunError | None:
    """The error of a run that failed; None if it succeeded or was stopped.

    What the worker reported as an invalid request (exit status 2) is not a ``RunFailed``.
    """
    if state.status == "failed":
        text = t("Run {run} failed at step {step}: {reason}", run=state.name, step=state.step,
                 reason=state.reason)  # fmt: skip
        kind = RunError if state.exit_status == RunError.exit_status else RunFailed
        return kind(_sentence(text), fix=state.fix, run=state.name)
    if state.status == "interrupted":
        text = t("Run {run} stopped at step {step}: {reason}.", run=state.name, step=state.step,
                 reason=state.reason)  # fmt: skip
        if state.checkpoint_step is not None:
            last = t("The last checkpoint is step {step}.", step=state.checkpoint_step)
            text = joined(text, last)
        return RunFailed(text, fix=state.fix, run=state.name)
    return None


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "。")) else f"{text}."


def _answers(events: list[Event]) -> list[Answers]:
    """Each fixed prompt with its first answer before and its last one after training."""
    samples = [e for e in events if e["type"] == "sample"]
    answers: list[Answers] = []
    none: Event = {"answer": ""}
    for prompt in dict.fromkeys(e["prompt"] for e in samples):
        mine = [e for e in samples if e["prompt"] == prompt]
        before = next((e for e in mine if e["stage"] == "before"), none)
        after = next((e for e in reversed(mine) if e["stage"] != "before"), none)
        cut = (each.get("stopped") is False for each in (before, after))
        answers.append(Answers(prompt, before["answer"], after["answer"], *cut))
    return answers


def _next(folder: RunFolder, state: RunStatus) -> list[str]:
    run = folder.name
    if state.status == "finished":
        if not state.declared.writes:
            return [command("chat", run)]
        return [
            command("chat", run),
            command("chat", run, "--against", state.model),
            command("export", run, "--to", DEFAULT, f"{run}-{DEFAULT}"),
        ]
    if state.is_live:
        return [command("runs", "follow", run), command("runs", "stop", run)]
    return [command("runs", "resume", run), command("runs", "show", run)]
