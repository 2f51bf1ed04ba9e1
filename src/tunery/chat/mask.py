"""Loss masks: which tokens of a rendered conversation are trained.

A trained answer extends from the end of its prompt (the conversation before it plus the generation
prompt) through the stop token that ends generation. Both ends are found by rendering prefixes of
the conversation and comparing tokens, or taken from the template's ``{% generation %}`` marks. If
the rendered conversation does not begin with these prefixes, the template renders earlier turns
differently from the last one (thinking removed, an empty think block, an end token only at the
end). Then each trained answer becomes a separate row, which is what the model sees at inference. A
mask is never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tunery.chat import refusals
from tunery.chat.control import Marked, unmark
from tunery.chat.messages import Shape, Thinking, split_thinking
from tunery.chat.remarks import (
    LOST_THINKING,
    NO_TRAINED_TOKEN,
    NOT_KEPT,
    ONLY_STOP,
    OPENED_THINKING,
    REWRITES_HISTORY,
    SPELLED_CONTROL,
    STOPS_INSIDE,
)
from tunery.config.data import LossOn
from tunery.types import Conversation, Message, Rendered


@dataclass(frozen=True, slots=True)
class View:
    """A prefix of the conversation, rendered and encoded."""

    marked: Marked
    ids: list[int]


@dataclass(frozen=True, slots=True)
class Plan:
    """The renderings needed to compute a conversation's mask.

    Args:
        conversation: The conversation.
        loss_on: The setting ``data.loss_on``.
        answers: Indices of the assistant messages that are trained.
        others: Indices of other messages whose own ``train`` differs from the setting.
        thinking: The setting ``data.thinking``.
        views: (number of messages, with generation prompt) of each rendering: the whole
            conversation, then the prompt and the turn of each of ``answers``, then the text before
            and after each of ``others``.
    """

    conversation: Conversation
    loss_on: LossOn
    answers: tuple[int, ...]
    others: tuple[int, ...]
    thinking: Thinking
    views: tuple[tuple[int, bool], ...]


@dataclass(frozen=True, slots=True)
class _Turn:
    """A trained answer as a separate row, with the token span of the answer in that row."""

    index: int
    text: str
    ids: list[int]
    start: int
    end: int
    notes: tuple[str, ...] = ()


def plan(conversation: Conversation, loss_on: LossOn, thinking: Thinking) -> Plan:
    """Determine which messages are trained and what must be rendered for it."""
    messages = conversation.messages
    assistants = [i for i, message in enumerate(messages) if message.role == "assistant"]
    chosen = assistants[-1:] if loss_on == "last" else assistants
    wanted = {i for i in chosen if messages[i].train is not False}
    wanted |= {i for i in assistants if messages[i].train is True}
    if loss_on == "all":
        # Everything is trained except messages with train: false, whose spans are needed.
        others = tuple(i for i, message in enumerate(messages) if message.train is False)
        answers = tuple(i for i in assistants[-1:] if i in wanted)
    else:
        others = tuple(
            i for i, m in enumerate(messages) if m.train is True and m.role != "assistant"
        )
        answers = tuple(sorted(wanted))
    views = [(len(messages), False)]
    for index in answers:
        views += [(index, True), (index + 1, False)]
    for index in others:
        views += [(index, messages[index].role == "assistant"), (index + 1, False)]
    return Plan(conversation, loss_on, answers, others, thinking, tuple(views))


def rows(plan: Plan, views: list[View], template: Any) -> list[Rendered]:
    """Make the training rows of one conversation.

    Args:
        plan: The result of :func:`plan`.
        views: Its renderings, in the order of ``plan.views``.
        template: The ChatTemplate, used for its encoder and stop tokens.

    Raises:
        DataError: The template's prompt and turn do not match (E417), or the span of a message
            cannot be found (E418).
        ModelError: There is no stop token to end an answer with.
    """
    made = _rows(plan, views[0], views[1:], template)
    if not views[0].marked.literal:
        return made
    return [replace(row, notes=(*row.notes, SPELLED_CONTROL)) for row in made]


def _rows(plan: Plan, whole: View, pairs: list[View], template: Any) -> list[Rendered]:
    turns = [
        _turn(plan, index, (pairs[2 * n], pairs[2 * n + 1], whole), template)
        for n, index in enumerate(plan.answers)
    ]
    rest = pairs[2 * len(turns) :]
    if plan.loss_on == "all":
        return [_everything(plan, whole, turns, rest, template)]
    if not all(_fits(turn, whole, template) for turn in turns):
        if plan.others:
            raise refusals.no_span(template.name, plan.others[0] + 1)
        return [_alone(turn, len(turns)) for turn in turns]
    ids, text = _closed(whole, turns)
    trained = [False] * len(ids)
    for turn in turns:
        trained[turn.start : turn.end] = [True] * (turn.end - turn.start)
    if whole.marked.generated:
        trained = _from_marks(plan, whole, ids, trained, template)
    for n, index in enumerate(plan.others):
        start, end = _span(index, rest[2 * n], rest[2 * n + 1], whole, template)
        trained[start:end] = [True] * (end - start)
    notes = tuple(note for turn in turns for note in turn.notes)
    return [Rendered(text, ids, trained, notes=notes + _remarks(trained, turns))]


def _turn(plan: Plan, index: int, seen: tuple[View, View, View], template: Any) -> _Turn:
    """Find the span of one answer: from the end of its prompt through the stop token."""
    prompt, turn, whole = seen
    message, shape = plan.conversation.messages[index], template.features.shape
    thought = split_thinking(message, shape)[0] if plan.thinking != "off" else None
    notes: tuple[str, ...] = ()
    start, text = len(prompt.ids), turn.marked.text
    if turn.marked.starts_with(prompt.marked):
        if turn.ids[:start] == prompt.ids:
            ids = list(turn.ids)
        else:
            # The start of the answer would merge into the prompt's last token. At inference the
            # prompt is encoded alone, so the row is split there too.
            after = turn.marked.slice(len(prompt.marked.text))
            ids = [*prompt.ids, *template.encoder.encode_rest(after)]
    else:
        answer = _after_opened_thinking(prompt.marked, turn.marked, thought, template)
        ids = [*prompt.ids, *template.encoder.encode_rest(answer)]
        text, notes = prompt.marked.text + answer.text, (OPENED_THINKING,)
    if thought and thought.strip() not in text[len(prompt.marked.text) :]:
        notes = (*notes, LOST_THINKING)
    if plan.thinking == "keep" and not shape.keeps_history and _thought_before(plan, index, shape):
        notes = (*notes, NOT_KEPT)
    end = _stop_after(ids, start, template)
    if end is None:
        closing = _closing(message, ids, whole, template)
        end, ids = len(ids) + 1, [*ids, closing]
        text += template.tokenizer.convert_ids_to_tokens(closing)
    elif _stop_after(ids, end, template) is not None:
        notes = (*notes, STOPS_INSIDE)
    return _Turn(index, text, ids, start, end, notes)


def _thought_before(plan: Plan, index: int, shape: Shape) -> bool:
    """Whether an answer to an earlier question contains thinking."""
    before = plan.conversation.messages[:index]
    last_user = max((i for i, m in enumerate(before) if m.role == "user"), default=0)
    return any(
        message.role == "assistant" and bool(split_thinking(message, shape)[0])
        for message in before[:last_user]
    )


def _closing(message: Message, ids: list[int], whole: View, template: Any) -> int:
    """The stop token of an answer after which the template writes none (GLM-4)."""
    after = whole.ids[len(ids) : len(ids) + 1]
    if after and after[0] in template.stop_ids and whole.ids[: len(ids)] == ids:
        return after[0]
    closing = template.closing_id(message)
    if closing is None:
        raise refusals.no_stop_token(template.name)
    return closing


def _stop_after(ids: list[int], start: int, template: Any) -> int | None:
    return next(
        (place + 1 for place in range(start, len(ids)) if ids[place] in template.stop_ids), None
    )


def _after_opened_thinking(
    prompt: Marked, turn: Marked, thought: str | None, template: Any
) -> Marked:
    """The answer after a prompt that ends with an opened think block (DeepSeek R1 and similar).

    Such a template removes the thinking from every turn it renders, so the rendered turn is not
    what the model sees at inference. The row is the prompt, the thinking, its end tag, the answer.
    """
    opened = prompt.text.rstrip()
    header = opened.removesuffix("<think>")
    if header == opened or not turn.text.startswith(header):
        raise refusals.prompt_differs(template.name, prompt.text, turn.text[len(header) :])
    after = turn.slice(len(header))
    if after.text.lstrip().startswith("<think>"):
        body = after.text[after.text.index("<think>") + len("<think>") :]
        return after.slice(len(after.text) - len(body.lstrip("\n")))
    thinking = unmark(template.control.mark((thought or "").strip("\n"), assistant=True))
    own_end = after.text.startswith("</think>")  # written without thinking (DeepSeek V3.1)
    if own_end:
        after = after.slice(len("</think>"))
    # Removing a block from the content leaves its newlines; they are replaced here.
    after = after.slice(len(after.text) - len(after.text.lstrip("\n")))
    lines = prompt.text.endswith("\n") or not own_end
    between = "\n" if lines and (thinking.text or not prompt.text.endswith("\n")) else ""
    lead = f"{thinking.text}{between}</think>" + ("" if own_end else "\n\n")
    moved = tuple((a + len(lead), b + len(lead)) for a, b in after.literal)
    return Marked(lead + after.text, (*thinking.literal, *moved))


def _fits(turn: _Turn, whole: View, template: Any) -> bool:
    """Whether the tokens of the conversation begin with this turn's, through its stop token."""
    ids = turn.ids[: turn.end]
    if whole.ids[: turn.end] == ids:
        return True
    return whole.ids == ids[:-1] and ids[-1] in template.stop_ids


def _closed(whole: View, turns: list[_Turn]) -> tuple[list[int], str]:
    """The whole conversation, with a stop token added if its last answer lacks one."""
    ids, text = list(whole.ids), whole.marked.text
    if turns and turns[-1].end == len(ids) + 1:
        return list(turns[-1].ids), turns[-1].text
    return ids, text


def _alone(turn: _Turn, parts: int) -> Rendered:
    trained = [turn.start <= place < turn.end for place in range(len(turn.ids))]
    notes = (*turn.notes, *((REWRITES_HISTORY,) if parts > 1 else ()))
    return Rendered(
        turn.text, turn.ids, trained, parts=parts, notes=notes + _remarks(trained, [turn])
    )


def _everything(
    plan: Plan, whole: View, turns: list[_Turn], rest: list[View], template: Any
) -> Rendered:
    """Train every token except those of messages with ``train: false``."""
    fits = all(_fits(turn, whole, template) for turn in turns)
    ids, text = _closed(whole, turns) if fits else (list(whole.ids), whole.marked.text)
    trained = [True] * len(ids)
    for n, index in enumerate(plan.others):
        start, end = _span(index, rest[2 * n], rest[2 * n + 1], whole, template)
        trained[start:end] = [False] * (end - start)
    return Rendered(text, ids, trained, notes=_remarks(trained, []))


def _span(index: int, before: View, after: View, whole: View, template: Any) -> tuple[int, int]:
    """The token span of a message in the whole conversation."""
    start, end = len(before.ids), len(after.ids)
    fits = whole.ids[:end] == after.ids
    if fits and after.ids[:start] != before.ids:
        # The template's own beginning may share a token with the first message; it keeps it.
        found = _token_after(before, after, template) if index == 0 else None
        fits, start = found is not None, found or 0
    if not fits:
        raise refusals.no_span(template.name, index + 1)
    return start, end


def _token_after(before: View, after: View, template: Any) -> int | None:
    """Index of the first token that starts after the prefix ``before``; None if not known."""
    ids, offsets = template.encoder.encode_with_offsets(after.marked)
    if ids != after.ids or not after.marked.starts_with(before.marked):
        return None
    cut = len(before.marked.text)
    return next((place for place, (begin, _) in enumerate(offsets) if begin >= cut), None)


def _from_marks(
    plan: Plan, whole: View, ids: list[int], by_prefix: list[bool], template: Any
) -> list[bool]:
    """The mask from the template's generation marks, each span extended to its stop token."""
    assistants = [i for i, m in enumerate(plan.conversation.messages) if m.role == "assistant"]
    spans = list(whole.marked.generated)
    if len(spans) == len(assistants):
        spans = [s for s, i in zip(spans, assistants, strict=True) if i in plan.answers]
    elif len(plan.answers) != len(assistants):
        return by_prefix  # it is not known which mark belongs to which answer
    encoded, offsets = template.encoder.encode_with_offsets(whole.marked)
    if encoded != whole.ids:
        return by_prefix
    trained = [False] * len(ids)
    for begin, finish in spans:
        inside = [
            place for place, (a, b) in enumerate(offsets) if a < finish and b > begin and a < b
        ]
        if not inside:
            continue
        start, end = inside[0], inside[-1] + 1
        stop = _stop_after(ids, start, template)
        end = stop if stop is not None and stop <= end + 1 else end
        trained[start:end] = [True] * (end - start)
    return trained


def _remarks(trained: list[bool], turns: list[_Turn]) -> tuple[str, ...]:
    notes: tuple[str, ...] = ()
    if not any(trained):
        notes += (NO_TRAINED_TOKEN,)
    if any(turn.end - turn.start == 1 for turn in turns):
        notes += (ONLY_STOP,)
    return notes
