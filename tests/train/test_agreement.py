"""Check, plan and run agree: each approves what the next one does, or all refuse alike.

Every bad input and every input that once was approved and then failed goes through every door:
the check, the plan, a run, and a run whose files changed after they were checked.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.golden.bad_data_cases import CASES, chat, jsonl
from tests.train import tiny
from tests.train.zygote import Zygote

from tunery.config.data import DataConfig
from tunery.config.load import Loaded, from_text
from tunery.config.methods import METHODS
from tunery.data.lint.words import report_text
from tunery.errors import TuneryError
from tunery.models import loadable
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create
from tunery.services import datasets, runs
from tunery.train import trial

RUNS = "a run of one step"
REFUSED = "refused with a sentence alone"
SHARED = Path(__file__).parents[3] / "shared" / "inputs"


@dataclass(frozen=True)
class Case:
    """One request: a file, settings by path, and the kind of its rows where that is asked for."""

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


@dataclass
class Doors:
    """The places where a request may be refused."""

    zygote: Zygote
    home: Path
    loaded: Loaded

    def all(self) -> dict[str, str]:
        """What each of them says: a code, or RUNS."""
        return {
            "check": self.check(),
            "plan": _code(lambda: runs.plan(self.loaded, trial=run_in_process)),
            "run": self.run(),
            "unchecked run": self.work(self.unchecked()),
        }

    def check(self) -> str:
        """What ``tunery data check`` says."""
        config = self.loaded.config
        (name,) = config.data.train
        try:
            report = datasets.check_with_model(name, config, wanted=config.method.rows)
        except TuneryError as error:
            return error.code
        return report.refusal or RUNS

    def run(self) -> str:
        """What ``tunery train`` says, before or after its process was started."""
        try:
            folder = runs.prepare(self.loaded, "checked")
        except TuneryError as error:
            return error.code or REFUSED
        return self.work(folder)

    def unchecked(self) -> RunFolder:
        """A run folder as if its rows had changed after they were checked."""
        return create("unchecked", self.loaded.config, {"created": "2026-11-24T10:00:00+00:00"})

    def work(self, folder: RunFolder) -> str:
        """What the process of a run says."""
        status = self.zygote.run("work", path=str(folder.path), home=str(self.home))
        last = tiny.events(folder.path, "status")[-1]
        if last["status"] == "failed":
            assert status in (1, 2)
            return last["code"] or REFUSED
        assert (status, last["status"]) == (0, "finished"), folder.worker_log.read_text()
        assert [e["step"] for e in tiny.events(folder.path, "step")] == [1]
        return RUNS


def _code(act: Callable[[], Any]) -> str:
    try:
        act()
    except TuneryError as error:
        return error.code or REFUSED
    return RUNS


def run_in_process(folder: RunFolder, measure: bool) -> dict[str, Any]:
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
        given = {k.partition(".")[2]: v for k, v in case.settings.items()}
        kind = datasets.check(str(path), DataConfig(**given)).kind
    settings = {"method.type": method_of(kind), **case.settings}
    said = Doors(zygote, home, request(model, str(path), settings)).all()
    assert len(set(said.values())) == 1, said


def _tools(*rows: dict[str, Any]) -> bytes:
    return jsonl(*({**row, "tools": [{"type": "function", "function": TOOL}]} for row in rows))


TOOL = {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TALK = chat(("user", "q"), ("assistant", "a"))
CALLS = {
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "20C"},
        {"role": "assistant", "content": "It is 20C."},
    ]
}
LONG = chat(("user", "q " * 400), ("assistant", "a"))
REQUESTS: dict[str, tuple[str, dict[str, Any], bytes]] = {
    # what was approved and then refused by the run, or the other way round
    "A1": (REFUSED, {"adapter.type": "lora", "adapter.target_modules": ["nothing"]}, jsonl(TALK)),
    "A3-greeting": (RUNS, {}, jsonl(chat(("assistant", "hi"), ("user", "q"), ("assistant", "a")))),
    "A3-greeting-qwen": (
        RUNS,
        {"model.template": "qwen2.5"},
        jsonl(chat(("assistant", "hi"), ("user", "q"), ("assistant", "a"))),
    ),
    "A3-trained-question": (
        RUNS,
        {"model.template": "qwen2.5"},
        jsonl({"messages": [{**TALK["messages"][0], "train": True}, TALK["messages"][1]]}),
    ),
    "A4-tools": ("E415", {}, _tools(TALK)),
    "A4-calls": ("E415", {}, _tools(CALLS)),
    "A4-tools-as-text": (RUNS, {"model.template": "own+hermes"}, _tools(CALLS)),
    "A4-template-with-tools": (RUNS, {"model.template": "qwen2.5"}, _tools(CALLS)),
    "too-long": ("E703", {"data.max_length": 64, "data.too_long": "fail"}, jsonl(LONG)),
    "all-too-long": ("E719", {"data.max_length": 64, "data.too_long": "drop"}, jsonl(LONG)),
    "nothing-trained": (
        "E719",
        {},
        jsonl({"messages": [TALK["messages"][0], {**TALK["messages"][1], "train": False}]}),
    ),
    "set-aside": (
        RUNS,
        {"data.on_bad_rows": "quarantine", "data.max_bad_share": 0.5},
        _tools(CALLS) + jsonl(TALK),
    ),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_what_needs_the_model_to_be_known_is_known_at_every_door(
    name: str, zygote: Zygote, home: Path, model: Path, tmp_path: Path
) -> None:
    right, settings, content = REQUESTS[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    loaded = request(model, str(path), {"method.type": "sft", **settings})
    said = Doors(zygote, home, loaded).all()
    if right == REFUSED:
        said.pop("check")  # it looks at rows, not at the adapter
    assert said == dict.fromkeys(said, right)


BROKEN_TOKENIZERS = {
    "no model": ("tokenizer.json", '{"version": "1.0"}'),
    "no JSON": ("tokenizer.json", "{"),
    "another type": ("tokenizer.json", '{"version": "1.0", "model": {"type": "Zork"}}'),
    "a broken config": ("tokenizer_config.json", "{"),
    "missing": ("tokenizer.json", None),
}


@pytest.mark.parametrize("what", BROKEN_TOKENIZERS)
def test_a_tokenizer_that_cannot_be_loaded_is_refused_at_every_door(
    what: str, zygote: Zygote, home: Path, model: Path, tmp_path: Path
) -> None:
    broken = shutil.copytree(model, tmp_path / "broken")
    file, text = BROKEN_TOKENIZERS[what]
    if text is None:
        (broken / file).unlink()
    else:
        (broken / file).write_text(text)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(jsonl(TALK))
    loaded = request(broken, str(path), {"method.type": "sft"})
    said = {door: code or REFUSED for door, code in Doors(zygote, home, loaded).all().items()}
    assert said == dict.fromkeys(said, REFUSED)
    with pytest.raises(TuneryError, match="tokenizer"):
        runs.prepare(loaded, "another")
    assert not (home / "runs" / "another").exists()
    with pytest.raises(TuneryError, match="tokenizer"):  # where torch is not at hand
        loadable._load_in_child(broken)


def test_a_tokenizer_is_loaded_once_for_each_content(
    home: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loadable._load_in_child(model)
    loads: list[Path] = []
    monkeypatch.setattr(loadable, "_load", loads.append)
    loadable.require_tokenizer(model)
    loadable.require_tokenizer(model)
    assert loads == [model]
    other = shutil.copytree(model, tmp_path / "other")
    loadable.require_tokenizer(other)
    assert loads == [model]
    (other / "tokenizer_config.json").write_text('{"tokenizer_class": "Zork"}')
    loadable.require_tokenizer(other)
    assert loads == [model, other]


def test_a_check_says_how_far_its_word_goes(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(_tools(CALLS, CALLS) + jsonl(TALK))
    alone = report_text(datasets.check(str(path), DataConfig()))
    assert "a run can start if the model's chat template" in alone
    refused = datasets.check_with_model(str(path), request(model, str(path), {}).config)
    assert (refused.good, refused.bad) == (1, 2)
    (group,) = refused.stops
    assert [(p.code, p.line, p.record) for p in group.examples] == [("E415", 1, 1), ("E415", 2, 2)]
    assert "--data.on_bad_rows quarantine --data.max_bad_share 0.67" in report_text(refused)
    settings = {"data.on_bad_rows": "quarantine", "data.max_bad_share": 0.67}
    left = datasets.check_with_model(str(path), request(model, str(path), settings).config)
    assert "A run can start; it sets the other rows aside." in report_text(left)
    right = request(model, str(path), {"model.template": "qwen2.5"})
    told = report_text(datasets.check_with_model(str(path), right.config))
    assert f"a run on {model} can start" in told


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="the inputs that users had are not here")
@pytest.mark.parametrize(
    "path",
    [path for path in sorted(SHARED.glob("*")) if path.suffix not in (".py", ".md")],
    ids=lambda path: path.name,
)
def test_what_users_brought_is_refused_or_run_alike_at_every_door(
    path: Path, zygote: Zygote, home: Path, model: Path
) -> None:
    kind = None
    with contextlib.suppress(TuneryError):  # the doors say it
        kind = datasets.check(str(path), DataConfig()).kind
    loaded = request(model, str(path), {"method.type": method_of(kind)})
    said = Doors(zygote, home, loaded).all()
    assert len(set(said.values())) == 1, said
