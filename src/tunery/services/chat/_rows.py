"""Turn answers that the user liked or rewrote into rows of the dataset ``from-chat``."""

from __future__ import annotations

import json
from typing import Any

from tunery.config.data import DataConfig
from tunery.data.catalog import find
from tunery.errors import EngineError
from tunery.i18n import t
from tunery.services import datasets
from tunery.services.chat import _stored
from tunery.services.datasets import ROWS_FILE, is_free, rewrite

NAME = "from-chat"


def add_row(chat: str, turn: int, column: str, *, answer: str | None = None) -> dict[str, Any]:
    """Add the conversation up to and including this answer as a training row.

    Args:
        chat: The conversation.
        turn: Which turn.
        column: Which model's answer.
        answer: The corrected answer, replacing what the model said.

    Returns:
        ``{"dataset", "rows"}``.

    Raises:
        EngineError: The answer is empty.
    """
    known, found, said = _stored.answer_of(chat, turn, column)
    text = said.text if answer is None else answer
    if not text.strip():
        raise EngineError(
            t("An empty answer cannot be saved as a training row."), code="bad_message"
        )
    messages = [
        *known.messages(column, turn),
        {"role": "user", "content": found.text},
        {"role": "assistant", "content": text},
    ]
    line = json.dumps({"messages": messages}, ensure_ascii=False)
    own = datasets.own_folder(NAME) / ROWS_FILE
    if not is_free(NAME):
        lines = [*find(NAME).files[0].read_text(encoding="utf-8").splitlines(), line]
        return {"dataset": NAME, "rows": rewrite(NAME, lambda: iter(lines))}
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(line + "\n", encoding="utf-8")
    datasets.add(NAME, str(own), DataConfig(), made={"how": "chat"})
    return {"dataset": NAME, "rows": 1}
