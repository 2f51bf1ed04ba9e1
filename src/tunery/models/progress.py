"""What a long model operation tells its caller: one small event type and nothing else.

A caller passes a function; the CLI draws a bar from the events, ``--json`` prints one line each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["plan", "file", "verify", "wait", "convert", "note", "done"]


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """One thing that happened.

    Args:
        kind: ``plan`` (totals are known), ``file`` (bytes arrived), ``verify`` (a hash is being
            checked), ``wait`` (no answer; tried again later), ``convert`` (a GGUF file is being
            converted), ``note`` (a sentence), ``done``.
        model: The name the user gave.
        file: The file concerned, relative to the model.
        done_bytes: Bytes there so far, over all files of the plan.
        total_bytes: Bytes of all files of the plan; 0 while unknown.
        num_files: Files of the plan.
        text: A sentence for people.
        file_bytes: Bytes of ``file`` that are there.
        file_total: Bytes of ``file``.
        seconds: For ``wait``: until the next try; for ``convert``: since it began.
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
        """Give the event as plain data, for ``--json`` and for the page."""
        return {"event": self.kind, **{k: v for k, v in asdict(self).items() if k != "kind"}}


Progress = Callable[[ProgressEvent], None]


def silent(event: ProgressEvent) -> None:
    """Ignore an event: the default listener."""
