"""Small sets of questions for the chat: what to ask first, and tables of before and after."""

from __future__ import annotations

from tunery.i18n import t

PROMPT_SETS: dict[str, tuple[str, ...]] = {
    "identity": (
        "Who are you?",
        "What is your name?",
        "Who created you?",
        "你是谁？",
        "你叫什么名字？",
        "谁开发了你？",
    ),
    "general": (
        "What is the capital of France?",
        "Name three primary colours.",
        "Write one sentence about the sea.",
        "What is 2 + 2?",
        "中国的首都是哪里？",
    ),
}
"""Questions by set; asked as they stand, in either language."""


def prompt_titles() -> dict[str, str]:
    """The sets' names for people."""
    return {"identity": t("Identity"), "general": t("General knowledge")}


def prompt_suggestions() -> list[str]:
    """Three questions to begin with, in the reader's language."""
    return [t("Who are you?"), t("What is the capital of France?"), t("What can you do?")]
