"""The training loop: one file, top to bottom, for every method and every adapter.

    measure -> save -> stop or end -> one step -> measure ...

A step is a function of (weights, optimizer, seed, step number) alone: its rows come from
``Order``, its random numbers from ``seed_step``, its learning rate from ``schedule``. This makes a
resumed run bit-identical to an uninterrupted one. A stop in the middle of a step discards the
partial gradient; the whole step is repeated after the resume.
"""

from __future__ import annotations

import gc
import math
import resource
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from tunery import faults
from tunery.adapters.base import Adapter
from tunery.config.config import Config
from tunery.data.rows import Rows
from tunery.measures import LOSS, OBJECTIVE
from tunery.memory import is_out_of_memory
from tunery.methods.base import Method, combine
from tunery.optimizers.base import Optimizer
from tunery.optimizers.schedule import learning_rate
from tunery.parallel.base import Flags, Parallel
from tunery.policy.policy import Policy, evaluating
from tunery.runs.context import RunContext
from tunery.train.data import RunData
from tunery.train.feed.feed import Feed, StepBatches
from tunery.train.feed.order import Order
from tunery.train.measure.measure import Measurements
from tunery.train.pace import Pace
from tunery.train.state.saving import Saver
from tunery.train.state.state import State, seed_step
from tunery.train.tell import anomaly, first_batch, no_room

Ending = Literal["finished", "stopped"]


@dataclass
class Job:
    """Everything that the loop needs; made by ``assemble``.

    Args:
        context: Folder, settings, events, requests.
        data: Rows, template and tokenizer.
        adapter: Writes the result.
        method: Computes the loss.
        policy: The model being trained.
        rows: Training rows, including replay, as prepared by the method.
        order: Selects the rows of each step.
        num_steps: Steps of the whole run.
        optimizer: Optimizer over the trained weights.
        state: The current position of the run.
        measure: Runs the evaluations.
        saver: Writes the checkpoints.
        parallel: Distributes the run over devices.
        resumed: Whether the run resumes from a checkpoint.
    """

    context: RunContext
    data: RunData
    adapter: Adapter
    method: Method
    policy: Policy
    rows: Rows
    order: Order
    num_steps: int
    optimizer: Optimizer
    state: State
    measure: Measurements
    saver: Saver
    parallel: Parallel
    resumed: bool = False
    pace: Pace = field(default_factory=Pace, repr=False)

    @property
    def config(self) -> Config:
        """The settings."""
        return self.context.config

    def seconds_left(self, step: int) -> float:
        """Estimated seconds until the run has ended, when ``step`` has been taken."""
        evaluations = self.measure.left(step)
        pauses = {
            "evaluation": evaluations,
            "answers": max(1, evaluations),  # those of the last evaluation come at the end
            "save": self.saver.left(step, self.num_steps),
        }
        return self.pace.left(self.num_steps - step, pauses)

    def feed(self) -> Feed:
        """A new feed for the batches of its steps; the caller closes it."""
        packing = self.config.data.packing
        return Feed(self.rows, self.order, self.method, self.parallel, packing=packing)


def train(job: Job) -> Ending:
    """Train until the end, early stopping, or a stop request; the final state is always saved.

    Raises:
        RunFailed: Too many consecutive non-finite steps, non-finite weights, or a row that does
            not fit into memory.
        OSError: A disk error other than a full or read-only disk.
    """
    state, context, feed = job.state, job.context, job.feed()
    job.policy.model.train()
    try:
        if not job.saver.reserve(job.optimizer):
            return "stopped"
        while True:
            if job.measure.due(state):
                job.measure.took.clear()
                with job.optimizer.evaluating():
                    job.measure.at_step(state)
                for kind, seconds in job.measure.took.items():
                    job.pace.add_pause(kind, seconds)
                context.doing("")
            asked = Flags(stop=context.stop.stop(), save_due=job.saver.due(state))
            asked = job.parallel.agree(asked)
            done = state.step >= job.num_steps or state.stopped_early
            if asked.stop:
                context.events.write("status", status="stopping", reason=context.stop.reason)
            if asked.stop or done or asked.save_due:
                context.doing("save")
                began = time.monotonic()
                if not job.saver.save(state, job.optimizer):
                    return "stopped"
                job.pace.add_pause("save", time.monotonic() - began)
                context.doing("")
            if asked.stop or done:
                return "stopped" if asked.stop else "finished"
            take_step(job, feed)
    finally:
        feed.close()


def take_step(job: Job, feed: Feed) -> None:
    """Take one optimizer step and write its event; no effect if a stop arrives meanwhile."""
    state, step, started = job.state, job.state.step + 1, time.monotonic()
    while True:
        batches = feed.step(step, state.micro_batch_tokens, last=step >= job.num_steps)
        if step == 1:
            first_batch.write(job.context.folder, job.rows, batches, job.data.tokenizer)
        gradient = _gradient(job, step, batches)
        if not job.parallel.agree(Flags(out_of_memory=gradient is OUT_OF_MEMORY)).out_of_memory:
            break
        _halve(job, step, batches)
    if gradient is None:
        return
    assert isinstance(gradient, _Gradient)
    # The only device sync in a step: these values decide whether the step is taken.
    found = [gradient.loss, job.optimizer.grad_norm(), *gradient.sums_and_counts()]
    loss, grad_norm, *counted = torch.stack(found).tolist()
    rate = learning_rate(step, job.num_steps, job.config.optim)
    taken = math.isfinite(loss) and math.isfinite(grad_norm)
    if taken:
        job.optimizer.step(rate, grad_norm)
        state.method = job.method.after_step(gradient.facts)
    faults.point("after_step", step=step, optimizer=job.optimizer)
    seconds = time.monotonic() - started
    told, means = reported_loss(loss, means_of(gradient.sums, counted))
    state.step, state.tokens = step, state.tokens + batches.tokens
    state.trained_tokens += batches.trained
    state.elapsed_seconds += seconds
    state.non_finite_in_row = 0 if taken else state.non_finite_in_row + 1
    job.pace.add(seconds)
    job.context.events.write(
        "step",
        step=step,
        epoch=round(job.order.epoch(step), 4),
        loss=told,
        **({"measures": means} if means else {}),
        learning_rate=rate,
        grad_norm=grad_norm,
        taken=taken,
        tokens=batches.tokens,
        trained_tokens=batches.trained,
        tokens_per_second=round(batches.tokens / max(seconds, 1e-9), 1),
        seconds=round(seconds, 5),
        eta_seconds=round(job.seconds_left(step), 2),
        memory_bytes=memory_bytes(job.parallel.world.device),
    )
    if not taken:
        _tell_of_anomaly(job, step, batches, loss, grad_norm)


class _OutOfMemory:
    """Sentinel for a gradient that did not fit; keeps no reference to the error or its tensors."""


OUT_OF_MEMORY = _OutOfMemory()


class _Gradient:
    """Totals over a step's micro batches, besides the gradient itself.

    Attributes:
        loss: Mean loss over the global batch, 0-dim.
        sums: Measures as (sum, count), by name.
        facts: Values shared by all losses of the step.
    """

    def __init__(self, device: str) -> None:
        self.facts: Mapping[str, Tensor] = {}
        self.loss = torch.zeros((), device=device)
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}

    def add(self, loss: Tensor, sums: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self.loss += loss.detach()
        for name, (total, count) in sums.items():
            before = self.sums.get(name)
            self.sums[name] = (
                (total, count) if before is None else (before[0] + total, before[1] + count)
            )

    def sums_and_counts(self) -> list[Tensor]:
        return [each.float() for pair in self.sums.values() for each in pair]


def means_of(names: Iterable[str], counted: Sequence[float]) -> dict[str, float]:
    """The means of measures from their sums and counts, those with a non-zero count."""
    pairs = zip(names, counted[0::2], counted[1::2], strict=True)
    return {name: total / count for name, total, count in pairs if count}


def reported_loss(objective: float, means: dict[str, float]) -> tuple[float, dict[str, float]]:
    """The loss that a step reports, and its measures; see ``Loss.sums``."""
    if LOSS.name not in means:
        return objective, means
    own = {name: value for name, value in means.items() if name != LOSS.name}
    return means[LOSS.name], {**own, OBJECTIVE.name: objective}


def _gradient(job: Job, step: int, batches: StepBatches) -> _Gradient | _OutOfMemory | None:
    """Compute the gradient of the mean loss over the global batch into the optimizer's buffers.

    Returns:
        The totals; None if a stop was requested; OUT_OF_MEMORY if it did not fit.
    """
    seed_step(job.config.train.seed, step)
    job.optimizer.zero()
    found = _Gradient(job.parallel.world.device)
    try:
        facts = found.facts = _before_step(job, batches)
        for batch in batches.batches:
            if job.context.stop.stop():
                return None
            made = job.method.loss(job.policy, batch, facts)
            loss = combine(made.total, batches.units)
            faults.point("loss", step=step, loss=loss)
            (loss * job.parallel.world.size if job.parallel.world.size > 1 else loss).backward()
            found.add(loss, made.sums)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return OUT_OF_MEMORY
    faults.point("gradient", step=step, gradients=job.optimizer.gradients)
    return found


def _before_step(job: Job, batches: StepBatches) -> Mapping[str, Tensor]:
    """Values shared by all losses of the step, summed over all ranks."""
    if not batches.beside:
        return job.method.before_step(job.policy, ())
    with torch.no_grad(), evaluating(job.policy.model):
        facts = job.method.before_step(job.policy, batches.beside)
    return {name: job.parallel.add(value) for name, value in facts.items()}


def _halve(job: Job, step: int, batches: StepBatches) -> None:
    """Halve the micro batch; the global batch and its gradient stay the same."""
    gc.collect()
    if job.parallel.world.device != "cpu":
        torch.cuda.empty_cache()
    sizes = [int(job.rows.lengths[m].sum()) for m in batches.micro if len(m) > 1]
    if not sizes:
        row = max(batches.rows, key=lambda number: int(job.rows.lengths[number]))
        place = ", ".join(f"{key} {value}" for key, value in job.rows.origin(row).items())
        tokens = int(job.rows.lengths[row])
        raise no_room.row_too_large(
            job.config, job.policy.model, row=row, step=step, tokens=tokens, place=place
        )
    old, new = max(sizes), max(1, max(sizes) // 2)
    job.state.micro_batch_tokens = new
    job.context.events.write(
        "warning",
        code="out-of-memory",
        count=1,
        text=no_room.halved(step, old, new),
        step=step,
    )


def _tell_of_anomaly(
    job: Job, step: int, batches: StepBatches, loss: float, grad_norm: float
) -> None:
    file = job.context.folder.anomaly_file(step)
    found = anomaly.write(
        file, job.rows, batches, job.method, job.policy, _before_step(job, batches)
    )
    job.context.events.write(
        "anomaly",
        step=step,
        rows=[entry["row"] for entry in found],
        loss=loss,
        grad_norm=grad_norm,
        file=file.name,
    )
    if step >= job.num_steps and job.state.non_finite_in_row >= step:
        raise anomaly.nothing_learned(step, file)
    if job.state.non_finite_in_row >= job.config.train.max_non_finite:
        raise anomaly.give_up(step, job.state.non_finite_in_row, file)


def memory_bytes(device: str) -> int:
    """Peak memory so far, in bytes: of the accelerator, or of this process on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
