"""Check that every token of a tokenizer has a row in the model's embedding."""

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
"""Weights that PEFT saves with an adapter if the base model's embedding was resized."""
MEDIA = re.compile(r"image|audio|video|vision", re.IGNORECASE)
"""Placeholder tokens of a tokenizer shared with multimodal models (Gemma 3 1B); never used."""


def check_folder(folder: Path, tokenizer_folder: Path | None = None) -> None:
    """Refuse a model whose tokenizer has tokens without an embedding.

    Args:
        folder: The folder of a full model.
        tokenizer_folder: The folder of the tokenizer, by default the same; without a
            ``tokenizer.json`` in it, nothing is checked.

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
    """Refuse to continue training an adapter whose base had a vocabulary of another size.

    Args:
        folder: The adapter's folder.
        base: The folder of its base model.

    Raises:
        ModelError: The embedding in the adapter's file has another number of rows than the base.
    """
    size = vocab_size(files.read_json(base / files.CONFIG))
    for name, entry in files.read_safetensors_header(files.check_adapter(folder)).items():
        if size is not None and EMBEDDING.search(name) and entry.shape[0] != size:
            raise resized(folder, entry.shape[0], size)


def vocab_size(config: dict[str, Any]) -> int | None:
    """Number of rows of the embedding, from a ``config.json``; None if it does not say."""
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
        folder: The model's folder.
        token_id: Id of the token.
        spelling: Its text.
        size: Number of rows of the embedding.
        wanted: Number of rows that the tokenizer needs.
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
    """The error for an adapter that was trained on a base with a resized vocabulary.

    Args:
        folder: The adapter's folder.
        rows: Rows of the embedding in its file.
        base_rows: Rows of the base model's embedding.
    """
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


def spellings(file: Path) -> dict[int, str]:
    """The text of each token in a ``tokenizer.json``, by id; empty if it cannot be parsed."""
    return dict(_tokens(file))


def _tokens(file: Path) -> Iterator[tuple[int, str]]:
    """Ids and spellings of a ``tokenizer.json``; nothing if it cannot be parsed."""
    try:
        if file.stat().st_size > MAX_BYTES:
            return
        tokenizer: Any = json.loads(file.read_bytes())
        known: Any = (tokenizer.get("model") or {}).get("vocab") or {}
        added: Any = tokenizer.get("added_tokens") or []
    except (OSError, ValueError, RecursionError, AttributeError):
        return  # loading the tokenizer reports the error
    # Unigram: pairs of text and score, in the order of their ids.
    pairs = known.items() if is_object(known) else ((p[0], n) for n, p in enumerate(known) if p)
    for text, number in [*pairs, *((e.get("content"), e.get("id")) for e in added if is_object(e))]:
        if isinstance(number, int):
            yield number, str(text)
