"""Generation with a live model: during training, in an export, or with any model object.

The model may have changed since its last answer: its weights are read again on every call, so an
answer always reflects the current weights. Shapes: see fast/model.py.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from tunery.chat.history import too_long
from tunery.decode.batch import Batch, Job, Output
from tunery.decode.cache import PrefixStore
from tunery.decode.choose import TokenChooser
from tunery.decode.fast.lora import LoraLayers, is_plain_lora
from tunery.decode.fast.model import FastModel, matches, understood
from tunery.decode.general import GeneralModel
from tunery.decode.prepack import fits, prepacked
from tunery.engines.base import GREEDY, Delta, Ended, EndReason, SamplingOptions
from tunery.models.facts import UNBOUNDED, context_length

MAX_ROWS = 32
ACTIVE = "active"
"""The name under which the fast pass knows the active adapter of the live model."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer.

    Args:
        ids: Token ids without the stop token.
        ending: ``interrupted`` if ``should_stop`` ended it.
    """

    ids: list[int]
    ending: EndReason


class OnToken(Protocol):
    """Called with each token as it is chosen, except the stop token."""

    def __call__(self, prompt: int, token: int, /) -> object:
        """Receive a token of the answer to prompt number ``prompt``."""


class Decoder:
    """Answers prompts with a live model.

    Args:
        model: A causal language model of transformers, or one wrapped by PEFT; used in its current
            state, with the adapter on or off.
        fast: False always uses the general pass.
    """

    def __init__(self, model: nn.Module, *, fast: bool = True) -> None:
        self._model: Any = model
        base = _base_of(model)
        self._fast = fast and understood(base)
        self._probed = False
        self._context: int = context_length(base.config.to_dict()) or UNBOUNDED

    def answer(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        stop_ids: Collection[int],
        max_tokens: int,
        sampling: SamplingOptions | Sequence[SamplingOptions] = GREEDY,
        on_token: OnToken | None = None,
        on_answer: Callable[[int], object] | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> list[Answer]:
        """Answer every prompt.

        Args:
            prompts: Token ids, at least one per prompt.
            stop_ids: An answer ends when it chooses one of these.
            max_tokens: Maximum tokens per answer; fewer if the context length is reached.
            sampling: One for all, or one per prompt; a missing seed is 0, so that runs repeat.
            on_token: Called immediately with every token; it may raise to cancel.
            on_answer: Called with the number of complete answers whenever one completes.
            should_stop: Called before every step; True ends all answers at their current length.

        Returns:
            One answer per prompt, in the given order.

        Raises:
            EngineError: ``too_long``: a prompt leaves no position for an answer.
            ValueError: A prompt is empty, the model is in training mode, or the number of sampling
                options differs from the number of prompts.
        """
        alone = isinstance(sampling, SamplingOptions)
        samplings = [sampling] * len(prompts) if alone else list(sampling)
        if len(samplings) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts need as many samplings, got {len(samplings)}")
        if not all(len(prompt) for prompt in prompts):
            raise ValueError("a prompt must have at least one token")
        longest = max(map(len, prompts), default=0)
        if longest >= self._context:
            raise too_long(longest, self._context)
        if self._model.training:
            raise ValueError("generation needs the model in eval mode")
        work = _Work(len(prompts), on_token, on_answer)
        # Prompts of similar length run together: less padding where they share a cache.
        waiting = deque(sorted(range(len(prompts)), key=lambda number: len(prompts[number])))
        with contextlib.ExitStack() as stack:
            live = self._live(stack)
            batch = Batch(live)
            while waiting or len(batch):
                if should_stop is not None and should_stop():
                    break
                joins = live.reader.in_pieces or not len(batch)
                while joins and waiting and len(batch) < MAX_ROWS:
                    number = waiting.popleft()
                    prompt, mine = prompts[number], samplings[number]
                    chooser = TokenChooser(mine, seed=mine.seed or 0, prompt=prompt)
                    batch.join(
                        Job(
                            prompt, frozenset(stop_ids),
                            min(max_tokens, self._context - len(prompt)), (), [chooser],
                            work.taker(number), live.adapter, text=False,
                        )
                    )  # fmt: skip
                batch.step()
        return work.answers()

    def _live(self, stack: contextlib.ExitStack) -> _Live:
        """The model in its current state, ready to be read."""
        base, active = _base_of(self._model), _active_adapter(self._model)
        copied = sum(parameter.nbytes for parameter in base.parameters())
        # The order matters: only models of the supported classes have the layers checked for LoRA.
        if (
            self._fast
            and (active is None or (active != "" and is_plain_lora(self._model, active)))
            and fits(copied, str(base.device))
        ):
            reader = FastModel(base)
            adapter = None
            if active is not None:
                adapter = ACTIVE
                reader.adapters[ACTIVE] = LoraLayers(base, active)
            if self._probed or matches(reader, self._model, adapter):
                self._probed = True
                return _Live(reader, adapter)
            self._fast = False
        stack.enter_context(prepacked(self._model))
        return _Live(GeneralModel(lambda _: self._model, together=True), None)


class _Live:
    """The interface that ``Batch`` needs, for a model with its currently active adapter."""

    tokenizer: Any = None

    def __init__(self, reader: FastModel | GeneralModel, adapter: str | None) -> None:
        self.reader, self.adapter = reader, adapter
        self.prefixes = PrefixStore(0)

    def pass_for(self, adapter: str | None) -> FastModel | GeneralModel:
        """The only one."""
        return self.reader


class _Work:
    """The answers, filled as tokens arrive."""

    def __init__(
        self,
        count: int,
        on_token: OnToken | None,
        on_answer: Callable[[int], object] | None,
    ) -> None:
        self._ids: list[list[int]] = [[] for _ in range(count)]
        self._endings: list[EndReason] = ["interrupted"] * count
        self._on_token, self._on_answer = on_token, on_answer
        self._done = 0

    def taker(self, number: int) -> Callable[[list[Output]], None]:
        """A function that receives the events of one prompt's answer."""

        def take(outputs: list[Output]) -> None:
            for each in outputs:
                if isinstance(each, Delta):
                    self._ids[number] += each.token_ids
                    for token in each.token_ids if self._on_token else ():
                        self._on_token(number, token)  # type: ignore[misc]
                elif isinstance(each, Ended):
                    self._endings[number] = each.reason
                    self._done += 1
                    if self._on_answer is not None:
                        self._on_answer(self._done)

        return take

    def answers(self) -> list[Answer]:
        """All answers, in the order of the prompts."""
        pairs = zip(self._ids, self._endings, strict=True)
        return [Answer(ids, ending) for ids, ending in pairs]


def _base_of(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _active_adapter(model: Any) -> str | None:
    """The active adapter of a PEFT model: None for none, empty unless there is exactly one."""
    if not hasattr(model, "peft_config"):
        return None
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    active = {(tuple(layer.active_adapters), layer.disable_adapters) for layer in layers}
    if all(off for _, off in active):
        return None if layers else ""
    names = {name for names, _ in active for name in names}
    return names.pop() if len(names) == 1 and len(active) == 1 else ""
