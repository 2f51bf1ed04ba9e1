"""A chat template bound to a tokenizer: conversations to text, tokens and loss mask.

Training, chat, evaluation and export all render with this module. Templates run in the sandbox
(sandbox.py), control tokens spelled in content stay text (control.py, encode.py), and masks come
from the template's generation marks or from comparing rendered prefixes (mask.py).
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tunery.chat import builtin, mask, opening, probes, refusals, sandbox, stops
from tunery.chat.control import ControlTokens, Marked, Marker, SpelledTokens, unmark
from tunery.chat.encode import Encoder
from tunery.chat.messages import THINKING_VARIABLES, Thinking, in_parts, to_dicts, tool_dicts
from tunery.config.data import LossOn, SpecialTokens
from tunery.errors import DataError
from tunery.i18n import t
from tunery.types import Conversation, Message, Rendered

# Part of every template's hash; increase it when the same input gives other tokens or masks.
RENDERER_VERSION = 1
_PROBE = "Zq7text"
_OURS = ("messages", "tools", "documents", "add_generation_prompt")


class ChatTemplate:
    """Renders conversations for one tokenizer. Use :meth:`load`.

    Attributes:
        name: ``tokenizer`` for the tokenizer's own template, else the built-in or file name.
        source: The complete Jinja source.
        chat_template: The ``tokenizer.chat_template`` that gives the same tokens.
        notices: Sentences for the user about how the template was chosen.
        hash: Identifies the source, the special tokens and the version of this renderer.
        stop_ids: IDs of the tokens that end generation.
        stop_id: ID of the token after an answer in training.
        reads_parts: Whether the template reads contents only as lists of parts.
    """

    def __init__(
        self,
        tokenizer: Any,
        source: builtin.Source,
        *,
        now: datetime.datetime | None = None,
        model: Path | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.name = source.name
        self.source = source.text
        own = source.name == refusals.OWN
        self.chat_template: Any = tokenizer.chat_template if own else source.text
        self.notices: tuple[str, ...] = ()
        self._fixed = now
        self._tool_source = builtin.tool_source(tokenizer) if own else None
        self._variables = dict(tokenizer.special_tokens_map)
        self._check_needs(source)
        self.control = ControlTokens(tokenizer, source.text + (self._tool_source or ""))
        self.encoder = Encoder(tokenizer, self.control)
        self.reads_parts = False
        self.reads_parts = self._reads_parts_only()
        self.features = probes.Features(
            self._probe,
            self.source + (self._tool_source or ""),
            lambda: builtin.with_tools(self._known_tokens()),
        )
        found = stops.find(tokenizer, self.control, self._probe, source.stops, model)
        self._after_call = self._token_after_call(found.ids)
        called = () if self._after_call is None else (self._after_call,)
        self.stop_ids = found.ids.union(called)
        if found.main is None:
            raise refusals.no_stop_token(self.name)
        self.stop_id = found.main
        self._closing = found.closing
        self._begins: dict[Thinking, str] = {}
        identity: list[Any] = [RENDERER_VERSION, self.source, self._tool_source, self._variables]
        # Added only if not empty, so that the hash of most templates does not change.
        extra = [found.closes, sorted(self.stop_ids - found.ids), sorted(self.control.words)]
        if any(extra):
            identity.append(extra)
        if self.features.joins_thinking:
            identity.append("thinking joined")
        self.hash = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()

    @classmethod
    def load(
        cls,
        tokenizer: Any,
        name: str | None = None,
        *,
        now: datetime.datetime | None = None,
        model: Path | None = None,
    ) -> ChatTemplate:
        """Choose and check a template.

        Args:
            tokenizer: A transformers fast tokenizer.
            name: A built-in name, a ``.jinja`` file, or ``own+hermes`` for the tokenizer's own
                template with tools written as text; None means the tokenizer's own template or,
                if it has none, ``alpaca`` with a sentence in ``notices``.
            now: The date for templates that write one; by default the time of each rendering, as
                serving needs it. Pass a run's start time to use one date for the whole run.
            model: Folder of the model if the tokenizer comes from elsewhere (an adapter); its
                files list tokens that end an answer.

        Raises:
            UnknownName: No such template.
            ModelError: The template does not fit the tokenizer, or cannot be read or rendered.
        """
        if name == builtin.OWN_WITH_TOOLS and tokenizer.chat_template:
            lead, own = builtin.find(name).text, builtin.own_source(tokenizer)
            text = own if own.startswith(lead) else lead + own  # an earlier run saved it with lead
            template = cls(tokenizer, builtin.Source(name, text), now=now)
            template.notices = (
                t("Tools, calls and results are written as text (hermes) in the model's own "
                  "chat template."),
            )  # fmt: skip
            return template
        if name == builtin.OWN_WITH_TOOLS:
            raise refusals.no_own_template(name)
        if name is not None:
            return cls(
                tokenizer, builtin.with_bos(builtin.find(name), tokenizer), now=now, model=model
            )
        if tokenizer.chat_template:
            return cls(
                tokenizer,
                builtin.Source(refusals.OWN, builtin.own_source(tokenizer)),
                now=now,
                model=model,
            )
        template = cls(
            tokenizer, builtin.with_bos(builtin.find("alpaca"), tokenizer), now=now, model=model
        )
        template.notices = (
            t(
                "This model has no chat template. The plain alpaca template is used: "
                "headings as text, and the model's own end token after each answer, so "
                "no token is new to the model. Choose another one with model.template."
            ),
        )
        return template

    def render(
        self,
        conversation: Conversation,
        *,
        loss_on: LossOn = "assistant",
        thinking: Thinking = "strip_history",
        special_tokens: SpecialTokens = "text",
    ) -> list[Rendered]:
        """Render one conversation to training rows.

        Args:
            conversation: Messages, and the tools they may use.
            loss_on: ``assistant`` trains every answer, ``last`` the last one, ``all`` every
                token; a message's own ``train`` takes precedence.
            thinking: Which thinking is kept; use the same value in :meth:`prompt_ids`.
            special_tokens: ``text`` encodes control tokens spelled in messages as plain text,
                ``tokens`` as the tokens themselves.

        Returns:
            One row, or one row per trained answer if the template renders earlier turns differently
            from the last one (with a remark in ``notes``).

        Raises:
            DataError: The template rejects the conversation or does not support part of it.
            ModelError: There is no stop token to end an answer with.
        """
        (result,) = self.render_many(
            [conversation], loss_on=loss_on, thinking=thinking, special_tokens=special_tokens
        )
        if isinstance(result, DataError):
            raise result
        return result

    def render_many(
        self,
        conversations: Sequence[Conversation],
        *,
        loss_on: LossOn = "assistant",
        thinking: Thinking = "strip_history",
        special_tokens: SpecialTokens = "text",
    ) -> Iterator[list[Rendered] | DataError]:
        """Render a batch: a sandbox call per template source, and one multi-threaded encoding.

        Yields:
            For each conversation, in order, its rows or the error.
        """
        control = self.control if special_tokens == "text" else SpelledTokens()
        plans: list[mask.Plan | DataError] = []
        jobs: list[dict[str, Any]] = []
        sources: list[str] = []
        firsts: list[opening.First] = []  # whether a job renders the text before the first message
        for conversation in conversations:
            try:
                self.features.check(conversation, self.name)
            except DataError as error:
                plans.append(refusals.located(error, conversation.ref))
                continue
            plan = mask.plan(conversation, loss_on, thinking)
            plans.append(plan)
            for end, prompt in dict.fromkeys(plan.views):  # some views are often the same
                first = opening.needed(conversation, end, self.features, prompt=prompt)
                messages = conversation.messages[:end]
                if first:
                    messages = opening.placeholder(conversation)
                prompt, tools = prompt and not first, conversation.tools
                jobs.append(self._job(messages, tools, thinking, prompt=prompt, control=control))
                sources.append(self._source_for(conversation.tools))
                firsts.append(first)
        outcomes = self._render_jobs(jobs, sources)
        texts = [
            refusals.not_rendered(self.name, outcome.failure)
            if outcome.error
            else unmark(outcome.text, outcome.spans)
            for outcome in outcomes
        ]
        begin = functools.partial(self._generation_prompt, thinking)
        texts = [
            opening.cut(text, first, self.features, begin) if isinstance(text, Marked) else text
            for text, first in zip(texts, firsts, strict=True)
        ]
        encoded = iter(self.encoder.encode_many([t for t in texts if isinstance(t, Marked)]))
        views: list[mask.View | DataError] = []
        for text in texts:
            if isinstance(text, DataError):
                views.append(text)
            else:
                ids = next(encoded)
                views.append(ids if isinstance(ids, DataError) else mask.View(text, ids))
        place = 0
        for plan in plans:
            if isinstance(plan, DataError):
                yield plan
                continue
            keys = list(dict.fromkeys(plan.views))
            mine = dict(zip(keys, views[place : place + len(keys)], strict=True))
            place += len(keys)
            failure = next((v for v in mine.values() if isinstance(v, DataError)), None)
            try:
                if failure is not None:
                    raise failure
                found = {key: view for key, view in mine.items() if isinstance(view, mask.View)}
                rows = mask.rows(plan, [found[key] for key in plan.views], self)
                yield self.features.with_notes(rows, plan.conversation)
            except DataError as error:
                yield refusals.located(error, plan.conversation.ref)

    def prompt_ids(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        *,
        thinking: Thinking = "strip_history",
    ) -> list[int]:
        """Render and encode the conversation so far, with the generation prompt, to token IDs.

        Raises:
            DataError: The template rejects the messages, or they cannot be encoded.
        """
        return self.encoder.encode(self.prompt(messages, tools, thinking=thinking))

    def prompt(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]] = (),
        *,
        thinking: Thinking = "strip_history",
        values: Mapping[str, Any] | None = None,
    ) -> Marked:
        """Render the conversation so far, with the generation prompt at its end.

        Args:
            messages: The conversation.
            tools: Tools that the model may call.
            thinking: Which thinking of earlier turns is kept.
            values: More variables for the template, such as ``enable_thinking``. Control tokens
                spelled in them stay text; the variables set here cannot be replaced.

        Raises:
            DataError: The template rejects the messages.
        """
        self.features.check(Conversation(tuple(messages), tuple(tools)), self.name)
        job = self._job(messages, tools, thinking, prompt=True)
        more = {
            name: self.control.mark(value)
            for name, value in (values or {}).items()
            if name not in self._variables and name not in _OURS
        }
        (outcome,) = sandbox.render(self._source_for(tools), [{**job, **more}], now=self._now())
        if outcome.error:
            raise refusals.not_rendered(self.name, outcome.failure)
        return unmark(outcome.text)

    def decode(self, ids: Sequence[int]) -> str:
        """Decode the token IDs of an answer, without its special and stop tokens."""
        kept = [token for token in ids if token not in self.stop_ids]
        return self.tokenizer.decode(
            kept, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def closing_id(self, message: Message) -> int | None:
        """The stop token to add after an answer if the template writes none; None if it does."""
        if message.tool_calls and self._after_call is not None:
            return self._after_call
        return self._closing

    def _now(self) -> datetime.datetime:
        return self._fixed or datetime.datetime.now()

    def _token_after_call(self, known: frozenset[int]) -> int | None:
        """The token that ends an answer that is a tool call, if any."""
        if "tool_calls" not in self.features.source:
            return None
        whole, ending = self.features.call_example(), self.features.call_example(answered=False)
        if whole is None:
            return None
        return stops.after_call(self.control, whole, ending, probes.VALUE, known)

    def _generation_prompt(self, thinking: Thinking) -> str:
        """The generation prompt alone; empty if not known."""
        if thinking not in self._begins:
            question = (Message("user", "Hi"),)
            jobs = [self._job(question, (), thinking, prompt=prompt) for prompt in (False, True)]
            plain, whole = sandbox.render(self.source, jobs, now=self._now())
            known = not (plain.error or whole.error) and whole.text.startswith(plain.text)
            self._begins[thinking] = whole.text[len(plain.text) :] if known else ""
        return self._begins[thinking]

    def _job(
        self,
        messages: Sequence[Message],
        tools: Sequence[dict[str, Any]],
        thinking: Thinking,
        *,
        prompt: bool,
        control: Marker | None = None,
    ) -> dict[str, Any]:
        marks: Marker = control or self.control
        return {
            **self._variables,
            **THINKING_VARIABLES[thinking],
            "messages": self._handed(to_dicts(messages, self.features.shape, thinking, marks)),
            "tools": tool_dicts(tools, marks) if tools else None,
            "documents": None,
            "add_generation_prompt": prompt,
        }

    def _render_jobs(self, jobs: list[dict[str, Any]], sources: list[str]) -> list[sandbox.Outcome]:
        """Render jobs of one or two sources (some tokenizers have a separate one for tools)."""
        outcomes: list[sandbox.Outcome | None] = [None] * len(jobs)
        for source in dict.fromkeys(sources):
            mine = [index for index, other in enumerate(sources) if other is source]
            done = sandbox.render(source, [jobs[index] for index in mine], now=self._now())
            for index, outcome in zip(mine, done, strict=True):
                outcomes[index] = outcome
        return [outcome for outcome in outcomes if outcome is not None]

    def _source_for(self, tools: Sequence[dict[str, Any]]) -> str:
        return self._tool_source if tools and self._tool_source else self.source

    def _probe(self, messages: list[dict[str, Any]], **variables: Any) -> str | None:
        job: dict[str, Any] = {
            **self._variables,
            "messages": self._handed(messages),
            "tools": None,
            "documents": None,
            "add_generation_prompt": False,
            **variables,
        }
        (outcome,) = sandbox.render(self._source_for(job["tools"] or ()), [job], now=self._now())
        if outcome.error in ("time", "memory", "output", "sandbox", "syntax"):
            raise refusals.broken_template(self.name, outcome.failure)
        return None if outcome.error else outcome.text

    def _handed(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [in_parts(message) for message in messages] if self.reads_parts else messages

    def _reads_parts_only(self) -> bool:
        """Whether the template drops content that is a plain string (SmolVLM, Idefics 3)."""
        message = {"role": "user", "content": _PROBE}
        return _PROBE not in (self._probe([message]) or _PROBE) and _PROBE in (
            self._probe([in_parts(message)]) or ""
        )

    def _known_tokens(self) -> set[str]:
        return {token.content for token in self.tokenizer.added_tokens_decoder.values()}

    def _check_needs(self, source: builtin.Source) -> None:
        if missing := [name for name in source.needs if name not in self._known_tokens()]:
            raise refusals.missing_tokens(source.name, missing)
