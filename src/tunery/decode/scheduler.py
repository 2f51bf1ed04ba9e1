"""The generating thread: admits requests in order of arrival and steps the batch.

Only this thread touches the model. Other threads submit and cancel; events are delivered through
each request's ``emit``, called on this thread.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import psutil
import torch

from tunery.decode.batch import Batch, Emit, Job
from tunery.decode.choose import TokenChooser
from tunery.decode.fast.model import FastModel
from tunery.decode.prompts import Prompt
from tunery.decode.served import ServedModel
from tunery.engines.base import Ended, GenerateRequest
from tunery.errors import EngineError
from tunery.i18n import t

log = logging.getLogger(__name__)

MAX_ANSWERS = 32
MAX_WAITING = 128
MEMORY_LEFT_BYTES = 256 * 2**20
LIKELY_TOKENS = 512
"""Answer length assumed when checking memory; most answers are shorter, and rows can grow."""

Failed = Callable[[EngineError], object]


class Scheduler:
    """Generates answers to concurrent requests on one model.

    Args:
        model: The model; the scheduler's thread owns it.
        max_answers: Maximum number of answers generated at the same time.
        max_waiting: Maximum number of queued requests; further ones are rejected.
    """

    def __init__(
        self, model: ServedModel, *, max_answers: int = MAX_ANSWERS, max_waiting: int = MAX_WAITING
    ) -> None:
        self.model = model
        self.batch = Batch(model)
        self._max_answers = max_answers
        self._max_waiting = max_waiting
        self._waiting: deque[tuple[Job, Failed]] = deque()
        self._failed: dict[int, Failed] = {}
        self._leaving: list[Job] = []
        self._calls: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="generate", daemon=True)
        self._thread.start()

    @property
    def num_running(self) -> int:
        """Number of answers in progress."""
        return len(self.batch)

    @property
    def num_waiting(self) -> int:
        """Number of queued requests."""
        return len(self._waiting)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function between two steps, on the thread that owns the model, and wait for it."""
        done = threading.Event()
        found: list[Any] = []

        def run() -> None:
            try:
                found.append((function(), None))
            except EngineError as error:
                found.append((None, error))
            finally:
                done.set()

        with self._changed:
            self._calls.append(run)
            self._changed.notify()
        done.wait()
        value, error = found[0] if found else (None, _gone())
        if error is not None:
            raise error
        return value

    def check_room(self) -> None:
        """Reject early if the queue is full.

        Raises:
            EngineError: ``queue_full``.
        """
        if len(self._waiting) >= self._max_waiting:
            raise EngineError(
                t("The queue is full: {count} requests are waiting.", count=self._max_waiting),
                fix=t("Try again in a moment."),
                code="queue_full",
            )

    def submit(
        self,
        request: GenerateRequest,
        prompt: Prompt,
        *,
        adapter: str | None,
        emit: Emit,
        failed: Failed,
        arrived: float,
    ) -> Job:
        """Queue a request.

        Args:
            request: The request.
            prompt: Its tokenized prompt.
            adapter: Name of the attached adapter.
            emit: Called with the events, on the generating thread.
            failed: Called on the generating thread with the error if no more events will follow.
            arrived: Arrival time, as ``time.perf_counter``.

        Raises:
            EngineError: ``queue_full``, ``bad_schema``, or a sampling option is out of bounds.
        """
        self.check_room()
        if not 1 <= request.num_answers <= self._max_answers:
            raise EngineError(
                t("n must be {wanted}, got {found}.", wanted=t("from 1 to {count}",
                  count=self._max_answers), found=request.num_answers),
            )  # fmt: skip
        room = self.model.context_length - len(prompt.ids)
        limit = min(room if request.max_tokens is None else request.max_tokens, room)
        job = Job(
            prompt=prompt.ids,
            stop_ids=prompt.stop_ids,
            limit=max(limit, 1),
            stop=request.stop,
            choosers=self._choosers(request, prompt),
            emit=emit,
            adapter=adapter,
            arrived=arrived,
        )
        return self._queue(job, failed)

    def score(self, ids: Sequence[int], *, adapter: str | None, emit: Emit, failed: Failed) -> Job:
        """Queue the scoring of given tokens; a ``Scored`` event follows once all are read.

        Raises:
            EngineError: ``queue_full``.
        """
        self.check_room()
        job = Job(ids, frozenset(), 1, (), [], emit, adapter, text=False)
        return self._queue(job, failed)

    def _queue(self, job: Job, failed: Failed) -> Job:
        with self._changed:
            self._waiting.append((job, failed))
            self._changed.notify()
        return job

    def cancel(self, job: Job) -> None:
        """Drop a request at the next step; no effect if it has ended."""
        with self._changed:
            self._leaving.append(job)
            self._changed.notify()

    def close(self) -> None:
        """Stop the thread; answers in progress end as interrupted."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _choosers(self, request: GenerateRequest, prompt: Prompt) -> list[TokenChooser]:
        options = request.sampling
        foreign = [k for k in options.logit_bias if not 0 <= k < self.model.vocab_size]
        if foreign:
            raise EngineError(
                t("logit_bias has token {token}; this model's tokens are 0 to {last}.",
                  token=foreign[0], last=self.model.vocab_size - 1),
                code="bad_request",
            )  # fmt: skip
        seed = options.seed
        if seed is None:
            seed = int.from_bytes(os.urandom(6), "big")
        schema = request.json_schema
        grammar = None
        if schema is not None:
            grammar = self.model.grammars().follow(schema, unless=request.schema_unless)
        return [
            TokenChooser(
                options,
                seed=seed + index,
                prompt=prompt.ids,
                top_logprobs=request.top_logprobs,
                grammar=grammar.copy() if grammar is not None else None,
            )
            for index in range(request.num_answers)
        ]

    def _run(self) -> None:
        try:
            while self._prepare():
                if len(self.batch):
                    self._step()
            self._interrupt()
        except BaseException:
            # A bug: this thread is the engine, so the process must not go on without it.
            log.exception("the generating thread failed")
            logging.shutdown()
            os._exit(70)

    def _prepare(self) -> bool:
        """Wait for work and admit it; return False once closed."""
        with self._changed:
            while not (self._closed or self._calls or self._leaving or self._can_go_on()):
                self._changed.wait()
            if self._closed:
                return False
            calls = list(self._calls)
            self._calls.clear()
            leaving, self._leaving = self._leaving, []
            for job in leaving:
                self._waiting = deque(pair for pair in self._waiting if pair[0] is not job)
        for job in leaving:
            self.batch.leave(job)
            self._failed.pop(id(job), None)
        for run in calls:
            run()
        self._admit()
        return True

    def _can_go_on(self) -> bool:
        return bool(len(self.batch) or self._waiting)

    def _admit(self) -> None:
        while self._waiting:
            job, failed = self._waiting[0]
            busy = len(self.batch)
            if busy and busy + job.num_answers > self._max_answers:
                return
            if not self._memory_for(job):
                if busy:
                    return
                self._waiting.popleft()
                failed(_no_memory())
                continue
            self._waiting.popleft()
            self._failed[id(job)] = failed
            self.batch.join(job)

    def _memory_for(self, job: Job) -> bool:
        reader = self.model.pass_for(job.adapter)
        if not isinstance(reader, FastModel) or self.model.device != "cpu":
            return True
        tokens = (len(job.prompt) + min(job.limit, LIKELY_TOKENS)) * job.num_answers
        wanted = tokens * reader.shape.bytes_per_token + MEMORY_LEFT_BYTES
        if wanted <= psutil.virtual_memory().available:
            return True
        self.model.prefixes.clear()
        return wanted <= psutil.virtual_memory().available

    def _step(self) -> None:
        try:
            self.batch.step()
        except (MemoryError, torch.OutOfMemoryError):
            self._give_up(_no_memory())
        except RuntimeError as error:
            if "memory" not in str(error):
                raise
            self._give_up(_no_memory())

    def _give_up(self, error: EngineError) -> None:
        log.warning("%s", error)
        for job in self.batch.jobs():
            failed = self._failed.pop(id(job), None)
            self.batch.leave(job)
            if failed is not None:
                failed(error)
        self.model.prefixes.clear()

    def _interrupt(self) -> None:
        running = [(job, self._failed.get(id(job))) for job in self.batch.jobs()]
        for job, failed in [*running, *self._waiting]:
            if job.choosers:
                job.emit([Ended(i, "interrupted", 0, 0.0, 0.0) for i in range(len(job.choosers))])
            elif failed is not None:
                failed(_gone())
        for run in self._calls:
            run()


def _gone() -> EngineError:
    return EngineError(t("The engine has stopped."), fix=t("Load the model again."), code="gone")


def _no_memory() -> EngineError:
    return EngineError(
        t("There is not enough memory for this request."),
        fix=t("Shorten the prompt or max_tokens, request fewer answers, or close other programs."),
        code="queue_full",
    )
