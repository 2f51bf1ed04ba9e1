"""The stub is an engine like any other."""

from __future__ import annotations

import asyncio

import pytest
from tests.engines.conformance import SHORT, EngineConformance, collect
from tests.engines.stub import StubEngine

from tunery.errors import EngineError


class TestStub(EngineConformance):
    @pytest.fixture
    def engine(self) -> StubEngine:
        return StubEngine(tokens_per_second=0)

    @pytest.fixture
    def adapter(self) -> str:
        return "/runs/tuna/adapter"


def test_one_request_too_many_is_full() -> None:
    engine = StubEngine(max_waiting=0)
    with pytest.raises(EngineError) as caught:
        asyncio.run(collect(engine, SHORT))
    assert caught.value.code == "queue_full"
