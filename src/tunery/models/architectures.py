"""The architectures that the installed transformers supports, read without importing it.

transformers takes seconds to import; its tables of names are literal text, so they are read from
the source files as data. Where a table cannot be found (another layout), the answer is an empty
set, which means "do not judge here": the loader then has the last word.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from pathlib import Path

from tunery.errors import ConfigError
from tunery.i18n import t

_FOLDERS = {"openai-gpt": "openai"}
"""Folders of transformers' models that are not named as their type."""


@functools.cache
def transformers_folder() -> Path | None:
    """The folder where transformers is installed; None if it is not installed."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def causal_model_types() -> frozenset[str]:
    """Every ``model_type`` that can be loaded as a language model that writes text."""
    return _pairs("models/auto/modeling_auto.py", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")


@functools.cache
def score_model_types() -> frozenset[str]:
    """Every ``model_type`` that can be loaded with a head for scores."""
    return _pairs("models/auto/modeling_auto.py", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES")


@functools.cache
def recomputes(kind: str) -> bool | None:
    """Whether a ``model_type`` can compute activations again in the backward pass.

    Returns:
        True or False as the source of its model says; None where that is not found.
    """
    root, name = transformers_folder(), _FOLDERS.get(kind, kind).replace("-", "_")
    if root is None:
        return None
    sources = sorted((root / "models" / name).glob("modeling_*.py"))
    if not sources:
        return None
    said = re.compile(r"^    supports_gradient_checkpointing = True$", re.MULTILINE)
    return any(said.search(source.read_text(encoding="utf-8")) for source in sources)


def no_checkpointing(kind: str) -> ConfigError:
    """The error for ``train.gradient_checkpointing`` on a model that has none."""
    return ConfigError(
        t(
            "train.gradient_checkpointing: {kind} models cannot recompute activations.",
            kind=kind,
        ),
        fix=t(
            "Set it to false. To save memory, lower train.micro_batch_tokens or data.max_length."
        ),
    )


@functools.cache
def gguf_architectures() -> frozenset[str]:
    """Every GGUF architecture that can be converted, ``-`` written as ``_``."""
    found: set[str] = set()
    skipped = {"general", "tokenizer", "t5", "umt5"}  # the last two write no text
    tables = (
        ("integrations/ggml.py", "GGUF_CONFIG_MAPPING"),
        ("integrations/gguf/gguf_config_mapping.py", "GGUF_CONFIG_ARCHS"),
    )
    for file, table in tables:
        value = _table(file, table)
        if isinstance(value, ast.Dict):
            found |= {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}
    # the names that llama.cpp spells in one word
    found |= {re.sub(r"_(moe)$", r"\1", name) for name in found}
    return frozenset(found - skipped)


def _pairs(file: str, table: str) -> frozenset[str]:
    """First members of the (name, class) pairs in a table."""
    value = _table(file, table)
    if value is None:
        return frozenset()
    return frozenset(
        node.elts[0].value
        for node in ast.walk(value)
        if isinstance(node, ast.Tuple)
        and len(node.elts) == 2
        and isinstance(node.elts[0], ast.Constant)
        and isinstance(node.elts[0].value, str)
    )


def _table(file: str, name: str) -> ast.expr | None:
    """The expression assigned to a module-level name."""
    root = transformers_folder()
    if root is None or not (root / file).is_file():
        return None
    text = (root / file).read_text(encoding="utf-8")
    start = re.search(rf"^{name}\b[^=\n]*=", text, re.MULTILINE)
    if start is None:
        return None
    # only this statement is parsed (the whole file is thousands of lines): it ends on its own line
    # or at the first line that holds nothing but closing brackets
    rest = text[start.start() :]
    stop = re.compile(r"^[)\]}]+$", re.MULTILINE).search(rest)
    for source in (rest.split("\n", 1)[0], rest[: stop.end()] if stop else ""):
        try:
            body = ast.parse(source).body
        except SyntaxError:
            continue
        if len(body) == 1 and isinstance(body[0], ast.Assign | ast.AnnAssign):
            return body[0].value
    return None
