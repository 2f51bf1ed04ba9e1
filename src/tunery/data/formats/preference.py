"""Preference rows: a prompt with a chosen and a rejected answer, in all common notations.

The prompt is a separate column (text, messages or an instruction) or the common start of two
complete conversations.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from types import MappingProxyType
from typing import Any

from tunery.data.formats import alpaca
from tunery.data.formats.base import Columns, Row, RowOptions, never, optional_text, text
from tunery.data.formats.messages import listed, merged, ordered, tool_list
from tunery.data.formats.sharegpt import read_any
from tunery.data.formats.written import check_no_messages
from tunery.data.numbers import finite
from tunery.data.problems import NOTHING, Phrase, RowProblem, say, show
from tunery.types import Conversation, Example, Message, Pair, RowRef, is_list, is_object

HUMAN = "\n\nHuman:"
CHOSEN = ("preferred_output", "chosen_response", "messages", "conversations", "response")
ASKS = ("prompt", "instruction", "input", "conversations", "messages")
TURNS = ("conversations", "messages", "prompt")
"""Columns that may contain the prompt, in order of precedence, if there is no instruction."""


class Preference(Columns):
    """A prompt with a chosen and a rejected answer."""

    name = "preference"
    makes = Pair
    required = ("chosen", "rejected")
    known = (
        *("prompt", "instruction", "input", "conversations", "messages", "chosen", "rejected"),
        *("system", "history", "tools", "margin", "score_chosen", "score_rejected"),
    )
    usual = MappingProxyType(
        {
            "prompt": ("query",),
            "chosen": CHOSEN,
            "rejected": ("non_preferred_output", "rejected_response", "rejected_messages"),
        }
    )

    def kept(self, declared: Container[str]) -> tuple[str, ...]:
        """Both answers, and all prompt columns if no prompt column is configured."""
        named = any(name in declared for name in ASKS)
        return self.required if named else (*self.required, *ASKS)

    def score(self, raw: Row, options: RowOptions) -> float:
        """1 if both answers are present under any of their usual names, otherwise 0."""
        sides = [
            any(name in raw for name in (options.column(ours), *self.usual[ours]))
            for ours in self.required
        ]
        return 1.0 if all(sides) else 0.0

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """Test whether the prompt and both answers are text, and the answers differ."""
        ask = options.column("prompt")
        good, bad = options.column("chosen"), options.column("rejected")
        others = [options.column(name) for name in self.known if name not in self.required]
        others.remove(ask)
        if ask in (good, bad) or ask in others:
            return never

        def test(row: Row) -> bool:
            for value in (row.get(ask), row.get(good), row.get(bad)):
                if type(value) is not str or not value or value.isspace() or value[0] == "[":
                    return False
            if any(name in row for name in others):
                return False
            return row[good].split() != row[bad].split()

        return test

    def instead(self, raw: Row, options: RowOptions) -> Phrase:
        """Advice how to read only the chosen answers."""
        chosen = options.column("chosen")
        prompts = ("conversations", "messages", "prompt")
        prompt = next((options.column(n) for n in prompts if options.column(n) in raw), None)
        if _is_whole(raw.get(chosen)):
            way = f"--data.format openai --data.columns.messages {chosen}"
            way += _flags(raw, options, ("tools",))
        elif options.column("instruction") in raw:
            named = options.columns.get("instruction")
            way = "--data.format alpaca" + (f" --data.columns.instruction {named}" if named else "")
            way += f" --data.columns.output {chosen}"
            way += _flags(raw, options, ("input", "system", "history", "tools"))
        elif prompt is not None:
            named = f" --data.columns.prompt {prompt}" if prompt != "prompt" else ""
            way = f"--data.format prompt_completion{named} --data.columns.completion {chosen}"
            way += _flags(raw, options, ("system", "tools"))
        else:
            return NOTHING
        return say("To learn only from the chosen answers, set {way}.", way=Phrase(way))

    def unread(self, raw: Row, options: RowOptions, example: Example) -> Iterable[str]:
        """Other notations of the prompt, and scores if there is a margin or only one score."""
        found = {*super().unread(raw, options, example)}
        outer = raw.get(options.column("input"))
        taken = (options.column("chosen"), options.column("rejected"))
        columns = {name: options.column(name) for name in TURNS}
        asked = next((n for n, theirs in columns.items() if theirs in raw.keys() - taken), None)
        if is_object(outer) and "messages" in outer:
            found.update(("instruction", "history", *TURNS))
        elif options.column("instruction") in raw:
            found.update(TURNS)
        else:
            found.update(("input", "history", *(name for name in TURNS if name != asked)))
        scores = {"score_chosen", "score_rejected"}
        margin = raw.get(options.column("margin")) is not None
        if margin or any(raw.get(options.column(name)) is None for name in scores):
            found |= scores
        return [name for name in found if options.column(name) not in taken]

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> Pair:
        """Convert a row to a pair."""
        chosen = self._side(raw, "chosen", options)
        rejected = self._side(raw, "rejected", options)
        given, tools = self._prompt(raw, options)
        prompt, chosen, rejected = self._separate(given, chosen, rejected, options)
        system = options.column("system")
        instructions = optional_text(raw.get(system), system, options)
        if instructions.strip() and not (prompt and prompt[0].role == "system"):
            prompt.insert(0, Message("system", instructions))
        for name, side in (("chosen", chosen), ("rejected", rejected)):
            ordered([*prompt, *side], options.column(name), RowOptions())
        return Pair(
            Conversation(tuple(prompt), tools=tools),
            tuple(chosen),
            tuple(rejected),
            self._margin(raw, options),
            ref,
        )

    def _side(self, raw: Row, name: str, options: RowOptions) -> list[Message]:
        column = options.column(name)
        value: Any = self.value(raw, name, options)
        if is_object(value):
            value = [value]
        if not is_list(value):
            check_no_messages(value, column)
            return [Message("assistant", text(value, column, options))]
        side = read_any(listed(value, column), column, options)
        side = merged(side) if options.merge_same_role else side
        if side[-1].role != "assistant":
            raise RowProblem(
                "E406",
                column,
                say("{field} does not end with an assistant answer", field=column),
                say("Add the answer, or remove the row."),
            )
        return side

    def _prompt(
        self, raw: Row, options: RowOptions
    ) -> tuple[list[Message], tuple[dict[str, Any], ...]]:
        """The messages of the prompt column and the tools; no messages if there is no column."""
        tools = tool_list(raw.get(options.column("tools")), options.column("tools"))
        outer = raw.get(options.column("input"))
        if is_object(outer) and "messages" in outer:
            column = f"{options.column('input')}.messages"
            tools = tools or tool_list(outer.get("tools"), f"{options.column('input')}.tools")
            return self._messages(outer["messages"], column, options), tools
        if options.column("instruction") in raw:
            asked = Message("user", alpaca.question(raw, options))
            return [*alpaca.history(raw, options), asked], tools
        taken = (options.column("chosen"), options.column("rejected"))
        for name in TURNS:
            column = options.column(name)
            if column in raw and column not in taken:
                value = raw[column]
                if is_list(value):
                    return self._messages(value, column, options), tools
                check_no_messages(value, column)
                return [Message("user", text(value, column, options, is_prompt=True))], tools
        return [], tools

    def _messages(self, value: Any, column: str, options: RowOptions) -> list[Message]:
        found = read_any(listed(value, column), column, options)
        return merged(found) if options.merge_same_role else found

    def _separate(
        self,
        given: list[Message],
        chosen: list[Message],
        rejected: list[Message],
        options: RowOptions,
    ) -> tuple[list[Message], list[Message], list[Message]]:
        """Separate the prompt from both answers; it may be part of one or both sides."""
        names = options.column("chosen"), options.column("rejected")
        whole = [side[0].role != "assistant" for side in (chosen, rejected)]
        if not any(whole):
            if not given:
                raise _no_prompt(names[0], chosen)
            return given, chosen, rejected
        if all(whole):
            start = _shared(chosen, rejected, names)
            prompt, answers = chosen[:start], (chosen[start:], rejected[start:])
        elif whole[0]:
            start = _answer_start(chosen)
            prompt, answers = chosen[:start], (chosen[start:], rejected)
        else:
            start = _answer_start(rejected)
            prompt, answers = rejected[:start], (chosen, rejected[start:])
        if given and not _agrees(given, prompt, chosen):
            raise RowProblem(
                "E514",
                names[0],
                say("the prompt differs from the conversation in {field}", field=names[0]),
                say("Keep only one of them, or correct the row."),
            )
        return prompt, *answers

    def _margin(self, raw: Row, options: RowOptions) -> float | None:
        column = options.column("margin")
        if raw.get(column) is not None:
            return _number(raw[column], column)
        scores = options.column("score_chosen"), options.column("score_rejected")
        if any(raw.get(column) is None for column in scores):
            return None
        return _number(raw[scores[0]], scores[0]) - _number(raw[scores[1]], scores[1])


def _flags(raw: Row, options: RowOptions, names: Sequence[str]) -> str:
    """Flags for the columns to read in addition to the prompt and the answer."""
    theirs = [(name, options.column(name)) for name in names]
    return "".join(f" --data.columns.{ours} {name}" for ours, name in theirs if name in raw)


def _is_whole(value: Any) -> bool:
    """Whether an answer column contains a conversation with its prompt, in OpenAI format."""
    first = value[0] if is_list(value) and value else None
    return is_object(first) and first.get("role") in ("system", "developer", "user")


def _shared(chosen: list[Message], rejected: list[Message], names: tuple[str, str]) -> int:
    """Number of messages that the two conversations share before their answers.

    Raises:
        RowProblem: E515, they differ before the answers.
    """
    if chosen == rejected:
        return _answer_start(chosen)
    at = 0
    while at < min(len(chosen), len(rejected)) and chosen[at] == rejected[at]:
        at += 1
    sides = (chosen[at : at + 1], rejected[at : at + 1])
    if all(side and side[0].role == "assistant" for side in sides):
        return at
    raise RowProblem(
        "E515",
        f"{names[0]}[{at}]",
        say(
            "{first}[{at}] and {second}[{at}] differ and are not both answers: a pair "
            "shares one prompt",
            first=names[0],
            second=names[1],
            at=at,
        ),
        say("Make the messages before the two answers the same."),
    )


def _answer_start(messages: Sequence[Message]) -> int:
    """Index at which the last answer starts: after the last user message."""
    users = (i + 1 for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user")
    return next(users, len(messages) - 1)


def _agrees(given: list[Message], prompt: list[Message], chosen: list[Message]) -> bool:
    """Whether the prompt column agrees with the conversations of the row."""
    if given in (prompt, chosen):
        return True
    spoken = {message.content.strip() for message in prompt}
    return len(given) == 1 and given[0].content.strip() in spoken


def _no_prompt(column: str, chosen: list[Message]) -> RowProblem:
    if HUMAN in f"\n\n{chosen[0].content.lstrip()}":
        return RowProblem(
            "E512",
            column,
            say(
                "field {field} is a dialogue as one text (Human: ... Assistant: ...)", field=column
            ),
            say("Split it into messages with role and content."),
        )
    return RowProblem(
        "E512",
        column,
        say("{field} has no prompt", field=column),
        say("Add the column prompt, or name it: --data.columns.prompt THEIRS."),
    )


def _number(value: Any, column: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = finite(value)
        if number is not None:
            return number
    raise RowProblem(
        "E304",
        column,
        say("field {field}: expected a number, found {what}", field=column, what=show(value)),
        say("Write it as a number, or leave it out."),
    )
