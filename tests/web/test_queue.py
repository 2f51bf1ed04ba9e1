"""The queue of a device: who waits, in which order, and that a new order is honoured."""

from __future__ import annotations

import threading

import pytest
from tests.waiting import PATIENCE_SECONDS, until

from tunery.errors import RunError
from tunery.runs import queue
from tunery.runs.device import DeviceLock


class Worker(threading.Thread):
    """Waits for the device like a worker, notes its turn, and gives it back."""

    def __init__(self, run: str, turns: list[str]) -> None:
        super().__init__(daemon=True)
        self.run_name, self.turns = run, turns
        self.start()

    def run(self) -> None:
        lock = DeviceLock("cpu", run=self.run_name)
        lock.acquire()
        self.turns.append(self.run_name)
        lock.release()


def test_a_new_order_is_honoured_by_those_who_wait(home) -> None:
    first = DeviceLock("cpu", run="first")
    assert first.acquire()
    turns: list[str] = []
    workers = []
    for name in ("a", "b", "c"):
        workers.append(Worker(name, turns))
        until(lambda name=name: name in [w.run for w in queue.waiting()])
    assert [(w.run, w.position) for w in queue.waiting()] == [("a", 1), ("b", 2), ("c", 3)]
    assert queue.holders() == {"cpu": "first"}
    queue.reorder(["c", "b"])
    assert [w.run for w in queue.waiting()] == ["c", "b", "a"]
    latecomer = Worker("d", turns)
    until(lambda: len(queue.waiting()) == 4)
    first.release()
    for worker in (*workers, latecomer):
        worker.join(PATIENCE_SECONDS)
    assert turns == ["c", "b", "a", "d"]
    assert queue.waiting() == []
    assert queue.holders() == {}


def test_an_order_for_a_run_that_does_not_wait_is_refused(home) -> None:
    with pytest.raises(RunError, match="is not queued"):
        queue.reorder(["nobody"])


def test_a_damaged_order_is_the_order_of_arrival(home) -> None:
    first = DeviceLock("cpu", run="first")
    first.acquire()
    turns: list[str] = []
    worker = Worker("a", turns)
    until(lambda: queue.waiting())
    (home / "locks" / "device-cpu.order").write_text('{"tickets": [3, null')
    assert [w.run for w in queue.waiting()] == ["a"]
    first.release()
    worker.join(PATIENCE_SECONDS)
    assert turns == ["a"]


def test_an_order_given_while_a_run_takes_the_device_is_honoured(
    home, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = DeviceLock("cpu", run="first")
    first.acquire()
    turns: list[str] = []
    take = DeviceLock._try

    def with_an_order_meanwhile(lock: DeviceLock) -> bool:
        taken = take(lock)
        if taken and lock.run == "a" and not turns:
            queue.reorder(["b"])
        return taken

    # Before they wait: one of them may be about to try when the device is released.
    monkeypatch.setattr(DeviceLock, "_try", with_an_order_meanwhile)
    workers = []
    for name in ("a", "b"):
        workers.append(Worker(name, turns))
        until(lambda name=name: name in [w.run for w in queue.waiting()])
    first.release()
    for worker in workers:
        worker.join(PATIENCE_SECONDS)
    assert turns == ["b", "a"]
