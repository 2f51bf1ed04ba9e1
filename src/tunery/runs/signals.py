"""Stop requests: SIGTERM, SIGINT and the run's control folder, checked between micro steps.

The first request ends the run at the next safe point, after saving a checkpoint. A second signal
ends the process at once; the work since the last checkpoint is lost.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from tunery.i18n import t
from tunery.workers.process import Control


class Stopped(BaseException):
    """Ends the worker outside the training loop, where there is nothing to save.

    Not an ``Exception``, so that no library catches it and continues.
    """


class StopRequests:
    """The requests to stop or save that this worker received.

    Args:
        control: The run's control folder; None to listen to signals only.
    """

    def __init__(self, control: Control | None = None) -> None:
        self._control = control
        self._signal: int | None = None

    def install(self) -> None:
        """Handle SIGTERM and SIGINT; call it from the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def stop(self) -> bool:
        """Whether a stop was requested."""
        if self._signal is not None:
            return True
        return self._control is not None and self._control.stop_requested()

    @property
    def reason(self) -> str:
        """Why the run stops, for the status event; translated."""
        asked = self._control is not None and self._control.stop_requested()
        if self._signal is None or asked:  # a signal may come with the request
            return t("stopped on request")
        return t("stopped by {signal}", signal=signal.Signals(self._signal).name)

    def save(self) -> bool:
        """Whether a save without a stop was requested."""
        return self._control is not None and self._control.save_requested()

    def saved(self) -> None:
        """Clear the request to save."""
        if self._control is not None:
            self._control.clear_save()

    def check(self) -> None:
        """Raise ``Stopped`` if a stop was requested; for phases with nothing to save."""
        if self.stop():
            raise Stopped

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number
