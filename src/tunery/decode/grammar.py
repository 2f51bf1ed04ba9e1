"""Answers constrained to a JSON schema, with token masks from llguidance."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import llguidance.hf
import torch
from llguidance import LLMatcher
from torch import Tensor

from tunery.errors import EngineError
from tunery.i18n import t

BITS = 32
_MOST_SHOWN = 300
FORM: Any = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class Grammars:
    """Makes matchers for one tokenizer.

    Args:
        tokenizer: A fast tokenizer of transformers.
        stop_id: The token that ends an answer.
    """

    def __init__(self, tokenizer: Any, stop_id: int) -> None:
        self._added: dict[str, int] = tokenizer.get_added_vocab()
        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, eos_token=stop_id)
        self._shift = torch.arange(BITS, dtype=torch.int32)

    def follow(self, schema: Mapping[str, Any], *, unless: Sequence[str] = ()) -> Grammar:
        """Start following a schema.

        Args:
            schema: A JSON schema.
            unless: Texts that may start the answer instead; anything may follow them.

        Raises:
            EngineError: ``bad_schema``, with the message from llguidance.
        """
        try:
            # Validate the schema by itself first: inside another grammar its errors are less clear.
            source = LLMatcher.grammar_from_json_schema(
                json.dumps(schema), defaults=cast(Any, FORM)
            )
            problem = LLMatcher.validate_grammar(source, self._tokenizer)
            if unless and not problem:
                source = LLMatcher.grammar_from_lark(self._either(schema, unless))
                problem = LLMatcher.validate_grammar(source, self._tokenizer)
        except ValueError as error:
            raise _bad_schema(str(error)) from error
        if problem:
            raise _bad_schema(problem)
        return Grammar(LLMatcher(self._tokenizer, source), self._shift)

    def _either(self, schema: Mapping[str, Any], unless: Sequence[str]) -> str:
        """A grammar for llguidance: the schema, or one of the texts followed by anything."""
        begins: list[str] = []
        for text in unless:
            begins.append(json.dumps(text))
            if text in self._added:  # one token, which no spelled-out text matches
                begins.append(f"<[{self._added[text]}]>")
        follows = json.dumps({**schema, "x-guidance": FORM})
        return "\n".join(
            [
                "start: answer | free",
                f"answer: %json {follows}",
                f"free: ({' | '.join(begins)}) REST",
                r"REST: /(.|\n)*/",
            ]
        )


class Grammar:
    """The position of one answer in its grammar."""

    def __init__(self, matcher: LLMatcher, shift: Tensor) -> None:
        self._matcher = matcher
        self._shift = shift

    def copy(self) -> Grammar:
        """A copy at the same position, for another answer."""
        return Grammar(self._matcher.deep_copy(), self._shift)

    def mask(self, logits_V: Tensor) -> Tensor:
        """Set the logits of all tokens that are not allowed next to minus infinity."""
        size = -(-len(logits_V) // BITS)
        bits = torch.zeros(size, dtype=torch.int32)
        self._matcher.unsafe_compute_mask_ptr(bits.data_ptr(), bits.nbytes)
        allowed = ((bits[:, None] >> self._shift) & 1).flatten()[: len(logits_V)].bool()
        return logits_V.masked_fill(~allowed.to(logits_V.device), -torch.inf)

    def take(self, token: int) -> bool:
        """Advance by a token; return True once no token may follow."""
        self._matcher.consume_token(token)
        return self._matcher.is_stopped()


def _bad_schema(why: str) -> EngineError:
    return EngineError(
        t("The JSON schema cannot be used: {why}.", why=_reason(why).rstrip(".")),
        fix=t("Correct the schema, or remove what is not supported."),
        code="bad_schema",
    )


def _reason(why: str) -> str:
    """What llguidance says, in one line; it draws a regular expression over several."""
    lines = [line.strip() for line in why.strip().splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if lines[0].startswith("regex parse error") and len(lines) > 1 and errors:
        pattern = lines[1] if len(lines[1]) <= 100 else f"{lines[1][:100]}…"
        return t("the regular expression {pattern} is not valid: {why}",
                 pattern=pattern, why=errors[0])  # fmt: skip
    return " ".join(lines)[:_MOST_SHOWN]
