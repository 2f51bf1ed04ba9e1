"""Assemble the job that the loop runs from a loaded model and token rows, new or resumed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tunery.adapters.base import Adapter
from tunery.i18n import t
from tunery.methods.base import Method
from tunery.models.architectures import no_checkpointing
from tunery.models.causal import not_causal
from tunery.models.heads import train_head
from tunery.models.quantized import num_parameters
from tunery.models.router import router_loss
from tunery.optimizers.base import Optimizer
from tunery.optimizers.groups import param_groups
from tunery.optimizers.length import length, length_in_one_sum
from tunery.parallel.base import Parallel
from tunery.parallel.solo import Solo
from tunery.policy.causal import is_causal
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare
from tunery.runs.context import RunContext
from tunery.runs.folder import config_hash
from tunery.train.data import RunData
from tunery.train.feed.order import Order
from tunery.train.loop import Job
from tunery.train.measure.known import Known
from tunery.train.measure.measure import Measurements
from tunery.train.memory import micro_batch_tokens
from tunery.train.state import drift
from tunery.train.state.checkpoint import Checkpoint, Checkpoints
from tunery.train.state.saving import Saver, often
from tunery.train.state.state import State, seed_step

LENGTH, EXACT = "gradient_length", "chunks"
"""Manifest key and value for the chunked gradient norm; older checkpoints used a single sum."""


@dataclass
class Base:
    """The model that a run starts from.

    Args:
        model: The loaded model, on its device.
        name: The base model's name as recorded in the result.
        adapter_folder: Folder of the adapter that the run continues from.
        facts: Values besides the settings that a resume compares.
        known: Cached measurements of the model from earlier runs.
    """

    model: Any
    name: str = ""
    adapter_folder: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    known: Known | None = None


def assemble(
    context: RunContext,
    data: RunData,
    base: Base,
    *,
    found: Checkpoint | None = None,
    allowed_drift: list[str] | None = None,
) -> Job:
    """Attach the adapter, make the optimizer, restore the checkpoint, and write the plan event.

    Args:
        context: The run.
        data: Its rows; ``rows`` includes the replay rows.
        base: The model it starts from; changed in place.
        found: The checkpoint to resume from; None starts from scratch.
        allowed_drift: Differences from the checkpoint that the user accepted.

    Raises:
        ConfigError: The adapter does not fit the model, or the model does not support gradient
            checkpointing.
        ModelError: The model is not causal.
        RunError: The checkpoint does not fit the run.
    """
    config, parallel = context.config, Solo(context.device)
    adapter: Adapter = config.adapter.make()
    dtype = next(p.dtype for p in base.model.parameters() if p.is_floating_point())
    total = num_parameters(base.model)  # those of an adapter are added
    model = _attached(context, base, adapter)
    policy = Policy(model, off=adapter.off(model))
    parallel.wrap(policy)
    method: Method = config.method.make()
    rows = method.prepare(policy, data.rows, context, name="train")
    data.held_out = method.prepare(policy, data.held_out, context, name="held_out")
    method.prepared()
    groups = param_groups(config.optim, model, config.adapter.rate_scale)
    optimizer: Optimizer = config.optim.make(groups)
    state = State(num_threads=torch.get_num_threads())
    state.micro_batch_tokens = micro_batch_tokens(
        config, model, rows.lengths, dtype, context.device, others=method.others
    )
    allowed = allowed_drift or []
    if found is not None:
        if found.manifest.get(LENGTH) != EXACT:
            optimizer.length = length_in_one_sum
        state = _resume(context, found, optimizer, parallel, allowed)
        method.resume(state.method)
    order = Order(len(rows), config.train.batch_size, config.train.seed)
    num_steps = order.num_steps(config.train.num_epochs, config.train.max_steps)
    if remark := often(config.checkpoint, order.steps_per_epoch, num_steps):
        context.warn("often", remark)
    saver = Saver(
        Checkpoints(
            context.folder.checkpoints_dir,
            config.checkpoint.keep,
            lambda into: adapter.write(model, data.tokenizer, into),
            _manifest_facts(context, data, base, allowed, optimizer),
            parallel,
        ),
        config.checkpoint,
        order.steps_per_epoch,
        context.events,
        context.stop,
        saved_step=state.step if found else -1,
    )
    capacity = max(state.micro_batch_tokens, 1)
    known = None
    if base.known is not None and base.adapter_folder is None:
        known = base.known.with_adapter(
            settings=config.adapter.model_dump(mode="json"), seed=config.train.seed
        )
    measure = Measurements(context, policy, method, data, order, num_steps, capacity, known)
    job = Job(
        context, data, adapter, method, policy, rows, order, num_steps, optimizer, state, measure,
        saver, parallel, resumed=found is not None,
    )  # fmt: skip
    _tell_plan(job, dtype, total)
    return job


def _attached(context: RunContext, base: Base, adapter: Adapter) -> Any:
    """Prepare the model for training with the fastest exact kernels; warn about slow paths."""
    config = context.config
    if not is_causal(base.model, base.known):
        raise not_causal(base.name or config.model.name)
    seed_step(config.train.seed, 0)
    model: Any = adapter.attach(base.model, adapter=base.adapter_folder, base_name=base.name)
    train_head(model)
    for remark in adapter.remarks(model):
        context.warn("adapter", remark)
    if remark := router_loss(base.model.config):
        context.warn("router", remark)
    if config.train.gradient_checkpointing:
        if not base.model.supports_gradient_checkpointing:
            raise no_checkpointing(base.model.config.model_type)
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for why in prepare(model, base.known).why:
        context.warn("slow-path", t("This model uses a slower code path: {why}.", why=why))
    return model


def _manifest_facts(
    context: RunContext,
    data: RunData,
    base: Base,
    allowed_drift: list[str],
    optimizer: Optimizer,
) -> dict[str, Any]:
    exact = {LENGTH: EXACT} if optimizer.length is length else {}
    return {
        **exact,
        "run": context.folder.name,
        "config_hash": config_hash(context.config),
        "data_hash": data.hash,
        "versions": drift.versions(),
        "config": context.config.model_dump(mode="json"),
        "facts": base.facts,
        "allowed_drift": allowed_drift,
    }


def _resume(
    context: RunContext,
    found: Checkpoint,
    optimizer: Optimizer,
    parallel: Parallel,
    allowed: list[str],
) -> State:
    state = found.restore(optimizer, parallel)
    for bad in found.rejected:
        instead = t("{reason} Step {step} is used instead.", reason=bad.reason, step=found.step)
        context.warn("bad-checkpoint", instead)
    context.events.write(
        "resumed",
        step=found.step,
        checkpoint=found.folder.name,
        rejected=[{"folder": bad.folder.name, "reason": bad.reason} for bad in found.rejected],
        allowed_drift=allowed,
    )
    return state


def _tell_plan(job: Job, dtype: torch.dtype, total_parameters: int) -> None:
    rows, steps = job.rows, job.num_steps
    share = steps / job.order.steps_per_epoch
    job.context.events.write(
        "plan",
        num_steps=steps,
        max_steps=job.config.train.max_steps,
        steps_per_epoch=job.order.steps_per_epoch,
        trained_parameters=job.optimizer.num_parameters,
        total_parameters=total_parameters,
        tokens=int(rows.lengths.sum() * share),
        trained_tokens=int(rows.trained.sum() * share),
        batch_size=job.config.train.batch_size,
        micro_batch_tokens=job.state.micro_batch_tokens,
        num_threads=job.state.num_threads,
        device=job.context.device,
        measures=[measure.as_dict() for measure in job.config.method.reported()],
        best=job.config.method.best,
        loss_per=job.config.method.unit,
        produces=job.config.method.produces,
        dtype=str(dtype).removeprefix("torch."),
    )
