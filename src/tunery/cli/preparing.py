"""What a terminal shows while a run is prepared or planned: never more than a second of nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.text import Text

from tunery.cli.console import err, print_warning
from tunery.cli.progress import model_progress
from tunery.i18n import t
from tunery.services.runs import Listener, quiet


@contextmanager
def preparing(
    *, as_json: bool, rows: Callable[[dict[str, Any]], None] | None = None
) -> Iterator[Listener]:
    """Yield a listener that shows what happens before a run starts.

    Args:
        as_json: Print the progress of models as JSON lines on stdout, and nothing else.
        rows: Called with the row ledger; not with ``as_json``.
    """
    with model_progress(as_json=as_json) as progress:
        if as_json:
            yield Listener(progress=progress)
        elif not err.is_terminal:
            yield Listener(rows or quiet, print_warning, progress)
        else:
            with err.status(t("reading the settings ...")) as shown:

                def doing(text: str) -> None:
                    shown.update(Text(f"{text} ..."))

                yield Listener(rows or quiet, print_warning, progress, doing)
