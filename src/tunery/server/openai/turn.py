"""A conversation on its way to the engine: what a request of every chat API becomes."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from tunery.chat.answers import AnswerReader
from tunery.chat.tool_calls import FORCED, Syntax, syntax_of
from tunery.engines.base import GenerateRequest, Started
from tunery.server.openai import prompts
from tunery.server.openai.answer_schema import forces_call
from tunery.server.openai.choices import in_thinking
from tunery.server.openai.prompts import Reader
from tunery.server.openai.route import find_target
from tunery.server.openai.schemas import ChatRequest
from tunery.services import chat
from tunery.services.chat import Target


@dataclass(frozen=True, slots=True)
class Turn:
    """One conversation to answer.

    Args:
        target: The model that answers.
        asked: The engine request.
        syntax: How the model writes tool calls.
    """

    target: Target
    asked: GenerateRequest
    syntax: Syntax

    @classmethod
    async def of(cls, request: Request, wanted: ChatRequest) -> Turn:
        """Find the model and convert the request for the engine.

        Raises:
            Refused: Part of it cannot be used.
            UnknownName: There is no such model.
        """
        target = await find_target(request, wanted.model)
        source = await run_in_threadpool(chat.template_source, target.resolved)
        syntax = FORCED if forces_call(wanted) else syntax_of(source)
        reader = Reader(target.adapter, target.context_length, target.template)
        asked = prompts.of_chat(wanted, reader, syntax)
        prompts.check_tools(asked, source)
        return cls(target, asked, syntax)

    def reader(self, begun: Started) -> AnswerReader:
        """Make the parser of an answer."""
        return AnswerReader(
            self.syntax,
            tools=self.asked.tools or (),
            in_thinking=in_thinking(begun, self.syntax.thinking),
        )
