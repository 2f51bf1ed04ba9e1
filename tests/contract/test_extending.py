"""docs/extending.md is true: its files are put in place, one entry is added, and it trains."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

import pytest
from pydantic import create_model
from tests.train import tiny
from tests.train.test_resume import run_in_two

from tunery.config import layers, settings
from tunery.config.adapters import ADAPTERS
from tunery.config.base import Kind, tag
from tunery.config.config import Config
from tunery.config.frozen import with_types
from tunery.config.load import from_tokens
from tunery.config.methods import METHODS
from tunery.config.optimizers import OPTIMIZERS
from tunery.config.trackers import TRACKERS, TrackConfig
from tunery.models.memory import estimate
from tunery.runs.folder import RunFolder
from tunery.services.settings import form
from tunery.shape import ModelShape
from tunery.track import follower
from tunery.workers.folder import read_json

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCK = re.compile(r"```python\n# src/(tunery/[\w/]+)\.py\n(.*?)```", re.DOTALL)
SECTIONS = {"method": METHODS, "adapter": ADAPTERS, "optim": OPTIMIZERS, "track": TRACKERS}
EXAMPLES = [("method", "evenly"), ("adapter", "norms"), ("optim", "sgd")]
TRACKER = ("track", "csv")


def files() -> dict[str, str]:
    """The files of the page, by module."""
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return {path.replace("/", "."): code for path, code in found}


@pytest.fixture
def extended() -> Iterator[dict[str, type[Kind]]]:
    """The kinds of the page, by section; each is one more entry of its tuple."""
    added: dict[str, type[Kind]] = {}
    for name, code in files().items():
        module = types.ModuleType(name)
        sys.modules[name] = module
        exec(compile(code, name, "exec"), module.__dict__)
        for found in list(vars(module).values()):
            mine = isinstance(found, type) and issubclass(found, Kind)
            if mine and found.__module__ == name:
                [section] = [s for s, kinds in SECTIONS.items() if issubclass(found, _base(kinds))]
                added[section] = found
    for section, kind in added.items():
        if section == "track":
            field: Any = (kind | None, None)
            _switch(create_model("TrackConfig", __base__=TrackConfig, **{tag(kind): field}))
        else:
            _choose(section, Union[(*SECTIONS[section], kind)])
    yield added
    for section in added:
        if section == "track":
            _switch(TrackConfig)
        else:
            _choose(section, Union[SECTIONS[section]])  # noqa: UP007
    for name in files():
        del sys.modules[name]


def _base(kinds: tuple[type[Kind], ...]) -> type[Kind]:
    """What all kinds of a section are made from."""
    return next(each for each in kinds[0].__mro__ if each.__name__.endswith("Kind"))


def _choose(section: str, union: Any) -> None:
    info = Config.model_fields[section]
    info.annotation = union
    info.discriminator = "type"
    _rebuild()


def _switch(model: type[TrackConfig]) -> None:
    info = Config.model_fields["track"]
    info.annotation = info.default_factory = model
    _rebuild()


def _rebuild() -> None:
    Config.model_rebuild(force=True)
    walked = (settings.walk, settings.groups, settings.by_path, settings.tagged, settings.switches)
    for cached in (*walked, layers._group_paths):
        cached.cache_clear()


def test_the_page_has_a_light_and_a_heavy_half_of_each_kind(extended: dict[str, type[Kind]]):
    found = [(section, tag(kind)) for section, kind in extended.items()]
    assert found == [*EXAMPLES, TRACKER]
    assert len(files()) == 2 * len(found)


@pytest.mark.parametrize(("section", "name"), EXAMPLES)
def test_one_entry_makes_a_kind_known_everywhere(
    extended: dict[str, type[Kind]], section: str, name: str
):
    loaded = from_tokens([f"--{section}.type", name, "--data.train", "identity"])
    assert getattr(loaded.config, section).type == name
    assert f"{section}.{name}" in {group.key for group in settings.groups()}
    shape = ModelShape.from_config_json(
        {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 96}
    )
    assert estimate(shape, loaded.config, dtype="fp32", micro_batch_tokens=64).total > 0


@pytest.mark.parametrize(("section", "name"), EXAMPLES)
def test_a_kind_of_the_page_trains_tells_and_resumes(
    extended: dict[str, type[Kind]], tmp_path: Path, section: str, name: str
):
    values = tiny.config(
        train={"batch_size": 4, "max_steps": 4, "micro_batch_tokens": 80, "num_threads": 1},
        evaluate={"every": 2},
    ).model_dump(mode="json")
    values[section] = {"type": name}
    made = Config.model_validate(with_types(values))
    parts = {"held_out": tiny.rows(4, seed=3)}
    assert tiny.run(tmp_path / "whole", made, **parts) == "finished"
    run_in_two(tmp_path / "cut", made, 2, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    steps = tiny.events(tmp_path / "whole", "step")
    assert len({event["loss"] for event in steps}) == len(steps)
    if section == "method":
        assert all(event["measures"]["worst_row"] > 0 for event in steps)


def test_a_tracker_of_the_page_is_switched_on_everywhere_and_shows_a_resumed_run(
    extended: dict[str, type[Kind]], tmp_path: Path
):
    loaded = from_tokens(["--track.csv.separator", ";", "--data.train", "identity"])
    assert [tag(type(kind)) for kind in loaded.config.track.chosen().values()] == ["csv"]
    assert from_tokens(["--track.csv"]).config.track.chosen()["csv"].separator == ","
    assert {"track.csv", "track.csv.separator"} <= {field.path for field in form().fields()}
    made = tiny.config(train={"batch_size": 4, "max_steps": 4, "micro_batch_tokens": 80})
    run_in_two(tmp_path / "cut", made, 2, held_out=tiny.rows(4, seed=3))
    run = RunFolder(tmp_path / "cut")
    run.track_dir.mkdir()
    for _ in range(2):
        follower.feed(run, "csv", loaded.config.track.chosen()["csv"].make(), {})
    file = Path(read_json(run.track_file("csv"))["id"])
    head, *lines = file.read_text(encoding="utf-8").splitlines()
    assert head == "step;loss;learning_rate;grad_norm;tokens_per_second"
    told = [(str(step), str(loss)) for step, _, loss, *_ in tiny.history(run.path)]
    assert [tuple(line.split(";")[:2]) for line in lines] == told
    assert len(told) == 4


def test_the_entries_named_by_the_page_are_where_it_says():
    text = PAGE.read_text(encoding="utf-8")
    for name, path in re.findall(r"add the class to `(\w+)` in `([\w/.]+)`", text):
        source = (PAGE.parents[1] / path).read_text(encoding="utf-8")
        assert f"{name} = Annotated[" in source
    [(name, path)] = re.findall(r"add the field `[^`]+` to `(\w+)` in `([\w/.]+)`", text)
    assert f"class {name}(Section)" in (PAGE.parents[1] / path).read_text(encoding="utf-8")
