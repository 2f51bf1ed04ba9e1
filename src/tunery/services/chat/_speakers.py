"""Which models are available for chat: models, finished runs and their checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from tunery.config.methods import trains_scores
from tunery.i18n import t
from tunery.runs import store
from tunery.runs.folder import open_run
from tunery.runs.manifest import list_checkpoints
from tunery.services import models


@dataclass(frozen=True, slots=True)
class SpeakerGroup:
    """A heading and the names under it, as ``(name, label)`` pairs."""

    label: str
    names: list[tuple[str, str]]


def speakers() -> list[SpeakerGroup]:
    """All models that can answer, in groups, newest run first."""
    here = [entry["name"] for entry in models.known() if entry["here"] and entry["ok"]]
    whole = SpeakerGroup(t("Models"), [(name, name) for name in here])
    return [*([whole] if here else []), *trained_speakers()]


def trained_speakers() -> list[SpeakerGroup]:
    """The runs with final weights, and every checkpoint, newest run first.

    Without the reward models, which write no text; see ``scorers``.
    """
    runs: list[tuple[str, str]] = []
    checkpoints: list[tuple[str, str]] = []
    for run in store.list_runs():
        if trains_scores(run.method):
            continue
        folder = open_run(run.name)
        if folder.adapter_dir.is_dir() or folder.model_dir.is_dir():
            runs.append((run.name, run.name))
        for path in list_checkpoints(folder.checkpoints_dir):
            name = f"{run.name}@{path.name}"
            checkpoints.append((name, t("{run}, step {step}", run=run.name, step=_step(path.name))))
    groups = [
        SpeakerGroup(t("Runs"), runs),
        SpeakerGroup(t("Checkpoints"), checkpoints),
    ]
    return [group for group in groups if group.names]


def scorers() -> list[str]:
    """The runs that trained a reward model: they score answers and write none."""
    return [run.name for run in store.list_runs() if trains_scores(run.method)]


def is_scorer(name: str) -> bool:
    """Whether a name is such a run, or one of its checkpoints."""
    return name.partition("@")[0] in scorers()


def _step(name: str) -> str:
    return name.removeprefix("step-").lstrip("0") or "0"
