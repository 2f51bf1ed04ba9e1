"""One session of a run, from build to report: everything around the training loop."""

from __future__ import annotations

import time
from typing import Any

import torch

from tunery.i18n import t
from tunery.models.load import quiet
from tunery.runs import diagnosis
from tunery.runs.context import RunContext
from tunery.runs.curves import RunLog
from tunery.storage import full_disk
from tunery.train.build import build
from tunery.train.loop import Job, train
from tunery.train.state import final
from tunery.train.tell import report


def run(context: RunContext) -> str:
    """Train a run from its current step to its end or a stop.

    Returns:
        ``finished`` or ``stopped``; the state is saved in both cases.

    Raises:
        TuneryError: The run failed; the message says why.
        Stopped: A stop was requested before there was anything to save.
    """
    quiet()  # the libraries' bars and warnings would fill worker.log
    _reproducible(context)
    final.clean(context.folder)
    job = build(context)
    job.saver.checkpoints.clean()
    if not job.resumed:
        with context.phase("before"):
            job.measure.before(job.state)
            for kind, seconds in job.measure.took.items():
                job.pace.add_pause(kind, seconds, before=True)
        context.stop.check()
        job.pace.add_pause("start", time.monotonic() - context.started, before=True)
    with context.phase("train"):
        ending = train(job)
    if ending == "stopped":
        return ending
    best = _take_best(context, job)
    with context.phase("after"), job.optimizer.evaluating():
        job.measure.samples(job.state, "after")
    with context.phase("final"):
        path = _write_final(context, job)
    context.events.write("result", **_result(context, job, str(path), best))
    with context.phase("report"):
        report.write(context.folder)
    return "finished"


def _take_best(context: RunContext, job: Job) -> bool:
    """After early stopping, restore the best checkpoint if it is not the last step."""
    state = job.state
    if not state.stopped_early or state.best_step is None or state.best_step == state.step:
        return False
    job.saver.checkpoints.at(state.best_step).restore(job.optimizer, job.parallel)
    context.warn(
        "early-stop",
        t(
            "Stopped early at step {step}: no improvement for {count} evaluations. The "
            "result is the best checkpoint, step {best}.",
            step=state.step,
            count=state.evals_without_better,
            best=state.best_step,
        ),
    )
    return True


def _write_final(context: RunContext, job: Job) -> Any:
    while True:
        try:
            with job.optimizer.evaluating():
                model, tokenizer = job.policy.model, job.data.tokenizer
                return final.write(context.folder, job.adapter, model, tokenizer)
        except OSError as error:
            if full_disk(error) is None:
                raise
            job.saver.pause(error, t("waiting to write the result"))
            if not job.saver.wait():
                context.stop.check()
            context.events.write("status", status="running")


def _result(context: RunContext, job: Job, path: str, best: bool) -> dict[str, Any]:
    state = job.state
    events = RunLog(context.folder.events_file).refresh().thinned()
    step = state.best_step if best else state.step
    finding = diagnosis.diagnose([*events, {"type": "result", "step": step}])
    return {
        "path": path,
        "step": step,
        "best_step": state.best_step,
        "best_value": state.best_value,
        "tokens": state.tokens,
        "trained_tokens": state.trained_tokens,
        "train_seconds": round(state.elapsed_seconds, 3),
        "tokens_per_second": round(state.tokens / max(state.elapsed_seconds, 1e-9), 1),
        "pauses": job.pace.pauses(),
        "diagnosis": finding.as_dict(),
        "seconds": round(time.monotonic() - context.started, 3),
    }


def _reproducible(context: RunContext) -> None:
    """Enable deterministic algorithms on a CPU, where they cost nothing."""
    if context.device == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
