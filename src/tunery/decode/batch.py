"""The answers that are generated together: joining and leaving between steps.

One step reads the next token of every answer under way and a piece of the prompts that wait to be
read, in one forward pass, then each answer chooses its token. Nothing here is threaded; the
scheduler calls ``step``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tunery.decode.batch_choose import Logprob, TokenChooser
from tunery.decode.kvcache import BLOCK
from tunery.decode.lean import LeanModel, Part
from tunery.decode.served import ServedModel
from tunery.decode.text import TextStream
from tunery.engines.base import Delta, Ended, EndReason, EngineEvent, TokenLogprob

READ_TOKENS = 256
"""Prompt tokens read in a step, so that others wait a fraction of a second for their next one."""

Emit = Callable[[list[EngineEvent]], object]


@dataclass
class Job:
    """One request on its way.

    Args:
        prompt: Token ids.
        stop_ids: Tokens that end an answer.
        limit: Most tokens of an answer.
        stop: Texts that end an answer.
        choosers: One an answer.
        emit: Given the events of each step.
        adapter: Name of the attached adapter.
        arrived: By ``time.perf_counter``.
    """

    prompt: Sequence[int]
    stop_ids: frozenset[int]
    limit: int
    stop: Sequence[str]
    choosers: list[TokenChooser]
    emit: Emit
    adapter: str | None = None
    arrived: float = field(default_factory=time.perf_counter)
    cancelled: bool = False


class _Answer:
    def __init__(self, job: Job, index: int, row: Any, tokenizer: Any) -> None:
        self.job, self.index, self.row = job, index, row
        self.chooser = job.choosers[index]
        self.text = TextStream(tokenizer, job.stop)
        self.left = list(job.prompt[row.length :])
        self.count = 0
        self.first_seconds = 0.0
        self.waiting: list[tuple[int, Logprob | None]] = []
        self.reason: EndReason | None = None
        self.siblings: list[_Answer] = []

    @property
    def reading(self) -> bool:
        return self.count == 0


class Batch:
    """The answers under way on one model.

    Args:
        model: What reads and generates.
    """

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self.num_tokens = 0
        self._answers: list[_Answer] = []
        self._names: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self._answers) + sum(len(answer.siblings) for answer in self._answers)

    def join(self, job: Job) -> None:
        """Take a request up; its first tokens come with the next steps."""
        reader = self.model.pass_for(job.adapter)
        shared = isinstance(reader, LeanModel)
        row = self.model.prefixes.take(job.prompt, job.adapter) if shared else None
        first = _Answer(job, 0, row or reader.new_row(), self.model.tokenizer)
        self._answers.append(first)
        for index in range(1, len(job.choosers)):
            if shared:  # the prompt is read once and copied
                first.siblings.append(_Answer(job, index, first.row, self.model.tokenizer))
            else:
                self._answers.append(_Answer(job, index, reader.new_row(), self.model.tokenizer))

    def leave(self, job: Job) -> None:
        """Drop a request's answers."""
        job.cancelled = True
        for answer in [a for a in self._answers if a.job is job]:
            self._drop(answer)

    def jobs(self) -> list[Job]:
        """Every request under way."""
        return list({id(answer.job): answer.job for answer in self._answers}.values())

    def step(self) -> None:
        """Read and choose once for everyone whose turn it is."""
        parts = self._parts()
        events: dict[int, tuple[Job, list[EngineEvent]]] = {}
        for reader in dict.fromkeys(self.model.pass_for(part.adapter) for _, part in parts):
            mine = [pair for pair in parts if self.model.pass_for(pair[1].adapter) is reader]
            logits = iter(reader.forward([part for _, part in mine]))
            if not isinstance(reader, LeanModel):
                logits = (row for row, (_, part) in zip(logits, mine, strict=True) if part.wanted)
            self._choose([answer for answer, part in mine if part.wanted], list(logits), events)
        for answer in [a for a in self._answers if a.reason is not None]:
            self._drop(answer)
        for job, found in events.values():
            job.emit(found)

    def _parts(self) -> list[tuple[_Answer, Part]]:
        parts: list[tuple[_Answer, Part]] = []
        budget = READ_TOKENS
        for answer in self._answers:
            size = len(answer.left)
            if answer.reading:
                if budget <= 0:
                    continue
                whole = not isinstance(self.model.pass_for(answer.job.adapter), LeanModel)
                size = size if whole else min(size, max(budget // BLOCK, 1) * BLOCK)
                budget -= size
            ids, answer.left = answer.left[:size], answer.left[size:]
            part = Part(answer.row, ids, answer.job.adapter, wanted=not answer.left)
            parts.append((answer, part))
        return parts

    def _choose(
        self,
        answers: list[_Answer],
        logits: list[torch.Tensor],
        events: dict[int, tuple[Job, list[EngineEvent]]],
    ) -> None:
        plain: list[int] = []
        if len(answers) > 1 and all(a.chooser.plain and not a.siblings for a in answers):
            plain = torch.stack(logits).argmax(dim=-1).tolist()
        for place, answer in enumerate(answers):
            siblings, answer.siblings = answer.siblings, []
            for each in siblings:
                each.row, each.left = answer.row.copy(answer.row.length), []
                self._answers.append(each)
            for each in (answer, *siblings):
                _, found = events.setdefault(id(each.job), (each.job, []))
                if plain:
                    self._take(each, plain[place], None, found)
                else:
                    self._take(each, *each.chooser.choose(logits[place]), found)

    def _take(
        self, answer: _Answer, token: int, logprob: Logprob | None, events: list[EngineEvent]
    ) -> None:
        """Add a token to an answer and say what is certain of its text."""
        job = answer.job
        if answer.count == 0:
            answer.first_seconds = time.perf_counter() - job.arrived
        answer.count += 1
        self.num_tokens += 1
        text = ""
        if token in job.stop_ids:
            answer.reason = "stop"
        else:
            answer.left = [token]
            answer.waiting.append((token, logprob))
            text = answer.text.push(token)
            grammar = answer.chooser.grammar
            if answer.text.stopped or (grammar is not None and grammar.take(token)):
                answer.reason = "stop"
            elif answer.count >= job.limit:
                answer.reason = "length"
        if answer.reason is not None:
            text += answer.text.end()
        if text:
            waiting, answer.waiting = answer.waiting, []
            ids = tuple(token for token, _ in waiting)
            said = tuple(self._spelled(entry) for _, entry in waiting if entry is not None)
            events.append(Delta(answer.index, text, ids, said))
        if answer.reason is not None:
            seconds = time.perf_counter() - job.arrived
            events.append(
                Ended(answer.index, answer.reason, answer.count, answer.first_seconds, seconds)
            )

    def _drop(self, answer: _Answer) -> None:
        self._answers.remove(answer)
        job = answer.job
        lean = isinstance(self.model.pass_for(job.adapter), LeanModel)
        if lean and answer.index == 0 and answer.row.length >= BLOCK:
            read = min(answer.row.length, len(job.prompt))
            self.model.prefixes.keep(job.prompt[:read], job.adapter, answer.row)

    def _spelled(self, entry: Logprob) -> TokenLogprob:
        top = tuple((self._name(token), token, value) for token, value in entry.top)
        return TokenLogprob(self._name(entry.token), entry.token, entry.logprob, top)

    def _name(self, token: int) -> str:
        if token not in self._names:
            self._names[token] = str(
                self.model.tokenizer.decode(
                    [token], skip_special_tokens=False, clean_up_tokenization_spaces=False
                )
            )
        return self._names[token]
