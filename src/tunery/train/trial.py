"""Estimate a run by trying it out: ``python -m tunery.train.trial FOLDER [--measure]``.

Tokenizes the rows (into the same cache that the run will use) and prints one JSON object with
their counts. With ``--measure`` it also loads the model and takes a few real steps, the first on
the longest rows, to measure memory and time. FOLDER is a temporary run folder; no result is saved
in it.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tunery.adapters.base import Adapter
from tunery.config.config import Config
from tunery.config.load import read_frozen
from tunery.data.rows import Rows
from tunery.errors import TuneryError
from tunery.models import load
from tunery.models.computes import expected_dtype
from tunery.models.heads import train_head
from tunery.models.quantized import Quantizer
from tunery.models.resolve import Resolved, resolve
from tunery.models.router import router_loss
from tunery.optimizers.groups import param_groups
from tunery.runs.context import RunContext
from tunery.runs.device import DeviceLock
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.runs.signals import StopRequests
from tunery.train.build import build, read_data
from tunery.train.feed.order import Order
from tunery.train.loop import Job, take_step
from tunery.train.measure import replay
from tunery.train.measure.measure import evaluations_left
from tunery.train.memory import free_memory_bytes
from tunery.train.state.saving import often, saves_left
from tunery.workers.log import read_events
from tunery.workers.process import Control
from tunery.workers.quick_end import end_at_once

LONG_STEPS, USUAL_STEPS = 2, 3
EVALUATED = 64


def main(argv: list[str]) -> int:
    """Print the counts (and measurements) as JSON; an error is printed as JSON too."""
    folder = RunFolder(Path(argv[0]).absolute())
    try:
        with EventWriter(folder.events_file) as events:
            print(json.dumps(try_out(folder, events, measure="--measure" in argv)))
    except TuneryError as error:
        print(json.dumps(error.stored() | {"exit_status": error.exit_status}))
        return error.exit_status
    return 0


def try_out(folder: RunFolder, events: EventWriter, *, measure: bool) -> dict[str, Any]:
    """Count the rows and tokens of a temporary run folder, and measure steps if requested.

    Raises:
        TuneryError: The rows or the model cannot be used.
    """
    config = read_frozen(folder.config_file)
    device = load.pick_device(config.model.device)
    context = RunContext(folder, config, {}, events, StopRequests(Control(folder)), device)
    base = resolve(config.model.name)
    parameters = _weights(context, base)  # first: names that the model lacks need no row read
    data = read_data(context, base)
    replayed, _ = replay.choose(data.general, config.data.replay, seed=config.train.seed)
    found = _counts(data.rows)
    order = Order(len(data.rows) + len(replayed), config.train.batch_size, config.train.seed)
    num_steps = order.num_steps(config.train.num_epochs, config.train.max_steps)
    if remark := often(config.checkpoint, order.steps_per_epoch, num_steps):
        context.warn("often", remark)
    found |= {
        "held_out": len(data.held_out),
        "held_out_trained_tokens": int(data.held_out.trained.sum()),
        "replay_rows": len(replayed),
        "num_steps": num_steps,
        "steps_per_epoch": order.steps_per_epoch,
        "pauses": _pauses(config, order),
        "device": device,
        "dtype": str(
            expected_dtype(
                base.model_folder,
                dtype=config.model.dtype,
                device=device,
                produces=config.method.produces,
            )
        ).removeprefix("torch."),
        "available_bytes": free_memory_bytes(device),
        "rows_event": _last(folder, "rows"),
        "parameters": parameters,
        "warnings": _warnings(folder),
    }
    if measure:
        with DeviceLock(device, run=f"plan-{os.getpid()}"):
            found["measured"] = _measure(replace(context, config=_without_replay(config)))
    return found


def _weights(context: RunContext, base: Resolved) -> dict[str, Any]:
    """Count all, trainable and quantized parameters without loading values; warn about others.

    Raises:
        ConfigError: The adapter names modules that the model does not have.
    """
    config = context.config
    adapter: Adapter = config.adapter.make()
    model = load.skeleton(base.model_folder, produces=config.method.produces)
    count = sum(param.numel() for param in model.parameters())
    quantizer: Quantizer = config.quantization.make()
    linear = quantizer.linear(model)
    for remark in quantizer.remarks(model):
        context.warn("quantization", remark)
    if remark := router_loss(model.config):
        context.warn("router", remark)
    if base.base is not None and config.adapter.writes == "adapter":
        return {"trained": base.num_parameters, "all": count, "linear": linear}
    attached = adapter.attach(model, adapter=None, base_name="")
    train_head(attached)
    for remark in adapter.remarks(attached):
        context.warn("adapter", remark)
    param_groups(config.optim, attached)  # a rule that matches nothing is refused here already
    trained = sum(param.numel() for param in attached.parameters() if param.requires_grad)
    return {"trained": trained, "all": count, "linear": linear}


def _pauses(config: Config, order: Order) -> dict[str, int]:
    """How often a run pauses between its steps, by kind as in ``Job.seconds_left``; starts once."""
    steps = order.num_steps(config.train.num_epochs, config.train.max_steps)
    evaluations = evaluations_left(config, order, 1, steps)
    saves = saves_left(config.checkpoint, order.steps_per_epoch, 1, steps)
    return {
        "start": 1, "evaluation": evaluations, "answers": max(1, evaluations), "save": saves,
    }  # fmt: skip


def _without_replay(config: Config) -> Config:
    """The settings without replay answers, which take long and are not part of a step."""
    replayed = config.data.replay.model_copy(update={"num_prompts": 0})
    data = config.data.model_copy(update={"replay": replayed})
    return config.model_copy(update={"data": data})


def _counts(rows: Rows) -> dict[str, Any]:
    return {
        "rows": len(rows),
        "tokens": int(rows.lengths.sum()),
        "trained_tokens": int(rows.trained.sum()),
        "longest": int(rows.lengths.max(initial=0)),
        "mean": round(float(rows.lengths.mean()), 1) if len(rows) else 0.0,
    }


def _measure(context: RunContext) -> dict[str, Any]:
    """Take real steps: on the longest rows for memory, on typical ones for time; and evaluate."""
    began = time.monotonic()
    job = build(context)
    pauses = _evaluate(job)
    pauses["start"] = time.monotonic() - began  # a run also evaluates before its first step
    job.policy.model.train()
    size = context.config.train.batch_size
    longest = np.argsort(job.rows.lengths, kind="stable")[-size:]
    whole = job.rows
    job.rows = whole.only(longest)
    _steps(job, Order(len(job.rows), size, context.config.train.seed), LONG_STEPS)
    job.rows, usual = whole, Order(len(whole), size, context.config.train.seed)
    first = job.state.step
    _steps(job, usual, USUAL_STEPS)
    steps = [e for e in read_events(context.folder.events_file)[0] if e["type"] == "step"]
    timed = [e for e in steps if e["step"] > first]
    tokens, seconds = sum(e["tokens"] for e in timed), sum(e["seconds"] for e in timed)
    return {
        "tokens_per_second": round(tokens / seconds, 1),
        "peak_bytes": max(int(e["memory_bytes"] or 0) for e in steps),
        "micro_batch_tokens": job.state.micro_batch_tokens,
        "trained_parameters": job.optimizer.num_parameters,
        "steps": len(steps),
        "pauses": {kind: round(spent, 3) for kind, spent in pauses.items()},
    }


def _evaluate(job: Job) -> dict[str, float]:
    """Evaluate at most ``EVALUATED`` held-out rows; seconds of a whole evaluation, by kind."""
    measure = job.measure
    count = len(measure.data.held_out)
    if count > EVALUATED:
        held_out = measure.data.held_out.only(np.arange(EVALUATED))
        measure.data = replace(measure.data, held_out=held_out)
    state = replace(job.state, answered_before=True)
    if job.config.evaluate.every == "never":
        measure.samples(state, "before")
    else:
        measure.at_step(state)
    times = dict(measure.took)
    if "evaluation" in times:
        times["evaluation"] *= max(1.0, count / EVALUATED)
    return times


def _steps(job: Job, order: Order, count: int) -> None:
    job.order = order
    job.num_steps = job.state.step + count
    feed = job.feed()
    try:
        for _ in range(count):
            take_step(job, feed)
    finally:
        feed.close()


def _warnings(folder: RunFolder) -> list[dict[str, Any]]:
    """Warnings about anything but the rows, which were checked before."""
    said = ("template", "too-long", "adapter", "router", "quantization")
    events = read_events(folder.events_file)[0]
    return [e for e in events if e["type"] == "warning" and e["code"] in said]


def _last(folder: RunFolder, kind: str) -> dict[str, Any]:
    events, _ = read_events(folder.events_file)
    found = next((e for e in reversed(events) if e["type"] == kind), {})
    return {k: v for k, v in found.items() if k not in ("seq", "time", "clock", "type")}


if __name__ == "__main__":
    end_at_once(main(sys.argv[1:]))
