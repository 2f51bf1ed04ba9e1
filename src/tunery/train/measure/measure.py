"""What is measured before, during and after training, as events; and what the best step is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from tunery import faults
from tunery.chat.template import ChatTemplate
from tunery.config.data import Thinking
from tunery.config.evaluate import EvaluateConfig
from tunery.data.groups import TokenRow
from tunery.runs.events import EventWriter
from tunery.runs.signals import StopRequests
from tunery.train.feed.order import Order
from tunery.train.measure.evaluate import EvalResult, answer_prompts, mean_loss
from tunery.train.state.state import State

NUM_WORST = 5
WORST_CHARACTERS = 300


@dataclass
class Measure:
    """Measures one run. It never changes weights; it owns the state's fields about the best.

    Args:
        model: What is trained.
        template: How prompts are rendered; None where a model cannot chat.
        held_out: Rows for the evaluation loss; may be empty.
        probe: General rows for the forgetting score; may be empty.
        config: When and what.
        order: Turns steps into epochs.
        num_steps: Steps of the whole run.
        capacity: Most tokens in one forward pass.
        events: Gets eval and sample events.
        stop: A request to stop leaves a measurement unfinished; a resumed run repeats it.
        thinking: How prompts treat thinking (``data.thinking``).
    """

    model: nn.Module
    template: ChatTemplate | None
    held_out: Sequence[TokenRow]
    probe: Sequence[TokenRow]
    config: EvaluateConfig
    order: Order
    num_steps: int
    capacity: int
    events: EventWriter
    stop: StopRequests
    thinking: Thinking = "strip_history"

    def before(self, state: State) -> None:
        """Measure the untouched model: answers, the zero of forgetting, the first loss."""
        self.samples(state, "before")
        if self.config.every == "never":
            return
        held_out, probe = self._losses()
        if self.stop.stop():
            return
        state.probe_loss_before = probe.loss if probe else None
        if held_out or probe:
            self._write(state, held_out, 0.0 if probe else None, best=False)
        state.evaluated_at = state.step

    def due(self, state: State) -> bool:
        """Whether an evaluation belongs to the state's step and was not done yet."""
        every, step = self.config.every, state.step
        if every == "never" or state.evaluated_at >= step or step == 0:
            return False
        if step >= self.num_steps:
            return True
        return step % (self.order.steps_per_epoch if every == "epoch" else every) == 0

    def at_step(self, state: State) -> None:
        """Evaluate; note the best step and whether patience ran out."""
        if state.step < self.num_steps:
            self.samples(state, "eval")
        held_out, probe = self._losses()
        if self.stop.stop():
            return
        state.evaluated_at = state.step
        better = False
        if held_out is not None:
            better = math.isfinite(held_out.loss) and (
                state.best_loss is None or held_out.loss < state.best_loss
            )
            if better:
                state.best_loss, state.best_step = held_out.loss, state.step
            state.evals_without_better = 0 if better else state.evals_without_better + 1
            patience = self.config.patience
            state.stopped_early = patience is not None and state.evals_without_better >= patience
        forgetting = None
        if probe is not None and state.probe_loss_before is not None:
            forgetting = probe.loss - state.probe_loss_before
        if held_out is not None or forgetting is not None:
            self._write(state, held_out, forgetting, best=better)

    def samples(self, state: State, stage: str) -> None:
        """Answer the fixed prompts, one event each."""
        if self.template is None or self.stop.stop():
            return
        answers = answer_prompts(
            self.model,
            self.template,
            self.config.prompts,
            max_new_tokens=self.config.max_new_tokens,
            thinking=self.thinking,
            should_stop=self.stop.stop,
        )
        if self.stop.stop():
            return
        for answer in answers:
            self.events.write(
                "sample",
                step=state.step,
                stage=stage,
                prompt=answer.prompt,
                answer=answer.answer,
                stopped=answer.stopped,
            )

    def _losses(self) -> tuple[EvalResult | None, EvalResult | None]:
        return self._loss(self.held_out), self._loss(self.probe)

    def _loss(self, rows: Sequence[TokenRow]) -> EvalResult | None:
        if not rows or self.stop.stop():
            return None
        result = mean_loss(self.model, rows, capacity=self.capacity, should_stop=self.stop.stop)
        faults.point("eval", result=result)
        return result

    def _write(
        self, state: State, held_out: EvalResult | None, forgetting: float | None, *, best: bool
    ) -> None:
        self.events.write(
            "eval",
            step=state.step,
            epoch=round(self.order.epoch(state.step), 4),
            loss=held_out.loss if held_out else None,
            perplexity=held_out.perplexity if held_out else None,
            forgetting=forgetting,
            best=best,
            worst=self._worst(held_out),
        )

    def _worst(self, held_out: EvalResult | None) -> list[dict[str, Any]]:
        """The held-out rows that are foretold worst, with the text that was to be learned."""
        if held_out is None:
            return []
        found: list[dict[str, Any]] = []
        for place in held_out.worst(NUM_WORST):
            ids = self.held_out[place].input_ids
            text = self.template.decode(ids.tolist()) if self.template is not None else ""
            loss = round(held_out.row_losses[place], 4)
            found.append({"row": place + 1, "loss": loss, "text": text[:WORST_CHARACTERS]})
        return found
