"""How a process's threads wait: told to libgomp by two variables before torch is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.train import tiny

from tunery import env
from tunery.train import worker
from tunery.workers import spinning
from tunery.workers.spinning import SLEEP, SPIN, SPIN_SHORTLY, settle, settle_by_load


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SPIN:
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)


def machine(
    monkeypatch: pytest.MonkeyPatch, *, cores: int, looks: list[tuple[float, float]]
) -> None:
    """A machine that is looked at for a second each time: how long it idled and we computed."""
    seen = [
        each for idle, mine in looks for each in ((0.0, 9.0, 7.0), (1.0, 9.0 + idle, 7.0 + mine))
    ]
    times = iter(seen)
    monkeypatch.setattr(spinning, "_now", lambda: next(times))
    monkeypatch.setattr(env, "cores", lambda: cores)
    monkeypatch.setattr(spinning.time, "sleep", lambda seconds: None)


def waiting() -> dict[str, str]:
    return {name: spinning.os.environ[name] for name in SPIN if name in spinning.os.environ}


@pytest.mark.parametrize(
    ("cores", "idle", "mine", "free"),
    [
        (2, 1.9, 0.1, True),  # alone
        (2, 1.0, 1.0, True),  # what we use ourselves does not count
        (2, 1.0, 0.1, False),  # a neighbour has one of two
        (2, 0.0, 0.3, False),
        (8, 6.5, 0.5, True),  # a neighbour has one of eight
        (8, 40.0, 0.5, True),  # eight of a bigger machine
    ],
)  # fmt: skip
def test_whether_the_cores_are_free(
    monkeypatch: pytest.MonkeyPatch, cores: int, idle: float, mine: float, free: bool
) -> None:
    machine(monkeypatch, cores=cores, looks=[(idle, mine), (idle, mine)])
    settle_by_load()
    assert waiting() == (SPIN if free else SLEEP)


def test_a_program_that_is_just_ending_is_looked_past(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cores=2, looks=[(1.0, 0.0), (2.0, 0.0)])
    settle_by_load()
    assert waiting() == SPIN


def test_who_says_how_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, cores=2, looks=[])
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    settle_by_load()
    assert waiting() == {"GOMP_SPINCOUNT": "7"}


def test_a_queued_run_looks_when_its_turn_has_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    order: list[str] = []

    class Lock:
        def __init__(self, *_: object, **__: object) -> None: ...

        def acquire(self, **_: object) -> bool:
            order.append("waited for the device")
            return True

        def release(self) -> None: ...

    monkeypatch.setattr(worker, "DeviceLock", Lock)
    monkeypatch.setattr(worker, "settle_by_load", lambda: order.append("looked"))
    monkeypatch.setattr("tunery.train.session.run", lambda context: order.append("ran") or "x")
    monkeypatch.setattr(worker, "read_frozen", lambda file: tiny.config())
    monkeypatch.setattr(worker, "read_frozen_meta", lambda file: {})
    place = tiny.context(tmp_path / "run", tiny.config())
    with place.events:
        worker._run(place.folder, place.events, place.stop, [])
    assert order == ["waited for the device", "looked", "ran"]


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    settle(SPIN)
    assert waiting() == {"OMP_WAIT_POLICY": "PASSIVE"}


@pytest.mark.parametrize("how", [SLEEP, SPIN, SPIN_SHORTLY])
def test_it_is_set_whole(how: dict[str, str]) -> None:
    settle(how)
    assert waiting() == how


MODULES = ["train.worker", "decode.worker", "services.job_kinds", "engines.find"]


@pytest.mark.parametrize("module", MODULES)
def test_torch_is_not_there_before_it_is_settled(module: str) -> None:
    code = f"import sys, tunery.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
