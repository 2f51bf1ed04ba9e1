"""What every engine must do: one suite, run against each implementation.

A test module subclasses ``EngineConformance`` and gives the fixture ``engine`` (an engine whose
context is at least 256 tokens) and, where it has one, ``adapter`` (a folder).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.waiting import PATIENCE_SECONDS

from tunery.engines.base import (
    Delta,
    Ended,
    Engine,
    EngineEvent,
    GenerateRequest,
    SamplingOptions,
    Started,
    TokenLogprob,
)
from tunery.errors import EngineError

HELLO = [{"role": "user", "content": "Hello there"}]
SHORT = GenerateRequest(messages=HELLO, max_tokens=6)

Run = Callable[[Awaitable[Any]], Any]


async def collect(engine: Engine, request: GenerateRequest) -> list[EngineEvent]:
    """Every event of a request."""
    return [event async for event in engine.generate(request)]


def text_of(events: list[EngineEvent], index: int = 0) -> str:
    """The text of one answer."""
    return "".join(e.text for e in events if isinstance(e, Delta) and e.index == index)


def ends_of(events: list[EngineEvent]) -> dict[int, Ended]:
    """The ends by answer."""
    return {e.index: e for e in events if isinstance(e, Ended)}


def ids_of(events: list[EngineEvent]) -> list[int]:
    """Every token that was drawn for the first answer, in order."""
    return [
        token
        for event in events
        if isinstance(event, Delta | Ended) and event.index == 0
        for token in event.token_ids
    ]


def told_of(events: list[EngineEvent]) -> list[TokenLogprob]:
    """What was said of each of these tokens."""
    return [
        entry
        for event in events
        if isinstance(event, Delta | Ended) and event.index == 0
        for entry in event.logprobs
    ]


PROMPT_IDS = [5, 9, 30, 41, 7, 12]
BY_IDS = GenerateRequest(prompt_ids=PROMPT_IDS, stop_ids=[], max_tokens=6)


class EngineConformance:
    """The suite. ``run`` drives coroutines on the loop that the engine lives on."""

    context_words = 100_000
    """Words that surely do not fit the context."""

    @pytest.fixture
    def run(self) -> Any:
        with asyncio.Runner() as runner:
            yield runner.run

    @pytest.fixture
    def adapter(self) -> str | None:
        return None

    def test_events_come_in_order_and_end_once(self, engine: Engine, run: Run) -> None:
        events = run(collect(engine, SHORT))
        assert isinstance(events[0], Started)
        assert events[0].num_prompt_tokens > 0
        assert "Hello there" in events[0].prompt_text
        assert isinstance(events[-1], Ended)
        assert sum(isinstance(e, Started) for e in events) == 1
        assert sum(isinstance(e, Ended) for e in events) == 1
        assert all(isinstance(e, Delta) for e in events[1:-1])

    def test_max_tokens_bounds_the_answer(self, engine: Engine, run: Run) -> None:
        end = ends_of(run(collect(engine, replace(SHORT, max_tokens=3))))[0]
        assert end.num_tokens <= 3
        assert end.reason in ("length", "stop")
        assert 0 < end.first_token_seconds <= end.seconds

    def test_greedy_is_the_same_each_time(self, engine: Engine, run: Run) -> None:
        assert text_of(run(collect(engine, SHORT))) == text_of(run(collect(engine, SHORT)))

    def test_several_answers_are_told_apart(self, engine: Engine, run: Run) -> None:
        request = replace(SHORT, num_answers=3, sampling=SamplingOptions(temperature=1.0, seed=5))
        events = run(collect(engine, request))
        assert set(ends_of(events)) == {0, 1, 2}
        again = run(collect(engine, replace(request, num_answers=1)))
        assert text_of(events, 0) == text_of(again, 0)
        third = replace(request, num_answers=1, sampling=SamplingOptions(temperature=1.0, seed=7))
        assert text_of(events, 2) == text_of(run(collect(engine, third)), 0)

    def test_a_seed_gives_the_same_answer_in_company(self, engine: Engine, run: Run) -> None:
        request = replace(SHORT, sampling=SamplingOptions(temperature=0.9, seed=11))

        async def crowd() -> list[list[EngineEvent]]:
            others = [
                replace(SHORT, sampling=SamplingOptions(temperature=1.0, seed=i)) for i in range(4)
            ]
            return await asyncio.gather(*(collect(engine, r) for r in [request, *others]))

        alone = text_of(run(collect(engine, request)))
        assert text_of(run(crowd())[0]) == alone

    def test_a_stop_text_ends_and_is_left_out(self, engine: Engine, run: Run) -> None:
        whole = text_of(run(collect(engine, replace(SHORT, max_tokens=12))))
        stop = whole[len(whole) // 2 :][:2]
        events = run(collect(engine, replace(SHORT, max_tokens=12, stop=(stop,))))
        assert text_of(events) == whole[: whole.index(stop)]
        assert ends_of(events)[0].reason == "stop"

    def test_a_raw_prompt_is_continued(self, engine: Engine, run: Run) -> None:
        events = run(collect(engine, GenerateRequest(prompt="Once upon a time", max_tokens=4)))
        assert events[0].prompt_text == "Once upon a time"
        assert ends_of(events)[0].num_tokens <= 4

    def test_logprobs_are_of_each_token(self, engine: Engine, run: Run) -> None:
        events = run(collect(engine, replace(SHORT, top_logprobs=2)))
        deltas = [e for e in events if isinstance(e, Delta)]
        found = [entry for delta in deltas for entry in delta.logprobs]
        assert len(found) == sum(len(delta.token_ids) for delta in deltas) > 0
        for entry in found:
            assert entry.logprob <= 0
            assert len(entry.top) == 2
            assert entry.top[0][2] >= entry.top[1][2]
            assert entry.logprob <= entry.top[0][2] + 1e-6
        plain = run(collect(engine, replace(SHORT, top_logprobs=0)))
        assert all(not e.top for d in plain if isinstance(d, Delta) for e in d.logprobs)
        assert any(d.logprobs for d in plain if isinstance(d, Delta))

    def test_a_prompt_may_be_token_ids_and_every_drawn_token_is_told(
        self, engine: Engine, run: Run
    ) -> None:
        events = run(collect(engine, BY_IDS))
        assert events[0].num_prompt_tokens == len(PROMPT_IDS)
        assert events[0].prompt_text
        assert len(ids_of(events)) == ends_of(events)[0].num_tokens == BY_IDS.max_tokens
        assert run(engine.count_tokens(BY_IDS)) == len(PROMPT_IDS)
        told = run(collect(engine, SHORT))
        assert len(ids_of(told)) == ends_of(told)[0].num_tokens

    def test_the_callers_stop_tokens_end_an_answer(self, engine: Engine, run: Run) -> None:
        free = ids_of(run(collect(engine, BY_IDS)))
        stop = free[-1]
        events = run(collect(engine, replace(BY_IDS, stop_ids=[stop])))
        end = ends_of(events)[0]
        assert end.reason == "stop"
        assert ids_of(events) == free[: free.index(stop) + 1]
        assert tuple(end.token_ids)[-1] == stop
        assert all(stop not in e.token_ids for e in events if isinstance(e, Delta))

    def test_given_tokens_are_scored_as_they_were_drawn(self, engine: Engine, run: Run) -> None:
        if not {"score", "logprobs"} <= engine.can:
            pytest.skip("this engine does not score")
        events = run(collect(engine, replace(BY_IDS, top_logprobs=0)))
        ids = ids_of(events)
        scores = run(engine.score([*PROMPT_IDS, *ids]))
        assert len(scores) == len(PROMPT_IDS) + len(ids) - 1
        drawn = [entry.logprob for entry in told_of(events)]
        assert scores[len(PROMPT_IDS) - 1 :] == pytest.approx(drawn, abs=2e-3)
        assert [entry.token_id for entry in told_of(events)] == ids

    def test_scores_do_not_depend_on_what_else_goes_on(self, engine: Engine, run: Run) -> None:
        rows = [[5 + i, *range(9, 30 + 40 * i)] for i in range(4)]

        async def together() -> list[Any]:
            return await asyncio.gather(
                collect(engine, SHORT), *(engine.score(row) for row in rows)
            )

        for row, found in zip(rows, run(together())[1:], strict=True):
            assert found == pytest.approx(run(engine.score(row)), abs=1e-4)
            assert len(found) == len(row) - 1

    def test_both_logprobs_are_told(self, engine: Engine, run: Run) -> None:
        greedy = told_of(run(collect(engine, replace(BY_IDS, top_logprobs=0))))
        assert all(entry.sampling_logprob == 0 for entry in greedy)
        free = SamplingOptions(temperature=1.0, seed=3)
        drawn = told_of(run(collect(engine, replace(BY_IDS, top_logprobs=0, sampling=free))))
        assert drawn
        for entry in drawn:
            assert entry.sampling_logprob == pytest.approx(entry.logprob, abs=1e-4)

    def test_tokens_that_are_not_of_the_model_are_refused(self, engine: Engine, run: Run) -> None:
        with pytest.raises(EngineError):
            run(engine.score([]))
        with pytest.raises(EngineError) as caught:
            run(engine.score([5] * 50_000))
        assert caught.value.code == "too_long"

    def test_a_schema_is_followed(self, engine: Engine, run: Run) -> None:
        schema = {
            "type": "object",
            "properties": {"sure": {"type": "boolean"}, "kind": {"enum": ["a", "b"]}},
            "required": ["sure", "kind"],
            "additionalProperties": False,
        }
        events = run(collect(engine, replace(SHORT, json_schema=schema, max_tokens=100)))
        answer = json.loads(text_of(events))
        assert answer["sure"] in (True, False)
        assert answer["kind"] in ("a", "b")
        assert ends_of(events)[0].reason == "stop"

    def test_a_broken_schema_is_refused(self, engine: Engine, run: Run) -> None:
        with pytest.raises(EngineError) as caught:
            run(collect(engine, replace(SHORT, json_schema={"type": "no such type"})))
        assert caught.value.code == "bad_schema"

    def test_a_prompt_that_fills_the_context_is_refused(self, engine: Engine, run: Run) -> None:
        long = [{"role": "user", "content": "word " * self.context_words}]
        with pytest.raises(EngineError) as caught:
            run(collect(engine, replace(SHORT, messages=long)))
        assert caught.value.code == "too_long"

    def test_closing_the_iterator_frees_the_slot(self, engine: Engine, run: Run) -> None:
        async def leave() -> None:
            events: AsyncIterator[EngineEvent] = engine.generate(
                replace(SHORT, max_tokens=200, sampling=SamplingOptions(logit_bias={}))
            )
            async for event in events:
                if isinstance(event, Delta | Ended):
                    break
            await events.aclose()  # type: ignore[attr-defined]
            status = await engine.status()
            while status.num_running or status.num_waiting:
                await asyncio.sleep(0.01)
                status = await engine.status()

        run(asyncio.wait_for(leave(), PATIENCE_SECONDS))

    def test_many_requests_at_once_are_not_mixed_up(self, engine: Engine, run: Run) -> None:
        requests = [
            GenerateRequest(prompt=f"nonce {i} and {i} and", max_tokens=5) for i in range(12)
        ]

        async def together() -> list[list[EngineEvent]]:
            return await asyncio.gather(*(collect(engine, r) for r in requests))

        for request, events in zip(requests, run(together()), strict=True):
            assert events[0].prompt_text == request.prompt
            assert text_of(events) == text_of(run(collect(engine, request)))

    def test_tokens_are_counted_as_generation_reads_them(self, engine: Engine, run: Run) -> None:
        events = run(collect(engine, SHORT))
        assert run(engine.count_tokens(SHORT)) == events[0].num_prompt_tokens

    def test_status_says_ready(self, engine: Engine, run: Run) -> None:
        run(collect(engine, SHORT))
        status = run(engine.status())
        assert status.state == "ready"
        assert status.context_length >= 256
        assert status.num_tokens > 0

    def test_an_adapter_is_worn_for_its_request_only(
        self, engine: Engine, run: Run, adapter: str | None
    ) -> None:
        if adapter is None:
            pytest.skip("this engine is tested without adapters")
        bare = text_of(run(collect(engine, SHORT)))
        worn = text_of(run(collect(engine, replace(SHORT, adapter=adapter))))
        assert worn != bare
        assert text_of(run(collect(engine, SHORT))) == bare

        if "score" in engine.can:
            plain = run(engine.score(PROMPT_IDS))
            assert run(engine.score(PROMPT_IDS, adapter=adapter)) != plain
            assert run(engine.score(PROMPT_IDS)) == plain

        async def together() -> list[list[EngineEvent]]:
            pair = [SHORT, replace(SHORT, adapter=adapter)]
            return await asyncio.gather(*(collect(engine, r) for r in pair))

        assert [text_of(events) for events in run(together())] == [bare, worn]

    def test_a_missing_adapter_is_refused(self, engine: Engine, run: Run) -> None:
        with pytest.raises(EngineError) as caught:
            run(collect(engine, replace(SHORT, adapter="/missing/adapter")))
        assert caught.value.code == "bad_adapter"
