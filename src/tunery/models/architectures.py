"""The architectures that the installed transformers supports, read without importing it.

transformers takes seconds to import, but its tables of names are literals, so they are parsed from
the source files. If a table is not found (the layout changed), the result is an empty set, which
means "unknown": the check is skipped and the loader decides.
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
"""``model_type`` to folder, where transformers' folder has another name."""


@functools.cache
def transformers_folder() -> Path | None:
    """The folder where transformers is installed; None if it is not installed."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def causal_model_types() -> frozenset[str]:
    """Every ``model_type`` that transformers can load as a causal language model."""
    return _pairs("models/auto/modeling_auto.py", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES")


@functools.cache
def score_model_types() -> frozenset[str]:
    """Every ``model_type`` that can be loaded with a head for scores."""
    return _pairs("models/auto/modeling_auto.py", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES")


@functools.cache
def supports_checkpointing(kind: str) -> bool | None:
    """Whether a ``model_type`` supports gradient checkpointing.

    Returns:
        True or False according to the source of the model; None if the source is not found.
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
    """The error for ``train.gradient_checkpointing`` on a model that does not support it."""
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
    """Every GGUF architecture that transformers can convert, with ``_`` in place of ``-``."""
    found: set[str] = set()
    skipped = {"general", "tokenizer", "t5", "umt5"}  # the last two are not causal language models
    tables = (
        ("integrations/ggml.py", "GGUF_CONFIG_MAPPING"),
        ("integrations/gguf/gguf_config_mapping.py", "GGUF_CONFIG_ARCHS"),
    )
    for file, table in tables:
        value = _table(file, table)
        if isinstance(value, ast.Dict):
            found |= {str(key.value) for key in value.keys if isinstance(key, ast.Constant)}
    # llama.cpp writes these without an underscore: qwen2moe
    found |= {re.sub(r"_(moe)$", r"\1", name) for name in found}
    return frozenset(found - skipped)


def _pairs(file: str, table: str) -> frozenset[str]:
    """The names in a table of (name, class) pairs."""
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
    # Only this statement is parsed (the whole file is thousands of lines). It ends on the line
    # where it starts, or at the first line that has only closing brackets.
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
