"""From a loaded model and token rows to the job that the loop runs, new or from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunery.adapters.base import ADAPTERS, Adapter
from tunery.chat.template import ChatTemplate
from tunery.data.groups import TokenRow
from tunery.data.rows import Rows
from tunery.methods.base import METHODS
from tunery.optimizers.adamw import FlatAdamW
from tunery.policy.forward import prepare
from tunery.runs.context import RunContext
from tunery.runs.folder import config_hash
from tunery.train.feed.order import Order
from tunery.train.loop import Job
from tunery.train.measure.measure import Measure
from tunery.train.memory import micro_batch_tokens
from tunery.train.state import drift
from tunery.train.state.checkpoint import Checkpoint, Checkpoints
from tunery.train.state.saving import Saver
from tunery.train.state.state import State, seed_step


@dataclass
class Parts:
    """What a job is put together from.

    Args:
        model: The loaded base, on its device.
        tokenizer: Saved beside a whole model.
        template: For prompts; None where a model cannot chat.
        rows: Training rows, replay included.
        held_out: Rows of the evaluation loss.
        probe: Rows of the forgetting score.
        adapter_folder: An adapter that the run goes on from.
        base_name: What the result names as its base.
        data_hash: Of the training data.
        facts: What a resume is compared in beside the settings.
        found: The checkpoint to go on from; None starts anew.
        allowed_drift: Differences from it that the user accepted.
    """

    model: Any
    tokenizer: Any
    template: ChatTemplate | None
    rows: Rows
    held_out: Sequence[TokenRow] = ()
    probe: Sequence[TokenRow] = ()
    adapter_folder: Path | None = None
    base_name: str = ""
    data_hash: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    found: Checkpoint | None = None
    allowed_drift: list[str] = field(default_factory=list)


@dataclass
class Built:
    """The job with what only the end of a run needs."""

    job: Job
    adapter: Adapter
    tokenizer: Any
    resumed: bool


def assemble(context: RunContext, parts: Parts) -> Built:
    """Attach the adapter, make the optimizer, restore the checkpoint, and tell the plan.

    Raises:
        ConfigError: The adapter does not fit the model.
        RunError: The checkpoint does not fit the run.
    """
    config, rows = context.config, parts.rows
    adapter: Adapter = ADAPTERS.get(config.adapter.type)(config.adapter)
    seed_step(config.train.seed, 0)
    model: Any = adapter.attach(
        parts.model, adapter=parts.adapter_folder, base_name=parts.base_name
    )
    if config.train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for why in prepare(model).why:
        context.warn("slow-path", f"This model is computed a slower way: {why}.")
    dtype = next(parts.model.parameters()).dtype
    optimizer = FlatAdamW(
        [(name, p) for name, p in model.named_parameters() if p.requires_grad], config.optim
    )
    state = State(num_threads=torch.get_num_threads())
    state.micro_batch_tokens = micro_batch_tokens(
        config, model, rows.lengths, dtype, context.device
    )
    if parts.found is not None:
        state = _resume(context, parts.found, optimizer, parts.allowed_drift)
    order = Order(len(rows), config.train.batch_size, config.train.seed)
    num_steps = order.num_steps(config.train.num_epochs, config.train.max_steps)
    saver = Saver(
        Checkpoints(
            context.folder.checkpoints_dir,
            config.checkpoint.keep,
            lambda into: adapter.write(model, parts.tokenizer, into),
            _manifest_facts(context, parts),
        ),
        config.checkpoint,
        order.steps_per_epoch,
        context.events,
        context.stop,
        saved_step=state.step if parts.found else -1,
    )
    measure = Measure(
        model, parts.template, parts.held_out, parts.probe, config.evaluate, order, num_steps,
        max(state.micro_batch_tokens, 1), context.events, context.stop, config.data.thinking,
    )  # fmt: skip
    job = Job(
        config, context.folder, model, METHODS.get(config.method.type)(), rows, order, num_steps,
        optimizer, state, measure, saver, context.events, context.stop, context.device, parts.tokenizer,
    )  # fmt: skip
    _tell_plan(context, job, dtype)
    return Built(job, adapter, parts.tokenizer, parts.found is not None)


def _manifest_facts(context: RunContext, parts: Parts) -> dict[str, Any]:
    return {
        "run": context.folder.name,
        "config_hash": config_hash(context.config),
        "data_hash": parts.data_hash,
        "versions": drift.versions(),
        "config": context.config.model_dump(mode="json"),
        "facts": parts.facts,
        "allowed_drift": parts.allowed_drift,
    }


def _resume(
    context: RunContext, found: Checkpoint, optimizer: FlatAdamW, allowed: list[str]
) -> State:
    state = found.restore(optimizer)
    for bad in found.rejected:
        context.warn("bad-checkpoint", f"{bad.reason} Step {found.step} is used instead.")
    context.events.write(
        "resumed",
        step=found.step,
        checkpoint=found.folder.name,
        rejected=[{"folder": bad.folder.name, "reason": bad.reason} for bad in found.rejected],
        allowed_drift=allowed,
    )
    return state


def _tell_plan(context: RunContext, job: Job, dtype: torch.dtype) -> None:
    rows, steps = job.rows, job.num_steps
    share = steps / job.order.steps_per_epoch
    context.events.write(
        "plan",
        num_steps=steps,
        steps_per_epoch=job.order.steps_per_epoch,
        trained_parameters=job.optimizer.num_parameters,
        total_parameters=sum(p.numel() for p in job.model.parameters()),
        tokens=int(rows.lengths.sum() * share),
        trained_tokens=int(rows.units.sum() * share),
        batch_size=job.config.train.batch_size,
        micro_batch_tokens=job.state.micro_batch_tokens,
        num_threads=job.state.num_threads,
        device=context.device,
        dtype=str(dtype).removeprefix("torch."),
    )
