"""Continuous batching: answers that are generated together, joining and leaving between steps.

In one forward pass, a step reads the next token of every answer in progress and a piece of the
prompts still to be read; then each answer chooses its token. Given tokens are scored in the same
steps. Nothing here is threaded; the scheduler, or a ``Decoder``, calls ``step``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from tunery.decode.cache import BLOCK, PrefixStore
from tunery.decode.choose import Logprob, TokenChooser
from tunery.decode.fast.model import FastModel
from tunery.decode.fast.spans import Part
from tunery.decode.general import GeneralModel
from tunery.decode.text import TextStream
from tunery.decode.token_bytes import TokenBytes
from tunery.engines.base import Delta, Ended, EndReason, EngineEvent, TokenLogprob


@dataclass(frozen=True, slots=True)
class Scored:
    """Log-probabilities of given tokens, in nats, for all but the first."""

    logprobs: list[float]


Output = EngineEvent | Scored
Emit = Callable[[list[Output]], object]


class Readable(Protocol):
    """What a batch needs from a model."""

    tokenizer: Any
    prefixes: PrefixStore

    def pass_for(self, adapter: str | None) -> FastModel | GeneralModel:
        """The forward pass to use with this adapter."""
        ...


@dataclass
class Job:
    """One request being processed.

    Args:
        prompt: Token ids.
        stop_ids: Tokens that end an answer.
        limit: Maximum number of tokens per answer.
        stop: Strings that end an answer.
        choosers: One per answer; empty if the prompt's own tokens are to be scored.
        emit: Called with the events of each step.
        adapter: Name of the attached adapter.
        text: Whether text is decoded; if not, every token is reported immediately.
        arrived: Arrival time, as ``time.perf_counter``.
    """

    prompt: Sequence[int]
    stop_ids: frozenset[int]
    limit: int
    stop: Sequence[str]
    choosers: list[TokenChooser]
    emit: Emit
    adapter: str | None = None
    text: bool = True
    arrived: float = field(default_factory=time.perf_counter)

    @property
    def num_answers(self) -> int:
        """Number of places it takes in a batch."""
        return max(len(self.choosers), 1)


class _Answer:
    def __init__(self, job: Job, index: int, row: Any, tokenizer: Any) -> None:
        self.job, self.index, self.row = job, index, row
        self.chooser = job.choosers[index] if job.choosers else None
        self.text = TextStream(tokenizer, job.stop) if job.text else None
        self.left = list(job.prompt[row.length :])
        self.count = 0
        self.first_seconds = 0.0
        self.waiting: list[tuple[int, Logprob | None]] = []
        self.scores: list[float] = []
        self.reason: EndReason | None = None
        self.siblings: list[_Answer] = []

    @property
    def reading(self) -> bool:
        return self.count == 0


class Batch:
    """The answers in progress on one model.

    Args:
        model: The model that reads and generates.
    """

    def __init__(self, model: Readable) -> None:
        self.model = model
        self.num_tokens = 0
        self._answers: list[_Answer] = []
        self._names: dict[int, str] = {}
        self._bytes: TokenBytes | None = None

    def __len__(self) -> int:
        return len(self._answers) + sum(len(answer.siblings) for answer in self._answers)

    def join(self, job: Job) -> None:
        """Add a request; its first tokens arrive with the next steps."""
        reader = self.model.pass_for(job.adapter)
        keeps = reader.in_pieces and job.choosers
        row = self.model.prefixes.take(job.prompt, job.adapter) if keeps else None
        first = _Answer(job, 0, row or reader.new_row(), self.model.tokenizer)
        self._answers.append(first)
        for index in range(1, job.num_answers):
            if keeps:  # the prompt is read once and copied
                first.siblings.append(_Answer(job, index, first.row, self.model.tokenizer))
            else:
                self._answers.append(_Answer(job, index, reader.new_row(), self.model.tokenizer))

    def leave(self, job: Job) -> None:
        """Drop a request's answers."""
        for answer in [a for a in self._answers if a.job is job]:
            self._drop(answer)

    def jobs(self) -> list[Job]:
        """All requests in progress."""
        return list({id(answer.job): answer.job for answer in self._answers}.values())

    def step(self) -> None:
        """Run one step: read, and choose a token for every answer that is due."""
        parts = self._parts()
        outputs: dict[int, tuple[Job, list[Output]]] = {}
        for reader in dict.fromkeys(self.model.pass_for(part.adapter) for _, part in parts):
            mine = [pair for pair in parts if self.model.pass_for(pair[1].adapter) is reader]
            logits = reader.forward([part for _, part in mine])
            each = logits.split([part.wanted for _, part in mine])
            choosing: list[tuple[_Answer, Tensor]] = []
            for (answer, part), rows in zip(mine, each, strict=True):
                if answer.chooser is None:
                    self._score(answer, rows, part, outputs)
                elif part.wanted:
                    choosing.append((answer, rows[0]))
            self._choose(choosing, outputs)
        for answer in [a for a in self._answers if a.reason is not None]:
            self._drop(answer)
        for job, found in outputs.values():
            job.emit(found)

    def _parts(self) -> list[tuple[_Answer, Part]]:
        parts: list[tuple[_Answer, Part]] = []
        budget: int | None = None
        for answer in self._answers:
            reader = self.model.pass_for(answer.job.adapter)
            size = len(answer.left)
            if answer.reading:
                budget = reader.read_tokens if budget is None else budget
                if budget <= 0:
                    continue
                size = min(size, max(budget // BLOCK, 1) * BLOCK) if reader.in_pieces else size
                budget -= size
            ids, answer.left = answer.left[:size], answer.left[size:]
            wanted = len(ids) if answer.chooser is None else int(not answer.left)
            parts.append((answer, Part(answer.row, ids, answer.job.adapter, wanted)))
        return parts

    def _score(
        self,
        answer: _Answer,
        logits: Tensor,
        part: Part,
        outputs: dict[int, tuple[Job, list[Output]]],
    ) -> None:
        """Record the log-probabilities of the tokens that follow those of the part."""
        end = answer.row.length
        following = answer.job.prompt[end - len(part.ids) + 1 : end + 1]
        if following:
            index = torch.tensor(following, device=logits.device)[:, None]
            logprobs = logits[: len(following)].float().log_softmax(dim=-1)
            answer.scores += logprobs.gather(1, index)[:, 0].tolist()
        if not answer.left:
            answer.reason = "stop"
            outputs[id(answer.job)] = (answer.job, [Scored(answer.scores)])

    def _choose(
        self, asked: list[tuple[_Answer, Tensor]], outputs: dict[int, tuple[Job, list[Output]]]
    ) -> None:
        plain: list[int] = []
        if asked and all(a.chooser.plain and not a.siblings for a, _ in asked):  # type: ignore[union-attr]
            plain = torch.stack([logits for _, logits in asked]).argmax(dim=-1).tolist()
        for place, (answer, logits) in enumerate(asked):
            siblings, answer.siblings = answer.siblings, []
            for each in siblings:
                each.row, each.left = answer.row.copy(answer.row.length), []
                self._answers.append(each)
            for each in (answer, *siblings):
                _, found = outputs.setdefault(id(each.job), (each.job, []))
                if plain:
                    self._take(each, plain[place], None, found)
                else:
                    assert each.chooser is not None
                    self._take(each, *each.chooser.choose(logits), found)

    def _take(
        self, answer: _Answer, token: int, logprob: Logprob | None, outputs: list[Output]
    ) -> None:
        """Add a token to an answer and report the part of its text that is final."""
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
            text = answer.text.push(token) if answer.text else ""
            grammar = answer.chooser.grammar if answer.chooser else None
            stopped = answer.text is not None and answer.text.stopped
            if stopped or (grammar is not None and grammar.take(token)):
                answer.reason = "stop"
            elif answer.count >= job.limit:
                answer.reason = "length"
        if answer.reason is not None and answer.text is not None:
            text += answer.text.end()
        if text or (answer.text is None and answer.waiting):
            ids, said = self._told(answer)
            outputs.append(Delta(answer.index, text, ids, said))
        if answer.reason is not None:
            if token in job.stop_ids:
                answer.waiting.append((token, logprob))
            ids, said = self._told(answer)
            seconds = time.perf_counter() - job.arrived
            outputs.append(
                Ended(
                    answer.index, answer.reason, answer.count, answer.first_seconds, seconds,
                    ids, said, answer.text.stopped_by if answer.text else "",
                )
            )  # fmt: skip

    def _told(self, answer: _Answer) -> tuple[tuple[int, ...], tuple[TokenLogprob, ...]]:
        """The tokens not yet reported, with their log-probability details."""
        waiting, answer.waiting = answer.waiting, []
        ids = tuple(token for token, _ in waiting)
        return ids, tuple(self._spelled(entry) for _, entry in waiting if entry is not None)

    def _drop(self, answer: _Answer) -> None:
        self._answers.remove(answer)
        job = answer.job
        keeps = self.model.pass_for(job.adapter).in_pieces and answer.index == 0
        if keeps and answer.row.length >= BLOCK:
            read = min(answer.row.length, len(job.prompt))
            self.model.prefixes.keep(job.prompt[:read], job.adapter, answer.row)

    def _spelled(self, entry: Logprob) -> TokenLogprob:
        top = tuple((self._name(token), token, value) for token, value in entry.top)
        name = self._name(entry.token)
        self._bytes = self._bytes or TokenBytes(self.model.tokenizer)
        spelled = {
            token: data
            for text, token in ((name, entry.token), *((text, token) for text, token, _ in top))
            if (data := self._bytes.of(token)) is not None and data != text.encode()
        }
        return TokenLogprob(name, entry.token, entry.logprob, top, entry.drawn, spelled)

    def _name(self, token: int) -> str:
        if token not in self._names:
            self._names[token] = str(
                self.model.tokenizer.decode(
                    [token], skip_special_tokens=False, clean_up_tokenization_spaces=False
                )
            )
        return self._names[token]
