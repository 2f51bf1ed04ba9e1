"""Stop tokens: what generation waits for after an answer, and so what training must teach."""

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
    """The stop tokens of a tokenizer with a template.

    Args:
        ids: Every token at which generation ends.
        main: The one that the template puts after an answer; None where there is none.
        closing: The token to put after an answer that the template leaves open; None where the
            template writes it itself.
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
    """Find the stop tokens by looking at what the template writes after an answer.

    Args:
        tokenizer: A transformers tokenizer.
        control: The tokenizer's control tokens.
        render: Renders a list of message dicts to text, None where the template refuses.
        named: Spellings that the template's header names.
        model: Folder of the model, whose files name end tokens; the tokenizer's by default.
    """
    asked = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": _PROBE}]
    after_last = _token_after(control, render(asked))
    after_middle = _token_after(control, render([*asked, {"role": "user", "content": "Go on"}]))
    if after_middle == tokenizer.bos_token_id:
        after_middle = None
    eos = tokenizer.eos_token_id
    # Where a last answer ends otherwise than an earlier one (gpt-oss: <|return|> and <|end|>), the
    # latter only closes messages, of which an answer may have several.
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
    """The control token at which an answer that is a tool call ends.

    Args:
        control: The tokenizer's control tokens.
        whole: A rendered conversation whose call has the argument ``value``, and its result.
        ending: The same up to the call; None where the template refuses that.
        value: The argument.
        known: The stop tokens found so far.

    Returns:
        One of the known, else what the template writes last after the call (gpt-oss), else what
        begins the result where it writes nothing (GLM-4.5); None where there is no token at all.
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
    """What the model's files name, as transformers reads them: its settings for generation, and
    where there are none its config."""
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        if not file.is_file():
            continue
        try:
            said: Any = json.loads(file.read_text(encoding="utf-8"))
            value: Any = said.get("eos_token_id")
            inner: Any = said.get("text_config")
        except (OSError, ValueError, AttributeError):
            return set()
        if value is None and name == "config.json" and is_object(inner):
            value = inner.get("eos_token_id")
        listed: list[Any] = value if is_list(value) else [value]
        return {token for token in listed if isinstance(token, int)}
    return set()
