"""Measure before, during and after training, write the events, and track the best step."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tunery import faults
from tunery.config.config import Config
from tunery.config.methods import MethodKind
from tunery.env import clipped
from tunery.methods.base import Method
from tunery.policy.policy import Policy
from tunery.runs.context import RunContext
from tunery.train.data import RunData
from tunery.train.feed.order import Order
from tunery.train.measure.evaluate import EvalResult, answer_prompts, evaluate, mean_nll
from tunery.train.measure.known import Known
from tunery.train.state.state import State
from tunery.types import Conversation, Message

NUM_WORST = 5
WORST_CHARACTERS = 4000
"""Length of a text of one of the worst rows in an event."""
BESIDE_CHARACTERS = 300
"""Length of its decoded tokens where its prompt and answer are there too."""


def evaluations_left(config: Config, order: Order, step: int, num_steps: int) -> int:
    """Number of evaluations still due once ``step`` is taken, that of this step included."""
    every = config.evaluate.every
    if every == "never":
        return 0
    return order.times_left(step, num_steps, order.steps_per_epoch if every == "epoch" else every)


@dataclass
class Measurements:
    """The measurements of one run. It never changes weights; it owns the state's fields about the
    best checkpoint.

    Args:
        context: Settings, events; a stop request interrupts a measurement, and a resumed run
            repeats it.
        policy: The model being trained.
        method: Computes the loss.
        data: Held-out rows, probe rows and the template.
        order: Converts steps to epochs.
        num_steps: Steps of the whole run.
        capacity: Maximum tokens per forward pass.
        known: The cache of the model before the first step; read and updated only then.
    """

    context: RunContext
    policy: Policy
    method: Method
    data: RunData
    order: Order
    num_steps: int
    capacity: int
    known: Known | None = None
    took: dict[str, float] = field(default_factory=dict[str, float])
    """Seconds of the newest ``answers`` and ``evaluation``."""

    def before(self, state: State) -> None:
        """Measure the unmodified model: answers, the forgetting baseline, the initial loss."""
        state.answered_before = True
        self.samples(state, "before")
        if self.context.config.evaluate.every == "never":
            return
        held_out, probe = self._losses(self.known)
        if self.context.stop.stop():
            return
        state.probe_loss_before = probe
        if held_out is not None or probe is not None:
            self._write(state, held_out, None if probe is None else 0.0, best=False)
        state.evaluated_at = state.step

    def due(self, state: State) -> bool:
        """Whether an evaluation is due at the state's step and has not been done yet."""
        every, step = self.context.config.evaluate.every, state.step
        if every == "never" or state.evaluated_at >= step or step == 0:
            return False
        if step >= self.num_steps:
            return True
        return step % (self.order.steps_per_epoch if every == "epoch" else every) == 0

    def left(self, step: int) -> int:
        """Number of evaluations still due once ``step`` is taken, that of this step included."""
        return evaluations_left(self.context.config, self.order, step, self.num_steps)

    def at_step(self, state: State) -> None:
        """Evaluate; record the best step and whether patience ran out."""
        if state.step < self.num_steps:
            self.samples(state, "eval")
        held_out, probe = self._losses(None)
        if self.context.stop.stop():
            return
        state.evaluated_at = state.step
        better = False
        if held_out is not None:
            kind = self.context.config.method
            measure = next(each for each in kind.measures if each.name == kind.best)
            value = held_out.measures.get(measure.name, held_out.loss)
            better = math.isfinite(value) and (
                state.best_value is None or measure.is_better(value, state.best_value)
            )
            if better:
                state.best_value, state.best_step = value, state.step
            state.evals_without_better = 0 if better else state.evals_without_better + 1
            patience = self.context.config.evaluate.patience
            state.stopped_early = patience is not None and state.evals_without_better >= patience
        forgetting = None
        if probe is not None and state.probe_loss_before is not None:
            forgetting = probe - state.probe_loss_before
        if held_out is not None or forgetting is not None:
            self._write(state, held_out, forgetting, best=better)

    def samples(self, state: State, stage: str) -> None:
        """Answer the configured prompts, or else those of some held-out rows; one event each."""
        if self.data.template is None or self.context.stop.stop():
            return
        began = time.monotonic()
        prompts = self._prompts(state)
        on_answer = self.context.counting("answers", len(prompts)) if prompts else None
        answers = answer_prompts(
            self.policy.model,
            self.data.template,
            prompts,
            max_new_tokens=self.context.config.evaluate.max_new_tokens,
            thinking=self.context.config.data.thinking,
            on_answer=on_answer,
            should_stop=self.context.stop.stop,
            known=self.known if stage == "before" else None,
        )
        self.took["answers"] = time.monotonic() - began
        if self.context.stop.stop():
            return
        for answer in answers:
            self.context.events.write(
                "sample",
                step=state.step,
                stage=stage,
                prompt=answer.prompt,
                answer=answer.answer,
                stopped=answer.stopped,
            )

    def _prompts(self, state: State) -> Sequence[Conversation]:
        named = self.context.config.evaluate.prompts
        if named:
            return [Conversation((Message("user", prompt),)) for prompt in named]
        return self.data.samples if state.answered_before else ()

    def _losses(self, known: Known | None) -> tuple[EvalResult | None, float | None]:
        """The losses of the held-out rows and of the probe rows."""
        began = time.monotonic()
        held_out, probe = self._held_out(), self._probe(known)
        self.took["evaluation"] = time.monotonic() - began
        return held_out, probe

    def _held_out(self) -> EvalResult | None:
        if not len(self.data.held_out) or self.context.stop.stop():
            return None
        result = evaluate(
            self.policy, self.method, self.data.held_out,
            capacity=self.capacity, should_stop=self.context.stop.stop,
            on_rows=self.context.counting("evaluation", len(self.data.held_out)),
        )  # fmt: skip
        faults.point("eval", result=result)
        return result

    def _probe(self, known: Known | None) -> float | None:
        if not self.data.probe or self.context.stop.stop():
            return None
        return mean_nll(
            self.policy, self.data.probe,
            capacity=self.capacity, should_stop=self.context.stop.stop, known=known,
            on_rows=self.context.counting("forgetting", len(self.data.probe)),
        )  # fmt: skip

    def _write(
        self, state: State, held_out: EvalResult | None, forgetting: float | None, *, best: bool
    ) -> None:
        self.context.events.write(
            "eval",
            step=state.step,
            epoch=round(self.order.epoch(state.step), 4),
            loss=held_out.loss if held_out else None,
            measures=held_out.measures if held_out else {},
            perplexity=held_out.perplexity if held_out and self._per_token else None,
            forgetting=forgetting,
            best=best,
            worst=self._worst(held_out),
        )

    @property
    def _per_token(self) -> bool:
        return self.context.config.method.unit == MethodKind.unit

    def _worst(self, held_out: EvalResult | None) -> list[dict[str, Any]]:
        """The held-out rows with the highest loss, with their text."""
        if held_out is None:
            return []
        found: list[dict[str, Any]] = []
        for place in held_out.worst(NUM_WORST):
            ids = self.data.held_out.group(place).rows[0].input_ids
            text = self.data.template.decode(ids.tolist()) if self.data.template is not None else ""
            loss = round(held_out.row_losses[place], 4)
            asked = self.data.held_out.question(place)
            said = zip(("prompt", "expected"), asked, strict=True) if asked else ()
            found.append(
                {
                    "row": place + 1,
                    "loss": loss,
                    "text": clipped(text, WORST_CHARACTERS if asked is None else BESIDE_CHARACTERS),
                    **{name: clipped(each, WORST_CHARACTERS) for name, each in said},
                }
            )
        return found
