"""Stop requests: SIGTERM, SIGINT and the run's control folder, checked between micro steps.

The first request ends the run at the next safe point with a saved checkpoint. A second signal ends
the process at once; then at most the work since the last checkpoint is lost.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from tunery.i18n import t
from tunery.workers.process import Control


class Stopped(BaseException):
    """Unwinds to the worker's end outside the loop, when there is nothing to save.

    Not an ``Exception``: no library on the way may take it for an error and carry on.
    """


class StopRequests:
    """The requests made to this worker.

    Args:
        control: The run's control folder; None where only signals count.
    """

    def __init__(self, control: Control | None = None) -> None:
        self._control = control
        self._signal: int | None = None

    def install(self) -> None:
        """Listen to SIGTERM and SIGINT in this process, which must be its main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def stop(self) -> bool:
        """Whether a stop was requested."""
        if self._signal is not None:
            return True
        return self._control is not None and self._control.stop_requested()

    @property
    def reason(self) -> str:
        """Who requested the stop, for the status event."""
        if self._signal is not None:
            return t("stopped by {signal}", signal=signal.Signals(self._signal).name)
        return t("stopped on request")

    def save(self) -> bool:
        """Whether a save without a stop was requested."""
        return self._control is not None and self._control.save_requested()

    def saved(self) -> None:
        """Take the request to save away."""
        if self._control is not None:
            self._control.clear_save()

    def check(self) -> None:
        """Raise ``Stopped`` if a stop was requested; for phases that save nothing."""
        if self.stop():
            raise Stopped

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number
