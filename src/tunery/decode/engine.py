"""What answers: one loaded base with its chat template, and the adapters on it.

``Engine`` is the protocol that chat and, later, servers talk to; ``TransformersEngine`` is the one
that runs here. An engine knows tokens and text; conversations are in conversation.py.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import transformers

from tunery.decode.generate import Ending, generate_all
from tunery.decode.options import GREEDY, Sampling
from tunery.decode.switch import AdapterSwitch
from tunery.decode.text import TextStream
from tunery.errors import EngineError
from tunery.i18n import t
from tunery.models.load import load_model, load_tokenizer, pick_device, pick_dtype

OnText = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer and what it took.

    Args:
        text: What the model said, control tokens shown as their spelling.
        ids: Its token ids, without the stop token.
        ending: ``stop``, ``length`` or ``interrupted``.
        num_prompt_tokens: Tokens the model read.
        first_token_seconds: From the request to the first token.
        seconds: From the request to the end.
    """

    text: str
    ids: list[int]
    ending: Ending
    num_prompt_tokens: int
    first_token_seconds: float
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second after the first one; 0 where there were not two."""
        rest = self.seconds - self.first_token_seconds
        return (len(self.ids) - 1) / rest if len(self.ids) > 1 and rest > 0 else 0.0


class Engine(Protocol):
    """One base model in memory, ready to answer with or without one of its adapters."""

    @property
    def tokenizer(self) -> Any:
        """The base's tokenizer."""
        ...

    @property
    def context_length(self) -> int:
        """Most tokens of prompt and answer together."""
        ...

    def attach(self, name: str, folder: Path) -> None:
        """Load an adapter (PEFT format) under a name."""
        ...

    def answer(
        self,
        prompt_ids: Sequence[int],
        *,
        adapter: str | None = None,
        stop_ids: frozenset[int],
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        stop_strings: Sequence[str] = (),
        on_text: OnText | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Reply:
        """Answer one prompt, handing out the text as it comes."""
        ...


class TransformersEngine:
    """Runs a model of transformers in this process.

    Args:
        folder: The base model's folder.
        dtype: ``auto``, ``fp32`` or ``bf16``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ModelError: The folder cannot be loaded, or there is no such device.
    """

    def __init__(self, folder: Path, *, dtype: str = "auto", device: str = "auto") -> None:
        quiet()
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.tokenizer = load_tokenizer(folder)
        model = load_model(folder, dtype=self.dtype, device=self.device)
        text_config = model.config.get_text_config()
        self.context_length = int(getattr(text_config, "max_position_embeddings", 0) or 1 << 20)
        self._switch = AdapterSwitch(model)

    def attach(self, name: str, folder: Path) -> None:
        """Load an adapter under a name.

        Raises:
            ModelError: It is not whole, or was made for another base.
        """
        self._switch.attach(name, folder)

    def model(self, adapter: str | None = None) -> Any:
        """The module that answers, wearing an attached adapter; for measuring losses."""
        return self._switch.wear(adapter)

    def answer(
        self,
        prompt_ids: Sequence[int],
        *,
        adapter: str | None = None,
        stop_ids: frozenset[int],
        max_new_tokens: int,
        sampling: Sampling = GREEDY,
        stop_strings: Sequence[str] = (),
        on_text: OnText | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> Reply:
        """Answer one prompt.

        Args:
            prompt_ids: Tokens so far, generation prompt included.
            adapter: An attached adapter's name; None answers as the bare base.
            stop_ids: Tokens that end the answer.
            max_new_tokens: Most tokens of the answer; never past the model's context.
            sampling: How tokens are drawn.
            stop_strings: Texts that end the answer and are left out of it.
            on_text: Given every piece of text at once; whole characters only.
            should_stop: Asked before every step.

        Raises:
            EngineError: The prompt fills the model's context.
        """
        room = self.context_length - len(prompt_ids)
        if room < 1:
            raise too_long(len(prompt_ids), self.context_length)
        stream = TextStream(self.tokenizer, stop_strings)
        started = time.perf_counter()
        first: list[float] = []

        def take(row: int, token: int) -> None:
            if not first:
                first.append(time.perf_counter())
            _hand(stream.push(token), on_text)

        model = self._switch.wear(adapter)
        (answer,) = generate_all(
            model,
            [prompt_ids],
            stop_ids=stop_ids,
            max_new_tokens=min(max_new_tokens, room),
            sampling=sampling,
            on_token=take,
            should_stop=lambda: stream.stopped or (should_stop is not None and should_stop()),
        )
        _hand(stream.end(), on_text)
        ended = time.perf_counter()
        return Reply(
            text=stream.text,
            ids=answer.ids,
            ending="stop" if stream.stopped else answer.ending,
            num_prompt_tokens=len(prompt_ids),
            first_token_seconds=(first[0] if first else ended) - started,
            seconds=ended - started,
        )


def too_long(num_tokens: int, context_length: int) -> EngineError:
    """The error for a prompt that leaves no room for an answer."""
    return EngineError(
        t(
            "The prompt has {found} tokens; the model reads {limit} at most, answer included.",
            found=num_tokens,
            limit=context_length,
        ),
        fix=t("Shorten it, or start anew with /reset."),
    )


def quiet() -> None:
    """Keep transformers' own bars and remarks out of an answer."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft)\b")


def _hand(piece: str, on_text: OnText | None) -> None:
    if piece and on_text is not None:
        on_text(piece)
