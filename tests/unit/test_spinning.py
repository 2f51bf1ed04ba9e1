"""How a process's threads wait: told to libgomp by two variables before torch is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tunery.workers import spinning
from tunery.workers.spinning import SLEEP, SPIN, SPIN_SHORTLY, Neighbours, settle


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SPIN:
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)


def machine(monkeypatch: pytest.MonkeyPatch, *, cores: int, idle: float, mine: float) -> Neighbours:
    """Neighbours seen for one second, in which the machine idled and we computed so long."""
    seen = iter([(0.0, 100.0, 7.0), (1.0, 100.0 + idle, 7.0 + mine)])
    monkeypatch.setattr(Neighbours, "_now", staticmethod(lambda: next(seen)))
    monkeypatch.setattr(spinning, "_cores", lambda: cores)
    monkeypatch.setattr(spinning.time, "sleep", lambda seconds: None)
    return Neighbours()


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
    assert machine(monkeypatch, cores=cores, idle=idle, mine=mine).leave_it_free() is free


def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    settle(SPIN)
    assert {name: spinning.os.environ.get(name) for name in SPIN} == {
        "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": None,
    }  # fmt: skip


@pytest.mark.parametrize("waiting", [SLEEP, SPIN, SPIN_SHORTLY])
def test_it_is_set_whole(waiting: dict[str, str]) -> None:
    settle(waiting)
    assert {n: spinning.os.environ[n] for n in SPIN if n in spinning.os.environ} == waiting


MODULES = ["train.worker", "decode.worker", "services.job_kinds", "engines.find"]


@pytest.mark.parametrize("module", MODULES)
def test_torch_is_not_there_before_it_is_settled(module: str) -> None:
    code = f"import sys, tunery.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
