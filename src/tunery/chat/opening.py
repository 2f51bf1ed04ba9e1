"""What a template writes before the first message of a conversation.

Where a conversation begins with an answer there is no prompt to render, templates that look at
the first message fail on none, and some write a system message of their own once there is a first
message. The first message is rendered with a stand-in for its text; what comes before the stand-in
is the template's own beginning and the first message's header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tunery.chat.control import Marked
from tunery.chat.probes import VALUE, Features
from tunery.types import Conversation, Message

First = Literal["", "question", "answer"]
"""Role of the first message if the text before it is needed; empty if it is not."""


def stand_in(conversation: Conversation) -> tuple[Message, ...]:
    """The first message alone, its text replaced."""
    return (Message(conversation.messages[0].role, VALUE),)


def needed(conversation: Conversation, end: int, features: Features, *, prompt: bool) -> First:
    """Whether the first ``end`` messages are none, so that the first one is rendered instead.

    Args:
        conversation: The conversation.
        end: How many of its messages are to be rendered.
        features: Of the template.
        prompt: Whether the generation prompt is to be rendered too.
    """
    if end:
        return ""
    if conversation.messages[0].role == "user":
        return "question"
    return "answer" if prompt or not features.begins_empty else ""


def cut(rendered: Marked, first: First, features: Features, begin: Callable[[], str]) -> Marked:
    """What comes before the first message, out of the rendering of :func:`stand_in`.

    Args:
        rendered: A rendering; returned as it is where ``first`` is empty.
        first: From :func:`needed`.
        features: Of the template.
        begin: Gives the generation prompt.
    """
    match first:
        case "":
            return rendered
        case "question":
            return _before_question(rendered, features.question_header)
        case "answer":
            return _before_answer(rendered, begin())


def _before_question(rendered: Marked, header: str) -> Marked:
    """Cut a rendered placeholder conversation where the header of its first question begins.

    Args:
        rendered: The rendering of :func:`stand_in`.
        header: What the template writes before a later question; what the first one shares with
            it is the question's own, and the rest is the template's beginning.
    """
    lead = rendered.slice(0, max(0, rendered.text.find(VALUE)))
    at = next((n for n in range(len(header)) if lead.text.endswith(header[n:])), len(header))
    return lead.slice(0, len(lead.text) - len(header[at:]))


def _before_answer(rendered: Marked, generation_prompt: str) -> Marked:
    """Cut a rendered placeholder conversation where the first message's text begins.

    Args:
        rendered: The rendering of :func:`stand_in`.
        generation_prompt: What the template writes for an answer to begin. What it writes after
            that (an empty think block) belongs to the answer.
    """
    lead = rendered.slice(0, max(0, rendered.text.find(VALUE)))
    # A template that opens a think block for the model writes none into the turns it renders.
    for begun in (generation_prompt, generation_prompt.rstrip().removesuffix("<think>")):
        at = lead.text.rfind(begun) if begun else -1
        if at >= 0:
            return Marked(lead.text[:at] + generation_prompt, lead.slice(0, at).literal)
    return lead
