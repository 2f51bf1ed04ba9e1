"""Examples to token rows: rendering, cutting, and the cache that a second run starts from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from tunery.chat.control import ControlTokens, unmark
from tunery.chat.encode import Encoder
from tunery.chat.refusals import located
from tunery.chat.remarks import DROPPED, NO_ROOM, NO_TRAINED_TOKEN, REJECTED, in_words
from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.data import too_long
from tunery.data.token_rows import RowWriter, TokenRows
from tunery.errors import DataError, ModelError
from tunery.i18n import t
from tunery.types import Conversation, Example, Rendered, Text

CHUNK = 256
FORMAT_VERSION = 1

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Tokenized:
    """The rows of one example.

    Args:
        rows: Ready for training; empty where the example is dropped.
        dropped_reason: Why there is no row; empty where there are rows.
        full_length: The longest row before cutting, in tokens.
    """

    rows: list[Rendered]
    dropped_reason: str = ""
    full_length: int = 0


def tokenize(
    example: Example, template: ChatTemplate | None, tokenizer: Any, data: DataConfig
) -> Tokenized:
    """Turn one example into rows of at most ``data.max_length`` tokens.

    Args:
        example: A conversation or a text.
        template: For conversations; None where the method reads text only.
        tokenizer: The tokenizer of the template.
        data: Which tokens are trained and what happens to long rows.

    Raises:
        DataError: The template rejects the example, or it is too long under ``too_long: fail``.
    """
    (result,) = _tokenize_chunk([example], template, tokenizer, data)
    if isinstance(result, DataError):
        raise result
    return result


def tokenize_all(
    examples: Sequence[Example],
    template: ChatTemplate | None,
    tokenizer: Any,
    data: DataConfig,
    *,
    cache: Path | None,
    progress: Progress | None = None,
) -> TokenRows:
    """Tokenize every example, or open what an earlier run tokenized alike.

    Memory stays bounded: rows go to disk as they are made and come back through memory maps.

    Args:
        examples: The examples; their ``hash`` attribute, where they have one, names them.
        template: For conversations.
        tokenizer: The tokenizer.
        data: The settings.
        cache: Folder of cached rows; None for a temporary one that lives as long as the result.
        progress: Called with (examples done, examples in all).

    Raises:
        DataError: Rows cannot be rendered (all of them counted, five shown), are too long under
            ``too_long: fail``, or none is left.
    """
    folder = cache / _key(examples, template, tokenizer, data) if cache is not None else None
    if folder is not None and (found := _open_cached(folder)) is not None:
        if progress is not None:
            progress(found.examples, found.examples)
        return found
    writer = RowWriter(folder)
    try:
        _write_all(writer, examples, template, tokenizer, data, progress)
    except BaseException:
        writer.abandon()
        raise
    return writer.finish()


def text_encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    """Return a function that encodes plain text: BOS where the tokenizer adds one, then EOS.

    Raises:
        ModelError: The tokenizer has no EOS to end a text with.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            t(
                "{name}: the tokenizer has no EOS token to end a text with.",
                name=tokenizer.name_or_path,
            ),
            fix=t("Add eos_token to its tokenizer_config.json."),
        )
    control = ControlTokens(tokenizer, "")
    encoder = Encoder(tokenizer, control)
    bos = tokenizer.bos_token_id
    front = [bos] if bos is not None and bos in tokenizer.encode("") else []

    def encode(text: str) -> list[int]:
        return [*front, *encoder.encode(unmark(control.mark(text))), tokenizer.eos_token_id]

    return encode


def _write_all(
    writer: RowWriter,
    examples: Sequence[Example],
    template: ChatTemplate | None,
    tokenizer: Any,
    data: DataConfig,
    progress: Progress | None,
) -> None:
    total = len(examples)
    refused: list[DataError] = []
    counts: Counter[str] = Counter()
    for start in range(0, total, CHUNK):
        chunk = [examples[index] for index in range(start, min(start + CHUNK, total))]
        for offset, result in enumerate(_tokenize_chunk(chunk, template, tokenizer, data)):
            writer.examples += 1
            if isinstance(result, DataError):
                counts[result.code] += 1
                if counts[result.code] <= 5:
                    refused.append(result)
                writer.filtered[REJECTED] += 1
            elif result.dropped_reason:
                writer.filtered[result.dropped_reason] += 1
                writer.full_lengths[result.full_length] += 1
            else:
                writer.add(result.rows, start + offset, full_length=result.full_length)
        if progress is not None:
            progress(min(start + CHUNK, total), total)
    _judge(writer, refused, counts, total, data)


def _judge(
    writer: RowWriter,
    refused: list[DataError],
    counts: Counter[str],
    total: int,
    data: DataConfig,
) -> None:
    """Stop where rows may not be set aside, or none is left."""
    bad = sum(counts.values())
    allowed = data.on_bad_rows == "quarantine" and bad <= data.max_bad_share * total
    if bad and not allowed:
        shown = "\n".join(f"  {error.message}" for error in refused[:20])
        first = refused[0]
        raise DataError(
            first.message
            if total == 1
            else t("{bad} of {total} rows cannot be used:", bad=bad, total=total) + f"\n{shown}",
            fix=first.fix,
            code=first.code,
            rows=bad,
        )
    if writer.rows == 0:
        reasons = "; ".join(
            f"{count} {in_words(reason)}" for reason, count in writer.filtered.items()
        )
        raise DataError(
            t("No row is left to train on: {total} read. {reasons}", total=total, reasons=reasons),
            fix=t("Give other data, or change data.loss_on, data.max_length or data.too_long."),
            code="E719",
        )


def _tokenize_chunk(
    chunk: Sequence[Example], template: ChatTemplate | None, tokenizer: Any, data: DataConfig
) -> Iterator[Tokenized | DataError]:
    conversations = [example for example in chunk if isinstance(example, Conversation)]
    rendered: Iterator[list[Rendered] | DataError] = iter(())
    if conversations:
        if template is None:
            template = ChatTemplate.load(tokenizer)
        rendered = template.render_many(conversations, loss_on=data.loss_on, thinking=data.thinking)
    encode_text = None
    for example in chunk:
        try:
            if isinstance(example, Text):
                encode_text = encode_text or text_encoder(tokenizer)
                yield _tokenize_text(example, encode_text(example.text), data)
                continue
            assert template is not None
            rows = next(rendered)
            if isinstance(rows, DataError):
                yield rows
                continue
            yield _fit(example, rows, template, data)
        except DataError as error:
            yield located(error, example.ref)


def _tokenize_text(example: Text, ids: list[int], data: DataConfig) -> Tokenized:
    """Split a text into pieces; every token is in exactly one of them and none is cut."""
    row = Rendered(example.text, ids, [True] * len(ids))
    if len(ids) < 2:
        return Tokenized([], NO_TRAINED_TOKEN, len(ids))
    return Tokenized(too_long.split(row, data.max_length), full_length=len(ids))


def _fit(
    conversation: Conversation, rows: list[Rendered], template: ChatTemplate, data: DataConfig
) -> Tokenized:
    """Apply ``data.too_long`` and leave out what trains nothing."""
    trained = [row for row in rows if too_long.trains(row)]
    full = max((len(row.input_ids) for row in rows), default=0)
    if not trained:
        return Tokenized([], NO_TRAINED_TOKEN, full)
    if full <= data.max_length:
        return Tokenized(trained, full_length=full)
    fitted = [
        row for row in _shorten(conversation, trained, template, data) if too_long.trains(row)
    ]
    if fitted:
        return Tokenized(fitted, full_length=full)
    reason = DROPPED if data.too_long == "drop" else NO_ROOM
    return Tokenized([], reason, full)


def _shorten(
    conversation: Conversation, rows: list[Rendered], template: ChatTemplate, data: DataConfig
) -> list[Rendered]:
    limit = data.max_length
    long = [row for row in rows if len(row.input_ids) > limit]
    match data.too_long:
        case "fail":
            raise too_long.fail(max(long, key=lambda row: len(row.input_ids)), limit)
        case "turns":

            def render(shorter: Conversation) -> list[Rendered]:
                return template.render(shorter, loss_on=data.loss_on, thinking=data.thinking)

            return too_long.drop_turns(conversation, rows, render, limit)
        case "drop":
            return [row for row in rows if len(row.input_ids) <= limit]
        case "truncate_left":
            bos = template.tokenizer.bos_token_id
            return [too_long.truncate_left(r, limit, bos) if r in long else r for r in rows]
        case "truncate_right":
            return [too_long.truncate_right(r, limit) if r in long else r for r in rows]
        case "split":
            return [piece for r in rows for piece in too_long.split(r, limit)]
        case _:
            assert_never(data.too_long)


def _open_cached(folder: Path) -> TokenRows | None:
    if not (folder / "meta.json").is_file():
        return None
    try:
        return TokenRows(folder)
    except (OSError, ValueError, KeyError):
        shutil.rmtree(folder)  # not what we wrote: made again
        return None


def _key(
    examples: Sequence[Example], template: ChatTemplate | None, tokenizer: Any, data: DataConfig
) -> str:
    """Name everything that decides the tokens."""
    settings = data.model_dump(
        include={"max_length", "too_long", "loss_on", "thinking", "on_bad_rows", "max_bad_share"}
    )
    parts = [
        FORMAT_VERSION,
        _examples_hash(examples),
        template.hash if template is not None else None,
        tokenizer_hash(tokenizer),
        settings,
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def tokenizer_hash(tokenizer: Any) -> str:
    """SHA-256 over the tokenizer's model, added tokens and special tokens."""
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode())
    digest.update(json.dumps(dict(tokenizer.special_tokens_map), default=str).encode())
    return digest.hexdigest()


def _examples_hash(examples: Sequence[Example]) -> str:
    known = getattr(examples, "hash", None)
    if isinstance(known, str):
        return known
    digest = hashlib.sha256()
    for index in range(len(examples)):
        digest.update(repr(examples[index]).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
