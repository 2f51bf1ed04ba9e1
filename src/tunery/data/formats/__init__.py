"""Formats: how a raw row becomes an example. Each has a file; this table lists them all."""

from __future__ import annotations

from tunery.data.formats.alpaca import Alpaca
from tunery.data.formats.base import Format, RowOptions
from tunery.data.formats.openai import OpenAI
from tunery.data.formats.preference import Preference
from tunery.data.formats.prompt_completion import PromptCompletion
from tunery.data.formats.sharegpt import ShareGPT
from tunery.data.formats.text import PlainText
from tunery.data.formats.unpaired import Unpaired
from tunery.registry import Registry

FORMATS: Registry[Format] = Registry("format")
for _format in (
    OpenAI(),
    ShareGPT(),
    Alpaca(),
    PromptCompletion(),
    PlainText(),
    Preference(),
    Unpaired(),
):
    FORMATS.add(_format.name, _format)

__all__ = ["FORMATS", "Format", "RowOptions"]
