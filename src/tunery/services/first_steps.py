"""The five first steps of a new user, each ticked by what actually exists.

Nothing is counted or stored except two marks (a chat took place, a comparison took place) and the
wish to hide the list: a model on this machine ticks the first step, a user's own dataset without
placeholders the third, a finished run the fourth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tunery.data import catalog
from tunery.data.variables import PLACEHOLDER
from tunery.env import human_bytes
from tunery.i18n import t
from tunery.runs import store
from tunery.runs.status import RunStatus
from tunery.services import models
from tunery.state import marks

SCANNED_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Args:
        key: ``model``, ``chat``, ``identity``, ``train`` or ``compare``.
        title: What to do.
        text: Its current state.
        done: Whether it is done.
        path: The page to do it on.
    """

    key: str
    title: str
    text: str
    done: bool
    path: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API."""
        return asdict(self)


def first_steps(runs: Sequence[RunStatus] | None = None) -> list[Step]:
    """Derive the five steps.

    Args:
        runs: Every run, newest first, if the caller already has them.
    """
    runs = store.list_runs() if runs is None else runs
    happened = marks.marked()
    ready = [model for model in models.listing() if model.get("ok")]
    finished = next((run for run in runs if run.status == "finished"), None)
    filled = _filled_identity()
    return [
        _model(ready),
        Step(
            "chat",
            t("Try it in the chat"),
            t("Check that it loads and answers before you train it."),
            "chatted" in happened,
            f"/chat?a={ready[0]['name']}" if ready else "/chat",
        ),
        _identity(filled),
        _train(runs, finished, filled),
        Step(
            "compare",
            t("Compare before and after"),
            t("Send both models the same prompt."),
            "compared" in happened,
            f"/chat?a={finished.model}&b={finished.name}" if finished else "/chat",
        ),
    ]


def hidden() -> bool:
    """Whether the user has hidden the list."""
    return "hidden" in marks.marked()


def hide(wish: bool) -> None:
    """Hide the list, or show it again."""
    if wish:
        marks.mark("hidden")
    else:
        marks.unmark("hidden")


def _model(ready: Sequence[dict[str, Any]]) -> Step:
    text = t("The demo model is small and trains in minutes, even on a CPU.")
    if ready:
        model = ready[0]
        text = t("{name} is ready ({size}).", name=model["name"],
                 size=human_bytes(model["size_bytes"]))  # fmt: skip
    return Step("model", t("Get a model"), text, bool(ready), "/models")


def _filled_identity() -> str | None:
    """The name of a user's own dataset without placeholders."""
    own = [found.name for found in catalog.list_datasets() if found.source == "added"]
    return next((name for name in own if not _has_blanks(name)), None)


def _identity(filled: str | None) -> Step:
    text = t("Two placeholders: the assistant's name and its author.")
    if filled:
        text = t("{name} has no placeholders left.", name=filled)
    return Step(
        "identity", t("Make the identity dataset yours"), text, bool(filled), "/datasets/identity"
    )


def _train(runs: Sequence[RunStatus], finished: RunStatus | None, filled: str | None) -> Step:
    live = next((run for run in runs if run.is_live), None)
    text = t("About 2 minutes on this machine with the suggested settings.")
    path = f"/train?dataset={filled or 'identity'}"
    if filled is None or filled.startswith("identity"):
        path += "&preset=identity"
    if finished:
        text = t("{name} is done.", name=finished.name)
    elif live:
        text, path = t("{name} is in progress.", name=live.name), f"/runs/{live.name}"
    return Step("train", t("Train"), text, finished is not None, path)


def _has_blanks(name: str) -> bool:
    """Whether the beginning of a dataset's files contains ``{{placeholders}}``."""
    for file in catalog.find(name).files:
        try:
            with file.open("rb") as opened:
                text = opened.read(SCANNED_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        if PLACEHOLDER.search(text):
            return True
    return False
