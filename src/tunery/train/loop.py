"""The training loop: one file, top to bottom, for every method and every adapter.

    measure -> save -> stop or end -> one step -> measure ...

A step is a function of (weights, optimizer, seed, step number) alone: its rows come from
``Order``, its random numbers from ``seed_step``, its learning rate from ``schedule``. That is what
makes a resumed run equal to an uninterrupted one to the bit. A stop in the middle of a step drops
the half-made gradient; the step is done again, whole, after the resume.
"""

from __future__ import annotations

import gc
import math
import resource
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tunery import faults
from tunery.config.config import Config
from tunery.data.rows import Rows
from tunery.errors import RunFailed
from tunery.memory import is_out_of_memory
from tunery.methods.base import Method
from tunery.optimizers.adamw import FlatAdamW
from tunery.optimizers.schedule import learning_rate
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.runs.signals import StopRequests
from tunery.train.feed.feed import Feed, StepBatches
from tunery.train.feed.order import Order
from tunery.train.measure.measure import Measure
from tunery.train.state.saving import Saver
from tunery.train.state.state import State, seed_step
from tunery.train.tell import anomaly, first_batch

Ending = Literal["finished", "stopped"]


@dataclass
class Job:
    """All that the loop works with; ``build`` makes it."""

    config: Config
    folder: RunFolder
    model: nn.Module
    method: Method
    rows: Rows
    order: Order
    num_steps: int
    optimizer: FlatAdamW
    state: State
    measure: Measure
    saver: Saver
    events: EventWriter
    stop: StopRequests
    device: str
    tokenizer: Any = None
    _seconds_a_step: float | None = field(default=None, repr=False)


def train(job: Job) -> Ending:
    """Train until the end, early stopping, or a request to stop; both ends are saved.

    Raises:
        RunFailed: Non-finite steps in a row, non-finite weights, or a row that does not fit
            into memory.
        OSError: The disk, for a reason that does not pass.
    """
    state = job.state
    feed = Feed(job.rows, job.order, job.method, packing=job.config.data.packing, device=job.device)
    job.model.train()
    try:
        while True:
            if job.measure.due(state):
                job.measure.at_step(state)
            stopping = job.stop.stop()
            done = state.step >= job.num_steps or state.stopped_early
            if stopping:
                job.events.write("status", status="stopping", reason=job.stop.reason)
            if (stopping or done or job.saver.due(state)) and not job.saver.save(
                state, job.optimizer
            ):
                return "stopped"
            if stopping or done:
                return "stopped" if stopping else "finished"
            take_step(job, feed)
    finally:
        feed.close()


def take_step(job: Job, feed: Feed) -> None:
    """Do one optimizer step and tell of it; without effect if a stop came meanwhile."""
    state, step, started = job.state, job.state.step + 1, time.monotonic()
    while True:
        batches = feed.step(step, state.micro_batch_tokens, last=step >= job.num_steps)
        if step == 1:
            first_batch.write(job.folder, job.rows, batches, job.tokenizer)
        loss = _gradient(job, step, batches)
        if loss is not OUT_OF_MEMORY:
            break
        _halve(job, step, batches)
    if loss is None:
        return
    assert isinstance(loss, Tensor)
    # The one wait for the device in a step: the step must not be taken before this is known.
    loss_value, grad_norm = torch.stack([loss, job.optimizer.grad_norm()]).tolist()
    rate = learning_rate(step, job.num_steps, job.config.optim)
    taken = math.isfinite(loss_value) and math.isfinite(grad_norm)
    if taken:
        job.optimizer.step(rate, grad_norm)
    faults.point("after_step", step=step, optimizer=job.optimizer)
    seconds = time.monotonic() - started
    state.step, state.tokens = step, state.tokens + batches.tokens
    state.trained_tokens += batches.units
    state.elapsed_seconds += seconds
    state.non_finite_in_row = 0 if taken else state.non_finite_in_row + 1
    job._seconds_a_step = _smooth(job._seconds_a_step, seconds)
    job.events.write(
        "step",
        step=step,
        epoch=round(job.order.epoch(step), 4),
        loss=loss_value,
        learning_rate=rate,
        grad_norm=grad_norm,
        taken=taken,
        tokens=batches.tokens,
        trained_tokens=batches.units,
        tokens_per_second=round(batches.tokens / max(seconds, 1e-9), 1),
        seconds=round(seconds, 5),
        eta_seconds=round(job._seconds_a_step * (job.num_steps - step), 2),
        memory_bytes=memory_bytes(job.device),
    )
    if not taken:
        _tell_of_anomaly(job, step, batches, loss_value, grad_norm)


class _OutOfMemory:
    """The answer of a gradient that did not fit; its error is gone, and its tensors with it."""


OUT_OF_MEMORY = _OutOfMemory()


def _gradient(job: Job, step: int, batches: StepBatches) -> Tensor | _OutOfMemory | None:
    """Compute the gradient of the mean loss over the global batch into the flat buffers.

    Returns:
        The mean loss, a 0-dim tensor; None if a stop came; OUT_OF_MEMORY if it did not fit.
    """
    seed_step(job.config.train.seed, step)
    job.optimizer.zero()
    total = torch.zeros((), device=job.device)
    try:
        for batch in batches.batches:
            if job.stop.stop():
                return None
            loss_sum, _ = job.method.loss(job.model, batch)
            # Divided by the units of the whole global batch: how it was divided does not matter.
            loss = loss_sum / max(1, batches.units)
            faults.point("loss", step=step, loss=loss)
            loss.backward()
            total += loss.detach()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return OUT_OF_MEMORY
    faults.point("gradient", step=step, gradients=job.optimizer.gradients)
    return total


def _halve(job: Job, step: int, batches: StepBatches) -> None:
    """Make the micro batch half as large; the global batch and its gradient stay what they were."""
    gc.collect()
    if job.device != "cpu":
        torch.cuda.empty_cache()
    sizes = [int(job.rows.lengths[m].sum()) for m in batches.micro if len(m) > 1]
    if not sizes:
        row = max(batches.rows, key=lambda number: int(job.rows.lengths[number]))
        place = ", ".join(f"{key} {value}" for key, value in job.rows.origin(row).items())
        tokens = int(job.rows.lengths[row])
        raise RunFailed(
            f"Out of memory: one row alone does not fit. The longest of step {step} has {tokens} "
            f"tokens ({place}).",
            fix="Set train.gradient_checkpointing to true, lower data.max_length below "
            f"{tokens}, lower adapter.rank, or take a smaller model.",
            row=row,
            step=step,
        )
    old, new = max(sizes), max(1, max(sizes) // 2)
    job.state.micro_batch_tokens = new
    job.events.write(
        "warning",
        code="out-of-memory",
        count=1,
        text=f"Out of memory at step {step} with {old} tokens at once. From now on at most {new}; "
        "batch size and gradient stay the same.",
        step=step,
    )


def _tell_of_anomaly(
    job: Job, step: int, batches: StepBatches, loss: float, grad_norm: float
) -> None:
    file = job.folder.anomaly_file(step)
    found = anomaly.write(file, job.rows, batches, job.method, job.model, job.device)
    job.events.write(
        "anomaly",
        step=step,
        rows=[entry["row"] for entry in found],
        loss=loss,
        grad_norm=grad_norm,
        file=file.name,
    )
    if job.state.non_finite_in_row >= job.config.train.max_non_finite:
        raise anomaly.give_up(step, job.state.non_finite_in_row, file)


def _smooth(mean: float | None, value: float) -> float:
    return value if mean is None else 0.9 * mean + 0.1 * value


def memory_bytes(device: str) -> int:
    """Peak memory so far: of the accelerator, or of this process on a CPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
