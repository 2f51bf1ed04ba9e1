"""Check, plan, start and worker agree: each approves what the next one does, or all refuse alike.

Every bad input and every input that once was approved and then failed goes through the four doors.
The worker gets its folder from outside, as if the files had changed since they were checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.golden.bad_data_cases import CASES
from tests.train import tiny
from tests.train.zygote import Zygote

from tunery.config.load import Loaded, from_text
from tunery.config.methods import METHODS
from tunery.errors import TuneryError
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create
from tunery.services import datasets, runs
from tunery.train import trial

RUNS = "a run of one step"
SHARED = Path(__file__).parents[3] / "shared" / "inputs"


@dataclass(frozen=True)
class Case:
    """One request: a file, settings by path, and the code it is refused by ("" for a run)."""

    id: str
    file: str
    content: bytes | Callable[[Path], None]
    settings: dict[str, Any] = field(default_factory=dict)
    kind: str | None = None

    def write(self, folder: Path) -> Path:
        """Make the file."""
        path = folder / self.file
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            self.content(path)
        return path


def method_of(kind: str | None) -> str:
    """The first method that learns from a kind of rows."""
    found = [m.model_fields["type"].default for m in METHODS if m.rows == (kind or "conversation")]
    return found[0]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "tiny")


@dataclass
class Doors:
    """The four places where a request may be refused."""

    zygote: Zygote
    home: Path
    loaded: Loaded

    def all(self) -> dict[str, str]:
        """What each of them says: a code, or RUNS."""
        return {
            "check": self.check(),
            "plan": _code(lambda: runs.plan(self.loaded, trial=_trial)),
            "start": _code(lambda: runs.prepare(self.loaded, "start")),
            "worker": self.worker(),
        }

    def check(self) -> str:
        """What ``tunery data check`` says."""
        config = self.loaded.config
        try:
            (name,) = config.data.train
            report = datasets.check(name, config.data, wanted=config.method.rows)
        except TuneryError as error:
            return error.code
        return report.refusal or RUNS

    def worker(self) -> str:
        """What the process of a run says that nobody has checked."""
        folder = create("unchecked", self.loaded.config, {"created": "2026-11-24T10:00:00+00:00"})
        status = self.zygote.run("work", path=str(folder.path), home=str(self.home))
        last = tiny.events(folder.path, "status")[-1]
        if last["status"] == "failed":
            assert status in (1, 2)
            return last["code"]
        assert (status, last["status"]) == (0, "finished"), folder.worker_log.read_text()
        assert [e["step"] for e in tiny.events(folder.path, "step")] == [1]
        return RUNS


def _code(act: Callable[[], Any]) -> str:
    try:
        act()
    except TuneryError as error:
        return error.code
    return RUNS


def _trial(folder: RunFolder, measure: bool) -> dict[str, Any]:
    with EventWriter(folder.events_file) as events:
        return trial.try_out(folder, events, measure=measure)


def request(model: Path, name: str, settings: dict[str, Any]) -> Loaded:
    """A run of one step on the tiny model."""
    document: dict[str, Any] = {
        "model": {"name": str(model), "dtype": "fp32", "device": "cpu"},
        "data": {"train": [name]},
        "train": {"max_steps": 1, "num_threads": 1},
        "evaluate": {"every": "never"},
        "checkpoint": {"every": "never", "every_minutes": None},
    }
    for path, value in settings.items():
        section, _, key = path.partition(".")
        document.setdefault(section, {})[key] = value
    return from_text(yaml.safe_dump(document), "request.yaml")


def _bad_data() -> Iterator[Any]:
    for case in CASES:
        settings = {f"data.{k}": v for k, v in case.options.items() if k != "wanted"}
        settings = {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}
        made = Case(case.id, case.file, case.content, settings, case.options.get("wanted"))
        yield pytest.param(made, id=case.id)


@pytest.mark.parametrize("case", list(_bad_data()))
def test_every_bad_input_is_refused_or_run_alike_at_every_door(
    case: Case, zygote: Zygote, home: Path, model: Path, tmp_path: Path
) -> None:
    path = case.write(tmp_path)
    kind = case.kind
    if kind is None:
        from tunery.config.data import DataConfig

        given = {k.partition(".")[2]: v for k, v in case.settings.items()}
        kind = datasets.check(str(path), DataConfig(**given)).kind
    settings = {"method.type": method_of(kind), **case.settings}
    said = Doors(zygote, home, request(model, str(path), settings)).all()
    assert len(set(said.values())) == 1, said
