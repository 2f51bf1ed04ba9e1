"""Whether every token of a tokenizer has a row in the model's embedding."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunery.commands import quoted
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import files
from tunery.types import is_object

TOKENIZER = "tokenizer.json"
MAX_BYTES = 256 * 2**20
EMBEDDING = re.compile(r"\.(embed_tokens|lm_head)(\.\w+)?\.weight$")
"""What PEFT writes beside an adapter when its base was resized."""
MEDIA = re.compile(r"image|audio|video|vision", re.IGNORECASE)
"""Placeholders that a text model shares the tokenizer of a larger family with (Gemma 3 1B)."""


def check_folder(folder: Path, tokenizer_folder: Path | None = None) -> None:
    """Refuse a model whose tokenizer has tokens that it has no embedding for.

    Args:
        folder: The whole model.
        tokenizer_folder: Where the tokenizer lies, by default there too; one without a
            ``tokenizer.json`` is not looked at.

    Raises:
        ModelError: With the first such token and the way to resize the embedding.
    """
    place = tokenizer_folder or folder
    size = vocab_size(files.read_json(folder / files.CONFIG))
    if size is None:
        return
    beyond = {
        token_id: spelling
        for token_id, spelling in _tokens(place / TOKENIZER)
        if token_id >= size and not MEDIA.search(spelling)
    }
    if beyond:
        first = min(beyond)
        raise reaches_beyond(folder, first, beyond[first], size, wanted=max(beyond) + 1)


def check_adapter(folder: Path, base: Path) -> None:
    """Refuse to train on an adapter whose base had another vocabulary then.

    Raises:
        ModelError: The embedding in its file has other rows than the base's.
    """
    size = vocab_size(files.read_json(base / files.CONFIG))
    for name, entry in files.read_safetensors_header(files.check_adapter(folder)).items():
        if size is not None and EMBEDDING.search(name) and entry.shape[0] != size:
            raise resized(folder, entry.shape[0], size)


def vocab_size(config: dict[str, Any]) -> int | None:
    """Rows of the embedding, by a ``config.json``."""
    for source in (config, config.get("text_config") or {}):
        size = source.get("vocab_size")
        if isinstance(size, int):
            return size
    return None


def reaches_beyond(
    folder: Path, token_id: int, spelling: str, size: int, *, wanted: int
) -> ModelError:
    """The error for a token without an embedding.

    Args:
        folder: The model.
        token_id: The token.
        spelling: Its text.
        size: Rows of the embedding.
        wanted: Rows that the tokenizer needs.
    """
    code = (
        f"from transformers import AutoModelForCausalLM as M; m = M.from_pretrained({str(folder)!r}"
        f"); m.resize_token_embeddings({wanted}); m.save_pretrained({str(folder)!r})"
    )
    return ModelError(
        t(
            "{folder}: the tokenizer has token {id} ({spelling}), but the model's embedding has "
            "{size:,} rows (0 to {last:,}).",
            folder=folder,
            id=token_id,
            spelling=spelling,
            size=size,
            last=size - 1,
        ),
        fix=t(
            "Use the tokenizer that belongs to the model, or add the missing rows to the "
            'model: python -c "{code}"',
            code=code,
        ),
        code="no_embedding",
        path=folder,
    )


def resized(folder: Path, rows: int, base_rows: int) -> ModelError:
    """The error for an adapter that was trained after its base's vocabulary was resized."""
    return ModelError(
        t(
            "{folder}: the adapter's embedding has {rows:,} rows, its base has "
            "{base_rows:,}: the vocabulary was resized before training.",
            folder=folder,
            rows=rows,
            base_rows=base_rows,
        ),
        fix=t(
            "Merge both into one model and use that: tunery export {folder} --to merged NEW-MODEL",
            folder=quoted(folder),
        ),
        path=folder,
    )


def _tokens(file: Path) -> Iterator[tuple[int, str]]:
    """Ids and spellings of a ``tokenizer.json``; none of one that cannot be read here."""
    try:
        if file.stat().st_size > MAX_BYTES:
            return
        tokenizer: Any = json.loads(file.read_bytes())
        known: Any = (tokenizer.get("model") or {}).get("vocab") or {}
        added: Any = tokenizer.get("added_tokens") or []
    except (OSError, ValueError, RecursionError, AttributeError):
        return  # the loader says what is wrong with it
    # Unigram: pairs of text and score, in the order of their ids.
    pairs = known.items() if is_object(known) else ((p[0], n) for n, p in enumerate(known) if p)
    for text, number in [*pairs, *((e.get("content"), e.get("id")) for e in added if is_object(e))]:
        if isinstance(number, int):
            yield number, str(text)
