"""What a template writes before the first message of a conversation.

This text cannot be rendered from an empty list of messages: templates that read the first message
fail without one, and some write a default system message only if there is a first message. So the
first message is rendered with a placeholder as its text; the text before the placeholder is the
template's own beginning and the first message's header.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tunery.chat.control import Marked
from tunery.chat.probes import VALUE, Features
from tunery.types import Conversation, Message

First = Literal["", "question", "answer"]
"""Role of the first message if the text before it is needed; empty if it is not."""


def placeholder(conversation: Conversation) -> tuple[Message, ...]:
    """The first message alone, with a placeholder as its text."""
    return (Message(conversation.messages[0].role, VALUE),)


def needed(conversation: Conversation, end: int, features: Features, *, prompt: bool) -> First:
    """Whether no messages are to be rendered (``end`` is 0), so a placeholder is rendered instead.

    Args:
        conversation: The conversation.
        end: Number of its messages to render.
        features: Features of the template.
        prompt: Whether to render the generation prompt too.
    """
    if end:
        return ""
    if conversation.messages[0].role == "user":
        return "question"
    return "answer" if prompt or not features.begins_empty else ""


def cut(rendered: Marked, first: First, features: Features, begin: Callable[[], str]) -> Marked:
    """Cut the text before the first message from the rendering of :func:`placeholder`.

    Args:
        rendered: A rendering; returned unchanged if ``first`` is empty.
        first: The result of :func:`needed`.
        features: Features of the template.
        begin: Returns the generation prompt.
    """
    match first:
        case "":
            return rendered
        case "question":
            return _before_question(rendered, features.question_header)
        case "answer":
            return _before_answer(rendered, begin())


def _before_question(rendered: Marked, header: str) -> Marked:
    """Cut a rendered placeholder conversation at the header of its first question.

    Args:
        rendered: The rendering of :func:`placeholder`.
        header: What the template writes before a later question. The longest suffix of it that
            precedes the first question is that question's header.
    """
    lead = rendered.slice(0, max(0, rendered.text.find(VALUE)))
    at = next((n for n in range(len(header)) if lead.text.endswith(header[n:])), len(header))
    return lead.slice(0, len(lead.text) - len(header[at:]))


def _before_answer(rendered: Marked, generation_prompt: str) -> Marked:
    """Cut a rendered placeholder conversation at the text of the first message.

    Args:
        rendered: The rendering of :func:`placeholder`.
        generation_prompt: The generation prompt. What follows it (such as an empty think block)
            belongs to the answer.
    """
    lead = rendered.slice(0, max(0, rendered.text.find(VALUE)))
    # A template whose generation prompt opens a think block omits it in rendered turns.
    for begun in (generation_prompt, generation_prompt.rstrip().removesuffix("<think>")):
        at = lead.text.rfind(begun) if begun else -1
        if at >= 0:
            return Marked(lead.text[:at] + generation_prompt, lead.slice(0, at).literal)
    return lead
