"""Progress events of downloads and conversions.

The caller passes a function that takes the events; the CLI draws a progress bar from them, and
``--json`` prints one line per event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["plan", "file", "verify", "wait", "convert", "note", "done"]


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One progress event.

    Args:
        kind: ``plan`` (totals are known), ``file`` (bytes were downloaded), ``verify`` (a hash is
            being checked), ``wait`` (an attempt failed and will be retried), ``convert`` (a GGUF
            file is being converted), ``note`` (a message), ``done``.
        model: The name the user gave.
        file: Path of the file within the model.
        done_bytes: Bytes so far, over all files.
        total_bytes: Bytes of all files; 0 while unknown.
        num_files: Number of files.
        text: A message for the user; for ``done``, the model's folder.
        file_bytes: Bytes of ``file`` so far.
        file_total: Size of ``file`` in bytes.
        seconds: For ``wait``: time until the next attempt; for ``convert``: time since its start.
    """

    kind: Kind
    model: str
    file: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    num_files: int = 0
    text: str = ""
    file_bytes: int = 0
    file_total: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """The event as plain data, for ``--json`` and the page."""
        return {"event": self.kind, **{k: v for k, v in asdict(self).items() if k != "kind"}}


Progress = Callable[[ProgressEvent], None]


def silent(event: ProgressEvent) -> None:
    """Ignore an event; the default progress function."""
