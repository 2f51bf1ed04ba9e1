"""What a resume is compared in."""

from __future__ import annotations

import pytest

from tunery.config.frozen import completed
from tunery.config.load import load
from tunery.errors import RunError
from tunery.runs.drift import differences, refuse


def config(*flags: str) -> dict:
    return load(flags=["--data.train", "identity", *flags]).config.model_dump(mode="json")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("train.seed", "7"),
        ("train.batch_size", "8"),
        ("adapter.rank", "16"),
        ("adapter.target_modules", "[q_proj]"),
        ("model.template", "chatml"),
        ("model.name", "other"),
        ("model.dtype", "bf16"),
        ("data.max_length", "512"),
        ("data.packing", "false"),
        ("optim.learning_rate", "0.001"),
        ("train.num_epochs", "5"),
        ("data.variables.name", "Bob"),
    ],
)
def test_each_setting_that_decides_the_numbers_is_named(flag, value) -> None:
    found = differences(config(), config(f"--{flag}", value))
    assert [d.field for d in found] == [flag]
    with pytest.raises(RunError) as caught:
        refuse("mine", found)
    assert f"{flag}: {found[0].old!r} -> {found[0].new!r}" in caught.value.message
    assert caught.value.fix.endswith(f"tunery runs resume mine --allow-drift {flag}")
    assert refuse("mine", found, allowed=[flag]) == [flag]
    assert refuse("mine", found, allowed=[flag.split(".")[0]]) == [flag]


def test_what_only_decides_when_something_is_saved_or_shown_is_free() -> None:
    assert not differences(config(), config("--checkpoint.keep", "5", "--evaluate.prompts", "[Hi]"))
    assert not differences(config(), config("--evaluate.samples", "0"))


def test_one_allowed_difference_does_not_open_the_others() -> None:
    found = differences({"data_hash": "a", "x": {"y": 1}}, {"data_hash": "b", "x": {"y": 2}})
    with pytest.raises(RunError, match=r"x\.y: 1 -> 2") as caught:
        refuse("mine", found, allowed=["data_hash"])
    assert "data_hash" not in caught.value.message


def test_a_setting_that_the_checkpoint_s_tunery_did_not_have_is_at_its_default() -> None:
    now = config()
    saved = {name: dict(now[name]) for name in now if isinstance(now[name], dict)}
    del saved["data"]["replay"], saved["method"]
    assert differences(completed(saved), now) == []
    saved["data"]["max_length"] = 64
    found = differences(completed(saved), now)
    assert [difference.field for difference in found] == ["data.max_length"]


def test_settings_that_cannot_be_read_any_more_are_named() -> None:
    now = config()
    saved = {**now, "optim": {**now["optim"], "gone": 3}}
    found = differences(completed(saved), now)
    assert [(d.field, d.old, d.new) for d in found] == [("optim.gone", 3, None)]


def test_trackers_may_come_and_go():
    off, on = {"track": {"tensorboard": None}}, {"track": {"tensorboard": {"folder": "x"}}}
    assert differences(off, on) == differences(on, off) == []
