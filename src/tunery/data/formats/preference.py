"""Preference pairs and labelled rows: recognised, so that they are refused with the right words.

The methods that learn from them are not part of this version; the registry entry is the door at
which their conversion will stand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from tunery.data.formats.base import Columns, Row, RowOptions, never
from tunery.data.problems import RowProblem, say
from tunery.types import RowRef


class Preference(Columns):
    """Two answers to one prompt, the better one named."""

    name = "preference"
    required = ("chosen", "rejected")
    known = ("prompt", "instruction", "input", "conversations", "messages", "chosen", "rejected")

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """Never: no method here learns from pairs."""
        return never

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> NoReturn:
        """Refuse the row with E503."""
        chosen = raw.get(options.column("chosen"))
        if isinstance(chosen, list):
            way = "--data.format openai --data.columns.messages chosen"
        elif "prompt" in raw:
            way = "--data.format prompt_completion --data.columns.completion chosen"
        else:
            way = "--data.format alpaca --data.columns.output chosen"
        raise RowProblem(
            "E503",
            None,
            say("this is preference data (chosen, rejected); the recipe trains single answers"),
            say("To learn the chosen answers alone, set {way}.", way=way),
        )


class Unpaired(Columns):
    """One answer with a label, good or bad."""

    name = "unpaired"
    required = ("label",)
    known = ("prompt", "completion", "messages", "label", "kto_tag")

    def score(self, raw: Row, options: RowOptions) -> float:
        """Certain where a boolean label stands beside an answer."""
        label = raw.get(options.column("label"), raw.get("kto_tag"))
        answer = any(key in raw for key in ("completion", "messages", "output", "conversations"))
        return 1.0 if isinstance(label, bool) and answer else 0.0

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """Never: no method here learns from labels."""
        return never

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> NoReturn:
        """Refuse the row with E505."""
        if "messages" in raw:
            way = "openai"
        elif "conversations" in raw:
            way = "sharegpt"
        else:
            way = "alpaca" if "output" in raw else "prompt_completion"
        raise RowProblem(
            "E505",
            None,
            say("this is labelled data (good and bad answers); the recipe trains single answers"),
            say(
                "Remove the rows with a false label and set --data.format {way}.",
                way=way,
            ),
        )
