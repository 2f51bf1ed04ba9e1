"""Every kind that can be chosen is one that can be built, and the other way round."""

from __future__ import annotations

from tunery.adapters.base import ADAPTERS
from tunery.config import settings
from tunery.methods.base import METHODS


def test_the_adapters_that_can_be_chosen_are_those_that_can_be_built():
    assert set(settings.tagged()["adapter"]) == set(ADAPTERS)
    for name in ADAPTERS:
        assert ADAPTERS.get(name) is not None


def test_the_methods_that_can_be_chosen_are_those_that_can_be_built():
    assert set(settings.tagged()["method"]) == set(METHODS)
    for name in METHODS:
        assert METHODS.get(name) is not None
