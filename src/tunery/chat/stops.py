"""Stop tokens: the tokens that end generation, and so what training must teach."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery.chat.control import ControlTokens
from tunery.types import is_list, is_object

_PROBE = "Fw4kq"


@dataclass(frozen=True, slots=True)
class Stops:
    """The stop tokens of a tokenizer with a template, as token IDs.

    Args:
        ids: All tokens that end generation.
        main: The token that follows an answer in training; None if there is none.
        closing: The token to add after the last answer; None if the template writes one itself.
        closes: A token that the template writes after earlier answers but that does not end
            generation (gpt-oss: ``<|end|>``); None if there is none.
    """

    ids: frozenset[int]
    main: int | None
    closing: int | None
    closes: int | None = None


def find(
    tokenizer: Any,
    control: ControlTokens,
    render: Any,
    named: tuple[str, ...],
    model: Path | None = None,
) -> Stops:
    """Find the stop tokens from what the template writes after an answer.

    Args:
        tokenizer: A transformers tokenizer.
        control: The tokenizer's control tokens.
        render: Renders a list of message dicts to text; returns None if the template fails.
        named: Spellings listed in the template's header.
        model: Folder of the model, whose files list end tokens; the tokenizer's by default.
    """
    asked = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": _PROBE}]
    after_last = _token_after(control, render(asked))
    after_middle = _token_after(control, render([*asked, {"role": "user", "content": "Go on"}]))
    if after_middle == tokenizer.bos_token_id:
        after_middle = None
    eos = tokenizer.eos_token_id
    # If the last answer ends differently from earlier ones (gpt-oss: <|return|> and <|end|>), the
    # latter token only closes messages, of which an answer may have several.
    ends = (after_middle if after_last is None else after_last, eos)
    ids = {token for token in ends if token is not None}
    ids |= {control.by_spelling[name] for name in named if name in control.by_spelling}
    ids |= _end_tokens(model or Path(str(tokenizer.name_or_path)))
    closing = None
    if after_last is None:
        closing = after_middle if after_middle is not None else eos
    closes = None if after_middle in ids else after_middle
    return Stops(frozenset(ids), after_last if after_last is not None else closing, closing, closes)


def after_call(
    control: ControlTokens, whole: str, ending: str | None, value: str, known: frozenset[int]
) -> int | None:
    """The control token that ends an answer that is a tool call.

    Args:
        control: The tokenizer's control tokens.
        whole: A rendered conversation with a call that has the argument ``value``, and its result.
        ending: The same conversation without the result; None if the template rejects it.
        value: The argument.
        known: The stop tokens found so far.

    Returns:
        A known stop token after the call; otherwise the last token that the template writes after
        it (gpt-oss); otherwise the first token of the result (GLM-4.5); None if there is none.
    """
    written = (
        [] if ending is None or value not in ending else _tokens_behind(control, ending, value)
    )
    following = _tokens_behind(control, whole, value)
    stop = next((token for token in [*written, *following[:1]] if token in known), None)
    return stop if stop is not None else next(iter([*reversed(written), *following]), None)


def _tokens_behind(control: ControlTokens, text: str, value: str) -> list[int]:
    return control.all_in(text.rpartition(value)[2]) if value in text else []


def _token_after(control: ControlTokens, text: str | None) -> int | None:
    if text is None or _PROBE not in text:
        return None
    found = control.first_at(text[text.rindex(_PROBE) + len(_PROBE) :])
    return found[1] if found else None


def _end_tokens(folder: Path) -> set[int]:
    """End tokens in the model's files, as transformers reads them: from generation_config.json, or
    from config.json if that is missing."""
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            settings: Any = json.loads(file.read_text(encoding="utf-8"))
            value: Any = settings.get("eos_token_id")
            inner: Any = settings.get("text_config")
        except (OSError, ValueError, AttributeError):
            return set()
        if value is None and name == "config.json" and is_object(inner):
            value = inner.get("eos_token_id")
        listed: list[Any] = value if is_list(value) else [value]
        return {token for token in listed if isinstance(token, int)}
    return set()
