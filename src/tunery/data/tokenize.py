"""Tokenize examples: rendering, truncation, and the cache that later runs reuse."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tunery.chat.control import ControlTokens, Marked, unmark
from tunery.chat.encode import Encoder
from tunery.chat.refusals import located
from tunery.chat.remarks import DROPPED, NO_ROOM, REJECTED
from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig, LossOn, SpecialTokens
from tunery.data import forked
from tunery.data.example_set import Block, ExampleSet
from tunery.data.kinds import Tokenized, row_kind
from tunery.data.nothing_left import nothing_left
from tunery.data.packed import Packed, pack
from tunery.data.token_rows import StoreWriter, TokenStore
from tunery.errors import DataError, ModelError
from tunery.i18n import joined, t
from tunery.types import Conversation, Example, Rendered

CHUNK = 256
MANY = 4096
"""Fewer examples are not worth the start of further processes, which takes about 0.2 s."""
SHOWN = 5
"""Errors shown in full, of each code."""
FORMAT_VERSION = 7

Progress = Callable[[int, int], None]


def tokenize(
    example: Example, template: ChatTemplate | None, tokenizer: Any, data: DataConfig
) -> Tokenized:
    """Turn one example into groups of rows of at most ``data.max_length`` tokens.

    Args:
        example: An example of any kind.
        template: Template for conversations; None loads the tokenizer's own when needed.
        tokenizer: The tokenizer of the template.
        data: Settings: which tokens are trained and what happens to long rows.

    Raises:
        DataError: The template rejects the example, or it is too long with ``too_long: fail``.
    """
    (result,) = _tokenize_chunk([example], _Tools(template, tokenizer, data))
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
    processes: int = 1,
) -> TokenStore:
    """Tokenize all examples, or open the cached result of an earlier run.

    Memory use is bounded: rows are written to disk and read through memory maps. The result does
    not depend on the number of processes.

    Args:
        examples: The examples; their ``hash`` attribute, if any, identifies them in the cache.
        template: Template for conversations; None loads the tokenizer's own when needed.
        tokenizer: The tokenizer of the template.
        data: The settings.
        cache: Folder of cached rows; None for a temporary folder, deleted with the result.
        progress: Called with (examples done, total examples).
        processes: Number of forked processes for many examples; 1 if this process has threads that
            hold locks.

    Raises:
        DataError: Rows cannot be rendered (all are counted, up to five per code are shown), are too
            long with ``too_long: fail``, or none is left (E719).
    """
    folder = cache / _key(examples, template, tokenizer, data) if cache is not None else None
    if folder is not None and (found := _open_cached(folder)) is not None:
        if progress is not None:
            progress(found.examples, found.examples)
        return found
    writer = StoreWriter(folder)
    try:
        _write_all(writer, examples, template, tokenizer, data, progress, processes)
    except BaseException:
        writer.abandon()
        raise
    return writer.finish()


def refused(
    examples: Sequence[Example], template: ChatTemplate | None, tokenizer: Any, data: DataConfig
) -> Iterator[DataError]:
    """Find the errors that would stop a run on these examples, without storing tokens.

    Args:
        examples: The examples.
        template: Template for conversations; None loads the tokenizer's own when needed.
        tokenizer: The tokenizer of the template.
        data: The settings.

    Yields:
        The error of each example that cannot be rendered, and E719 at the end if there is no such
        example but nothing is left to train on.
    """
    tools = _Tools(template, tokenizer, data)
    filtered: Counter[str] = Counter()
    trains = False
    for start in range(0, len(examples), CHUNK):
        chunk = [examples[index] for index in range(start, min(start + CHUNK, len(examples)))]
        for result in _tokenize_chunk(chunk, tools):
            if isinstance(result, DataError):
                filtered[REJECTED] += 1
                yield result
            elif result.dropped_reason:
                filtered[result.dropped_reason] += 1
            else:
                trains = True
    if not trains and not filtered[REJECTED]:
        yield nothing_left(filtered, len(examples), examples, data.columns)


def text_encoder(
    tokenizer: Any, special_tokens: SpecialTokens = "text"
) -> Callable[[str], list[int]]:
    """Return a function that encodes plain text, with BOS if the tokenizer adds one, and EOS.

    Args:
        tokenizer: The tokenizer.
        special_tokens: With ``tokens``, BOS and EOS are not added if the text already spells them.

    Raises:
        ModelError: The tokenizer has no EOS token, or is not a fast tokenizer.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError(
            t(
                "{name}: the tokenizer has no EOS token to end texts with.",
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

    def encode_spelled(text: str) -> list[int]:
        ids = encoder.encode(Marked(text))
        begin = front if ids[: len(front)] != front else []
        ended = text.rstrip().endswith(tokenizer.eos_token)
        return [*begin, *ids, *([] if ended else [tokenizer.eos_token_id])]

    return encode if special_tokens == "text" else encode_spelled


def _write_all(
    writer: StoreWriter,
    examples: Sequence[Example],
    template: ChatTemplate | None,
    tokenizer: Any,
    data: DataConfig,
    progress: Progress | None,
    processes: int,
) -> None:
    total = len(examples)
    tools = _Tools(template, tokenizer, data)
    refused: list[DataError] = []
    counts: Counter[str] = Counter()
    distinct = 0
    # The row equation counts a repeated row once.
    is_repeat = examples.is_repeat if isinstance(examples, ExampleSet) else _never
    for block in _blocks(examples):
        mark = writer.mark()
        place = block.start
        for packed in _packed(examples, block, tools, processes):
            for result in packed.results():
                new = 0 if is_repeat(place) else 1
                writer.examples += 1
                distinct += new
                if isinstance(result, str):
                    counts[result] += new
                    if new and counts[result] <= SHOWN:
                        refused.append(_error_of(examples[place], tools))
                    writer.filtered[REJECTED] += new
                elif result.dropped_reason:
                    writer.filtered[result.dropped_reason] += new
                    writer.full_lengths[result.full_length] += 1
                    if result.dropped_reason in (DROPPED, NO_ROOM):
                        writer.longest_cut = max(writer.longest_cut, result.full_length)
                else:
                    writer.add(result, place)
                place += 1
            if progress is not None:
                progress(place, total)
        writer.repeat(mark, block.times - 1, examples=block.size)
        if progress is not None and block.times > 1:
            progress(block.start + block.size * block.times, total)
    _check_result(refused, counts, distinct, data)
    if writer.groups == 0:
        raise nothing_left(writer.filtered, distinct, examples, data.columns)


def _packed(
    examples: Sequence[Example], block: Block, tools: _Tools, processes: int
) -> Iterator[Packed]:
    """Tokenize the examples of a block, a chunk at a time, in order."""

    def work(piece: int) -> bytes:
        start = block.start + piece * CHUNK
        end = min(start + CHUNK, block.start + block.size)
        chunk = [examples[index] for index in range(start, end)]
        return pack(_tokenize_chunk(chunk, tools)).to_bytes()

    pieces = -(-block.size // CHUNK)
    many = block.size >= MANY
    for data in forked.ordered(work, pieces, processes=processes if many else 1):
        yield Packed.from_bytes(data)


def _error_of(example: Example, tools: _Tools) -> DataError:
    """The error of an example that was refused."""
    (result,) = _tokenize_chunk([example], tools)
    assert isinstance(result, DataError)
    return result


def _never(_: int) -> bool:
    return False


def _blocks(examples: Sequence[Example]) -> list[Block]:
    """The examples in blocks; each block is tokenized once, however often it is repeated."""
    return examples.blocks() if isinstance(examples, ExampleSet) else [Block(0, len(examples))]


def _check_result(
    refused: list[DataError],
    counts: Counter[str],
    total: int,
    data: DataConfig,
) -> None:
    """Raise DataError if too many rows cannot be used."""
    bad = sum(counts.values())
    allowed = data.on_bad_rows == "quarantine" and bad <= data.max_bad_share * total
    if bad and not allowed:
        shown = [joined("  ", error.message, between="") for error in refused[:20]]
        first = refused[0]
        raise DataError(
            first.message
            if total == 1
            else joined(
                t("{bad} of {total} rows cannot be used:", bad=bad, total=total),
                *shown,
                between="\n",
            ),
            fix=first.fix,
            code=first.code,
            rows=bad,
        )


class _Tools:
    """The template and the text encoder, each created on first use."""

    def __init__(self, template: ChatTemplate | None, tokenizer: Any, data: DataConfig) -> None:
        self.data = data
        self.bos: int | None = tokenizer.bos_token_id
        self._given = template
        self._tokenizer = tokenizer

    @functools.cached_property
    def template(self) -> ChatTemplate:
        return self._given or ChatTemplate.load(self._tokenizer)

    @functools.cached_property
    def _encoder(self) -> Callable[[str], list[int]]:
        return text_encoder(self._tokenizer, self.data.special_tokens)

    def encode_text(self, text: str) -> list[int]:
        return self._encoder(text)

    def render(self, conversation: Conversation, loss_on: LossOn) -> list[Rendered]:
        data = self.data
        return self.template.render(
            conversation,
            loss_on=loss_on,
            thinking=data.thinking,
            special_tokens=data.special_tokens,
        )


def _tokenize_chunk(chunk: Sequence[Example], tools: _Tools) -> Iterator[Tokenized | DataError]:
    data = tools.data
    planned = [(e, row_kind(e), row_kind(e).conversations(e)) for e in chunk]
    wanted: dict[LossOn, list[Conversation]] = {}
    for _, kind, conversations in planned:
        wanted.setdefault(kind.loss_on or data.loss_on, []).extend(conversations)
    rendered = {
        loss_on: tools.template.render_many(
            many, loss_on=loss_on, thinking=data.thinking, special_tokens=data.special_tokens
        )
        for loss_on, many in wanted.items()
        if many
    }
    for example, kind, conversations in planned:
        mine = [next(rendered[kind.loss_on or data.loss_on]) for _ in conversations]
        refused = next((rows for rows in mine if isinstance(rows, DataError)), None)
        try:
            if refused is not None:
                raise refused
            yield kind.groups(example, [rows for rows in mine if isinstance(rows, list)], tools)
        except DataError as error:
            yield located(error, example.ref)


def _open_cached(folder: Path) -> TokenStore | None:
    if not (folder / "meta.json").is_file():
        return None
    try:
        return TokenStore(folder)
    except (OSError, ValueError, KeyError):
        shutil.rmtree(folder)  # damaged: tokenize again
        return None


def _key(
    examples: Sequence[Example], template: ChatTemplate | None, tokenizer: Any, data: DataConfig
) -> str:
    """Hash of everything that determines the tokens; the name of the cache folder."""
    settings = data.model_dump(
        include={
            *("max_length", "too_long", "loss_on", "thinking", "special_tokens"),
            *("on_bad_rows", "max_bad_share"),
        }
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
