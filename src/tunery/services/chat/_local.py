"""Chat in this process: which models answer, with which base, adapter and template.

An engine that is already running is used; otherwise one is loaded in this process when the first
model is needed, so that invalid requests are rejected before anything heavy starts.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunery.chat import builtin
from tunery.engines import find
from tunery.engines.base import Engine, SamplingOptions
from tunery.errors import EngineError, ModelError
from tunery.i18n import t
from tunery.models import heads
from tunery.models.ensure import ensure
from tunery.models.progress import Progress
from tunery.models.resolved import Resolved
from tunery.services.chat._speaker import Reply, Settings, Speaker
from tunery.services.chat._trained import trained_with

BASE = "base"
Told = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Said:
    """The answer of one speaker.

    Args:
        label: The speaker's label.
        reply: The answer and its statistics.
        num_forgotten: Oldest messages left out because they exceed the model's context length.
    """

    label: str
    reply: Reply
    num_forgotten: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        return {
            "model": self.label,
            "answer": self.reply.text,
            "ending": self.reply.ending,
            "prompt_tokens": self.reply.num_prompt_tokens,
            "tokens": len(self.reply.ids),
            "seconds": round(self.reply.seconds, 4),
            "first_token_seconds": round(self.reply.first_token_seconds, 4),
            "tokens_per_second": round(self.reply.tokens_per_second, 2),
            "forgotten_messages": self.num_forgotten,
        }


def choose_sampling(
    *,
    temperature: float | None = None,
    top_p: float | None = None,
    top_k: int | None = None,
    repetition_penalty: float | None = None,
    seed: int | None = None,
    greedy: bool = False,
) -> SamplingOptions:
    """Turn the given options into sampling options; without any, decoding is greedy.

    Returns:
        Sampling options whose seed is always a number, so that it can be shown.

    Raises:
        EngineError: A value is out of bounds, or greedy is combined with a sampling option.
    """
    drawing = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "seed": seed}
    given = [name for name, value in drawing.items() if value is not None]
    if greedy and given and temperature != 0:
        raise EngineError(
            t("--greedy cannot be combined with --{name}: greedy answers are not sampled.",
              name=given[0].replace("_", "-")),
            fix=t("Remove one of the two."),
        )  # fmt: skip
    if temperature is None:
        temperature = 1.0 if given and not greedy else 0.0
    return SamplingOptions(
        temperature=temperature,
        top_p=1.0 if top_p is None else top_p,
        top_k=0 if top_k is None else top_k,
        repetition_penalty=1.0 if repetition_penalty is None else repetition_penalty,
        seed=random.SystemRandom().randrange(1 << 31) if seed is None else seed,
    )


@dataclass
class LoadedModels:
    """The base models loaded in this process; two speakers with the same base share it.

    Args:
        template: Chat template for all models instead of their own; None for each model's own.
        device: As ``model.device``.
        dtype: As ``model.dtype``; ``auto`` is what a run was trained in, or what is fast here.
        progress: Called with the progress of downloads.
        on_notice: Called with remarks for the user.
    """

    template: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    progress: Progress | None = None
    on_notice: Told = lambda text: None
    _engines: dict[tuple[Path, str], Engine] = field(
        default_factory=dict[tuple[Path, str], "Engine"]
    )

    def find(self, name: str, *, beside: Resolved | None = None) -> Resolved:
        """Resolve a name, downloading what is missing; ``base`` is the base of ``beside``.

        Raises:
            ModelError: There is no such model, or ``beside`` has no base.
        """
        if name == BASE and beside is not None:
            return self._base_of(beside)
        return ensure(name, progress=self.progress)

    def speaker(self, label: str, found: Resolved) -> Speaker:
        """Load the model if necessary and make a speaker of it.

        Raises:
            ModelError: The model or its template cannot be used.
            UnknownName: No such template.
        """
        heads.require_writer(found)
        config = trained_with(found)
        dtype = config.model.dtype if config and self.dtype == "auto" else self.dtype
        engine = self._engine(found.model_folder, dtype)
        from tunery.chat.template import ChatTemplate

        own = self.template or (config.model.template if config else None)
        template = ChatTemplate.load(tokenizer_of(found), own, model=found.model_folder)
        for notice in (*found.notes, *template.notices):
            self.on_notice(notice)
        return Speaker(
            label,
            engine,
            asyncio.run(engine.status()).context_length,
            template,
            str(found.path) if found.base is not None else None,
            config.data.thinking if config else "strip_history",
        )

    def _engine(self, folder: Path, dtype: str) -> Engine:
        key = (folder.resolve(), dtype)
        if key not in self._engines:
            device = self.device
            other = find.running(folder, dtype=dtype, device=device)
            self._engines[key] = other or find.here(folder, dtype=dtype, device=device)
        return self._engines[key]

    def _base_of(self, found: Resolved) -> Resolved:
        if found.base is not None:
            return found.base
        config = trained_with(found)
        if config is not None:
            return ensure(config.model.name, progress=self.progress)
        raise ModelError(
            t("--against base: {name} is a base model itself.", name=found.name),
            fix=t("Use another model or run: --against NAME"),
            model=found.name,
        )


@dataclass
class Chat:
    """A conversation with one model, or with two side by side.

    Args:
        room: Holds the loaded models.
        name: The model or run to talk to.
        against: A second model, or ``base``; None for none.
        settings: How answers are sampled.
    """

    room: LoadedModels
    name: str
    against: str | None = None
    settings: Settings = field(default_factory=Settings)
    speakers: list[Speaker] = field(default_factory=list["Speaker"])

    def find(self) -> tuple[Resolved, Resolved | None]:
        """Find all models on this machine or download them; nothing is loaded yet.

        Raises:
            ModelError: There is no such model.
            UnknownName: No such template.
        """
        if self.room.template is not None:
            builtin.find(self.room.template)  # rejected before a model is loaded
        found = self.room.find(self.name)
        return found, self.room.find(self.against, beside=found) if self.against else None

    def open(self) -> None:
        """Load all models; ``find`` should have been called before.

        Raises:
            ModelError: There is no such model, or it cannot be loaded.
        """
        found, other = self.find()
        self.speakers = [self.room.speaker(self.name, found)]
        if other is not None:
            self.speakers.append(self._second(other))

    def _second(self, found: Resolved) -> Speaker:
        label = str(self.against)
        return self.room.speaker(label if label != self.name else f"{label} (2)", found)

    def set_against(self, name: str | None) -> None:
        """Replace the second speaker, or remove it with None; earlier questions are not repeated.

        The second speaker starts with the system message and an empty history.

        Raises:
            ModelError: There is no such model.
        """
        self.against = name
        del self.speakers[1:]
        if name is not None:
            first = self.room.find(self.name)
            speaker = self._second(self.room.find(name, beside=first))
            speaker.system(self.system)
            self.speakers.append(speaker)

    @property
    def system(self) -> str:
        """The system message; empty if there is none."""
        messages = self.speakers[0].messages
        return messages[0].content if messages and messages[0].role == "system" else ""

    def set_system(self, text: str) -> None:
        """Set the system message for all speakers; an empty text removes it."""
        for speaker in self.speakers:
            speaker.system(text)

    def ask(
        self,
        text: str,
        *,
        on_start: Callable[[int], object] = lambda place: None,
        on_text: Callable[[int, str], object] = lambda place, text: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> list[Said]:
        """Ask all speakers the same question, one after the other, with the same seed.

        If stopped before all speakers were asked, the question is taken back from all, so that
        their histories stay the same.

        Args:
            text: The question.
            on_start: Called with the index in ``speakers`` of the one that answers next.
            on_text: Called with that index and text as it arrives.
            should_stop: Called before every token.

        Returns:
            The answers; fewer than there are speakers if it was stopped early.
        """
        said: list[Said] = []
        for place, speaker in enumerate(self.speakers):
            on_start(place)
            reply, forgotten = speaker.ask(
                text,
                self.settings,
                on_text=lambda piece, place=place: on_text(place, piece),
                should_stop=should_stop,
            )
            said.append(Said(speaker.label, reply, forgotten))
            if reply.ending == "interrupted":
                break
        if len(said) < len(self.speakers):
            for speaker in self.speakers[: len(said)]:
                speaker.undo()
        return said

    def undo(self) -> str | None:
        """Take back the last question of all speakers; return its text, None if there was none."""
        questions = [speaker.undo() for speaker in self.speakers]
        return questions[0].content if questions[0] else None

    def reset(self) -> None:
        """Forget everything but the system message."""
        for speaker in self.speakers:
            speaker.reset()


def tokenizer_of(found: Resolved) -> Any:
    """The base model's tokenizer, or the adapter's own if it comes with one that has a template."""
    from tunery.models.load import load_tokenizer, shared_tokenizer

    base: Any = shared_tokenizer(found.model_folder)
    if found.base is not None and (found.path / "tokenizer_config.json").is_file():
        own: Any = load_tokenizer(found.path)
        if own.chat_template and len(own) == len(base):
            return own
    return base
