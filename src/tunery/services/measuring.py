"""Measure the run of a draft as a job: real steps take time, and can be cancelled."""

from __future__ import annotations

from typing import Any

from tunery.config.load import from_tokens
from tunery.i18n import t
from tunery.jobs import start as jobs
from tunery.jobs.folder import Job
from tunery.jobs.process import Handle
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.services import questions, settings
from tunery.workers.log import Event

KIND = "measure"


def start_measuring(name: str) -> Job:
    """Start measuring what the run of a draft needs.

    Raises:
        UnknownName: There is no such draft.
        LaunchError: Its process could not be started.
    """
    found = settings.get_draft(name)
    if found is None:
        raise settings.no_such_draft(name)
    words = settings.check_draft(found).filled.words
    return jobs.start(KIND, {"words": words}, t("Measuring {name}", name=name))


def measure_job(arguments: dict[str, Any], handle: Handle) -> dict[str, Any]:
    """Do the work of the job.

    Returns:
        ``plan``, ``remarks`` and ``hints``, as returned by ``plan_draft``.

    Raises:
        TuneryError: The settings, the rows or the model cannot be used, or the device is in use.
    """
    words: list[str] = list(arguments["words"])
    handle.say(t("reading rows"))

    def trial(folder: RunFolder, measure: bool) -> dict[str, Any]:
        from tunery.train import trial as trials

        with _Telling(folder, handle, trials.LONG_STEPS + trials.USUAL_STEPS) as events:
            return trials.try_out(folder, events, measure=measure)

    with handle.interruptible():
        made = questions.plan(words, measure=True, trial=trial)
    return settings.plan_in_words(from_tokens(words).config, made)


class _Telling(EventWriter):
    """The log of the trial run, which also reports its progress to the job's watchers."""

    def __init__(self, folder: RunFolder, handle: Handle, steps: int) -> None:
        super().__init__(folder.events_file)
        self._handle, self._steps, self._done = handle, steps, 0

    def write(self, type: str, /, **fields: Any) -> Event:
        event = super().write(type, **fields)
        if type == "phase" and fields.get("state") != "end" and not self._done:
            self._handle.progress(0, self._steps, "steps", _phase(str(fields.get("phase"))))
        elif type == "step":
            self._done += 1
            said = t("step {step} of {total}", step=self._done, total=self._steps)
            self._handle.progress(self._done, self._steps, "steps", said)
        return event


def _phase(key: str) -> str:
    match key:
        case "model":
            return t("loading the model")
        case "data" | "tokenize":
            return t("reading rows")
        case _:
            return t("preparing")
