"""The README.md of an export: what it is, where it comes from, how to open it."""

from __future__ import annotations

from pathlib import Path

from tunery import __version__
from tunery.export.order import Order

_MERGED = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
```"""
_ADAPTER = """```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto")
model = PeftModel.from_pretrained(base, "{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
```"""
_CARD = """---
base_model: {base}
library_name: {library}
tags:
- tunery
---

# {title}

{what}, exported with Tunery {version} from `{name}`. Its base is `{base}`, whose licence applies.

{code}

`tunery_export.json` holds the comparison of these files with what was trained.
"""


def write(file: Path, order: Order, *, kind: str) -> None:
    """Write the card of an export of one kind (``merged`` or ``adapter``)."""
    merged = kind == "merged"
    text = _CARD.format(
        base=order.base_name,
        library="transformers" if merged else "peft",
        title=Path(order.name).name,
        what="The whole fine-tuned model" if merged else "An adapter (PEFT)",
        version=__version__,
        name=order.name,
        code=(_MERGED if merged else _ADAPTER).format(folder="FOLDER", base=order.base_name),
    )
    file.write_text(text, encoding="utf-8")
