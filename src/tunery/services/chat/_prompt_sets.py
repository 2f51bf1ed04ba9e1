"""Small sets of prompts for the chat: what to ask first, and before/after comparisons."""

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
"""Prompts by set; sent unchanged whatever the user's language."""


def prompt_titles() -> dict[str, str]:
    """Display names of the sets."""
    return {"identity": t("Identity"), "general": t("General knowledge")}


def prompt_suggestions() -> list[str]:
    """Three prompts to start with, in the user's language."""
    return [t("Who are you?"), t("What is the capital of France?"), t("What can you do?")]
