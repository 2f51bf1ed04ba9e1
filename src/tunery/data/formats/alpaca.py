"""Alpaca rows: instruction, input, output, system, history, tools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunery.data.formats.base import Columns, Row, RowOptions, optional_text, text
from tunery.data.formats.messages import tool_list
from tunery.data.formats.written import parsed
from tunery.data.problems import RowProblem, say, show
from tunery.types import Conversation, Message, RowRef, is_list


class Alpaca(Columns):
    """One instruction and its answer; ``input`` is appended to the instruction on a new line."""

    name = "alpaca"
    required = ("instruction", "output")
    known = ("instruction", "input", "output", "system", "history", "tools", "weight")

    def plain(self, options: RowOptions) -> Callable[[Row], bool]:
        """Test whether instruction and output are strings that are not blank."""
        instruction, output = options.column("instruction"), options.column("output")
        extra, system = options.column("input"), options.column("system")
        history, tools = options.column("history"), options.column("tools")

        def test(row: Row) -> bool:
            question, answer = row.get(instruction), row.get(output)
            if type(question) is not str or type(answer) is not str:
                return False
            if not question or not answer or question.isspace() or answer.isspace():
                return False
            if len(row) == 2:
                return True
            if type(row.get(extra, "")) is not str or type(row.get(system, "")) is not str:
                return False
            return history not in row and tools not in row

        return test

    def convert(self, raw: Row, options: RowOptions, ref: RowRef | None) -> Conversation:
        """Make the conversation: system, earlier turns, question, answer."""
        prompt = question(raw, options)
        output = options.column("output")
        answer = text(self.value(raw, "output", options), output, options)
        messages: list[Message] = []
        system = options.column("system")
        instructions = optional_text(raw.get(system), system, options)
        if instructions.strip():
            messages.append(Message("system", instructions))
        messages += history(raw, options)
        messages += [Message("user", prompt), Message("assistant", answer)]
        tools = options.column("tools")
        return Conversation(tuple(messages), tools=tool_list(raw.get(tools), tools), ref=ref)


def question(raw: Row, options: RowOptions) -> str:
    """The instruction, followed by ``input`` on a new line.

    Raises:
        RowProblem: The instruction is missing, empty or not text.
    """
    instruction, extra = options.column("instruction"), options.column("input")
    value = Alpaca().value(raw, "instruction", options)
    more = optional_text(raw.get(extra), extra, options)
    if more.strip() and (value is None or value == ""):
        return more
    prompt = text(value, instruction, options, is_prompt=True)
    return "\n".join(part for part in (prompt, more) if part.strip()) or prompt


def history(raw: Row, options: RowOptions) -> list[Message]:
    """The messages of the earlier turns.

    Raises:
        RowProblem: The column is not a list of pairs of texts.
    """
    column = options.column("history")
    value: Any = raw.get(column)
    if value is None or (isinstance(value, str) and not value.strip()):
        return []
    value = parsed(value, column, options)
    turns: list[Message] = []
    if not is_list(value):
        raise RowProblem(
            "E304",
            column,
            say("field {field}: expected a list, found {what}", field=column, what=show(value)),
            say("Write it as [[question, answer], ...]."),
        )
    for i, pair in enumerate(value):
        where = f"{column}[{i}]"
        if not is_list(pair) or len(pair) != 2:
            raise RowProblem(
                "E304",
                where,
                say(
                    "field {field}: expected a question and an answer, found {what}",
                    field=where,
                    what=show(pair),
                ),
                say("Write it as [[question, answer], ...]."),
            )
        turns.append(Message("user", text(pair[0], column, options, place=f"{where}[0]")))
        turns.append(Message("assistant", text(pair[1], column, options, place=f"{where}[1]")))
    return turns
