"""TensorBoard: event files with the curves, the sample answers and the settings of a run.

The files are written record by record through the package ``tensorboard`` alone, which needs
neither torch nor TensorFlow. A restart writes a new file and removes the old ones, so nothing
appears twice, however the previous process ended.
"""

from __future__ import annotations

import itertools
import os
import textwrap
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.text.metadata import create_summary_metadata
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_tensor_proto

from tunery.config.frozen import to_yaml
from tunery.config.trackers import TrackerKind
from tunery.measures import LOSS_ALONE, Declared
from tunery.runs.folder import RunFolder
from tunery.track.base import scalars
from tunery.workers.log import Event

# The names in these modules are generated at import time, so type checkers cannot see them.
_events: Any = event_pb2
_summaries: Any = summary_pb2

_SUFFIX = "tunery"  # only files with this suffix are ours to remove


class Tensorboard:
    """One run as TensorBoard event files.

    Args:
        config: Settings, such as the folder to write to.
    """

    def __init__(self, config: TrackerKind) -> None:
        self.config = config
        self.declared = LOSS_ALONE
        self._prompts: dict[str, int] = {}
        self._numbers = itertools.count()

    def begin(self, run: RunFolder, config: dict[str, Any], *, known_id: str) -> str:
        """Start a new file with the settings and remove the files of earlier processes."""
        given: Path | None = getattr(self.config, "folder", None)
        folder = given / run.name if given else run.path / "tensorboard"
        if given:
            given.mkdir(parents=True, exist_ok=True)
        folder.mkdir(exist_ok=True)
        before = list(folder.glob(f"events.out.tfevents.*.{_SUFFIX}"))
        self._prompts.clear()
        began = time.time()
        # TensorBoard reads the files of a folder in name order.
        name = f"events.out.tfevents.{began:.6f}.{os.getpid()}.{next(self._numbers)}.{_SUFFIX}"
        self._file = (folder / name).open("wb")
        self._records = RecordWriter(self._file)
        self._write(_events.Event(wall_time=began, file_version="brain.Event:2"))
        # An open TensorBoard then discards what it read from the earlier files.
        start = _events.SessionLog(status=_events.SessionLog.START)
        self._write(_events.Event(wall_time=began, session_log=start))
        settings = textwrap.indent(to_yaml(config), "    ")
        self._add(run.card().get("created") or began, 0, [_text("config", settings)])
        for path in before:
            path.unlink(missing_ok=True)
        return str(folder)

    def take(self, event: Event) -> None:
        """Write one event."""
        match event["type"]:
            case "plan":
                self.declared = Declared.of(event)
            case "step" | "eval":
                group = "train" if event["type"] == "step" else "eval"
                found = scalars(event, self.declared.measures)
                values = [_scalar(f"{group}/{name}", value) for name, value in found]
                self._add(event["time"], event["step"], values)
            case "sample":
                place = self._prompts.setdefault(event["prompt"], len(self._prompts) + 1)
                text = f"**{event['prompt']}**\n\n{event['answer']}"
                self._add(event["time"], event["step"], [_text(f"samples/{place}", text)])
            case _:
                pass

    def end(self, status: str) -> None:
        """Close the file."""
        self._file.close()

    def _add(self, wall_time: float, step: int, values: Iterable[Any]) -> None:
        summary = _summaries.Summary(value=list(values))
        self._write(_events.Event(wall_time=wall_time, step=step, summary=summary))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._file.flush()


def _scalar(tag: str, value: float) -> Any:
    return _summaries.Summary.Value(tag=tag, simple_value=value)


def _text(tag: str, text: str) -> Any:
    return _summaries.Summary.Value(
        tag=tag,
        tensor=make_tensor_proto(text.encode("utf-8", "replace")),
        metadata=create_summary_metadata(display_name="", description=""),
    )
