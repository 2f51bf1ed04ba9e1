"""Write the README.md of an export: its contents, its origin, and how to load it."""

from __future__ import annotations

from pathlib import Path

from tunery import __version__
from tunery.config.exporters import ExporterKind
from tunery.export.order import Order

_CARD = """---
base_model: {base}
library_name: {library}
tags:
- tunery
---

# {title}

{what}, exported with Tunery {version} from `{name}`. Its base is `{base}`, whose license applies.

```python
{code}
```

`tunery_export.json` holds the comparison of these files with what was trained.
"""


def write(file: Path, order: Order, kind: ExporterKind) -> None:
    """Write the model card of an export."""
    text = _CARD.format(
        base=order.base_name,
        library=kind.library,
        title=Path(order.name).name,
        what=kind.card,
        version=__version__,
        name=order.name,
        code=kind.code.format(folder="FOLDER", base=order.base_name),
    )
    file.write_text(text, encoding="utf-8")
