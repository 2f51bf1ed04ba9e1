"""The rows of a run, tokenized, and what renders them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tunery.chat.template import ChatTemplate
from tunery.data.groups import TokenRow
from tunery.data.rows import Rows
from tunery.types import Conversation


@dataclass
class RunData:
    """The data of a run.

    Args:
        rows: Training rows; with replay, once it was made.
        held_out: Rows of the evaluation; may be empty.
        probe: Rows of the forgetting score; may be empty.
        general: The general set that replay and the forgetting score share; may be empty.
        template: How conversations are rendered; None where a model cannot chat.
        tokenizer: The model's, saved beside a whole model.
        hash: Of the training data.
        samples: Prompts of held-out rows, answered where the settings name no prompts.
    """

    rows: Rows
    held_out: Rows = field(default_factory=lambda: Rows.of([]))
    probe: Sequence[TokenRow] = ()
    general: Sequence[Conversation] = ()
    template: ChatTemplate | None = None
    tokenizer: Any = None
    hash: str = ""
    samples: Sequence[Conversation] = ()
