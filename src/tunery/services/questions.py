"""What the warm process can be asked: a fixed table, and functions that have no other home.

Each function takes and returns plain data; it runs in a separate process that has everything heavy
already imported.
"""

from __future__ import annotations

from typing import Any

from tunery.config.load import Loaded, from_tokens
from tunery.runs.folder import RunFolder
from tunery.services.runs import Listener, Trial
from tunery.services.runs import plan as plan_run
from tunery.services.runs import prepare as prepare_run

HEAVY = (
    "torch", "transformers", "peft", "pyarrow", "tunery.train.trial", "tunery.data.examples",
    "tunery.data.preview",
)  # fmt: skip
"""What the warm process imports before the first question."""

QUESTIONS: dict[str, str] = {
    "describe_model": "tunery.services.models:describe",
    "plan": "tunery.services.questions:plan",
    "prepare": "tunery.services.questions:prepare",
    "preview_row": "tunery.services.datasets:answer_preview",
    "statistics": "tunery.services.datasets:answer_statistics",
    "sample_rows": "tunery.services.datasets:answer_rows",
}


def plan(words: list[str], *, measure: bool = False, trial: Trial | None = None) -> dict[str, Any]:
    """Find out what a run with these settings would do and need; downloads nothing.

    Args:
        words: The settings as command-line arguments.
        measure: Take a few real steps for memory and time; refused while the device is in use.
        trial: Counts and measures the temporary run folder; by default in this process.

    Returns:
        The plan, with the ``warnings`` raised on the way.
    """
    from tunery.models.resolve import resolve

    loaded = from_tokens(words)
    resolve(loaded.config.model.name)  # an error if it must be downloaded first
    if measure:
        _device_is_free(loaded)
    warnings: list[str] = []
    listener = Listener(warn=warnings.append)
    made = plan_run(loaded, measure=measure, to=listener, trial=trial or _here)
    return made.as_dict() | {"warnings": warnings}


def prepare(words: list[str], *, name: str | None = None) -> str:
    """Check a request and make its run folder, as ``tunery train`` does.

    Returns:
        The run's name.
    """
    return prepare_run(from_tokens(words), name).name


def _here(folder: RunFolder, measure: bool) -> dict[str, Any]:
    from tunery.runs.events import EventWriter
    from tunery.train import trial

    with EventWriter(folder.events_file) as events:
        return trial.try_out(folder, events, measure=measure)


def _device_is_free(loaded: Loaded) -> None:
    from tunery.errors import LaunchError
    from tunery.i18n import t
    from tunery.models.load import pick_device
    from tunery.runs.device import DeviceLock

    device = pick_device(loaded.config.model.device)
    lock = DeviceLock(device)
    if lock.held():
        holder = lock.holder()
        raise LaunchError(
            t("{device} is in use by run {run}, so it cannot be measured now.",
              device=device, run=holder.run if holder else "?"),
            fix=t("Measure after that run has finished; until then the estimate is used."),
            code="busy",
        )  # fmt: skip
