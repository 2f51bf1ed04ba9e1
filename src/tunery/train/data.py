"""The tokenized rows of a run, with the template and tokenizer that rendered them."""

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
        rows: Training rows, including replay rows once they exist.
        held_out: Rows for the evaluation; may be empty.
        probe: Rows for the forgetting score; may be empty.
        general: The general set shared by replay and the forgetting score; may be empty.
        template: Renders conversations; None if the model has no chat template.
        tokenizer: The model's tokenizer, saved with a full model.
        hash: Hash of the training data.
        samples: Prompts from held-out rows, answered if the settings list no prompts.
    """

    rows: Rows
    held_out: Rows = field(default_factory=lambda: Rows.of([]))
    probe: Sequence[TokenRow] = ()
    general: Sequence[Conversation] = ()
    template: ChatTemplate | None = None
    tokenizer: Any = None
    hash: str = ""
    samples: Sequence[Conversation] = ()
