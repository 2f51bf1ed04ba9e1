"""Work that is spread over forked processes: in order, whole, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.families import family

from tunery.chat.remarks import REJECTED
from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.data import forked, tokenize
from tunery.data.tokenize import tokenize_all
from tunery.errors import DataError
from tunery.types import Conversation, Message

pytestmark = pytest.mark.skipif(not forked.can_fork(), reason="this system cannot fork")
TOKENIZER = family("chatml")


def children() -> list[int]:
    return [child.pid for child in psutil.Process().children()]


@pytest.mark.parametrize("pieces", [0, 1, 2, 7, 40])
@pytest.mark.parametrize("processes", [1, 2, 3, 50])
def test_results_come_in_order(pieces: int, processes: int) -> None:
    before = children()
    done = [
        tuple(map(int, said.split()))
        for said in forked.ordered(
            lambda n: f"{n} {os.getpid()}".encode(), pieces, processes=processes
        )
    ]
    assert [number for number, _ in done] == list(range(pieces))
    used = min(processes, pieces)
    assert len({pid for _, pid in done}) == (used if used > 1 else min(pieces, 1))
    assert (os.getpid() in {pid for _, pid in done}) == (used == 1)
    assert children() == before


def test_what_the_work_raises_is_raised() -> None:
    def work(number: int) -> bytes:
        if number == 3:
            raise ValueError("three")
        return b"%d" % number

    seen: list[bytes] = []
    with pytest.raises(ValueError, match="three"):
        seen.extend(forked.ordered(work, 6, processes=2))
    found: list[bytes] = []
    for number in forked.ordered(work, 6, processes=2):
        found.append(number)
        if number == b"2":
            break
    assert found == [b"0", b"1", b"2"]


def test_a_killed_process_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    mine = os.getpid()

    def work(number: int) -> bytes:
        if number == 3 and os.getpid() != mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return b"%d" % number

    assert list(forked.ordered(work, 8, processes=2)) == [b"%d" % n for n in range(8)]
    assert len(caplog.records) == 1


def test_the_processes_end_when_nobody_reads(tmp_path: Path) -> None:
    """Killing the caller ends its processes at their next write."""
    script = tmp_path / "caller.py"
    script.write_text(
        "import os, sys, time\n"
        "from tunery.data import forked\n"
        "def work(n):\n"
        "    time.sleep(0.02)\n"
        "    return str(os.getpid()).encode()\n"
        "for pid in forked.ordered(work, 100000, processes=2):\n"
        "    print(pid.decode(), flush=True)\n"
    )
    caller = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    pids = {int(caller.stdout.readline()) for _ in range(4)}
    assert len(pids) == 2
    caller.kill()
    caller.wait()
    caller.stdout.close()
    while any(psutil.pid_exists(pid) for pid in pids):
        time.sleep(0.02)


def row(number: int) -> Conversation:
    if number % 97 == 5:  # half an emoji cannot be encoded
        return Conversation((Message("user", "bad \ud800"), Message("assistant", f"{number}")))
    answer = f"answer {number} " * (number % 13 + 1)
    return Conversation((Message("user", f"question {number}"), Message("assistant", answer)))


def test_the_store_is_the_same_to_the_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "CHUNK", 16)
    monkeypatch.setattr(tokenize, "MANY", 100)
    template = ChatTemplate.load(TOKENIZER, "chatml")
    data = DataConfig(max_length=40, on_bad_rows="quarantine", max_bad_share=0.5)
    stores = [
        tokenize_all(
            [row(n) for n in range(400)], template, TOKENIZER, data,
            cache=tmp_path / str(processes), processes=processes,
        )
        for processes in (1, 2, 3)
    ]  # fmt: skip
    files = [
        {file.name: file.read_bytes() for file in sorted(store.folder.iterdir())}
        for store in stores
    ]
    assert files[0] == files[1] == files[2]
    assert stores[0].filtered[REJECTED] == len([n for n in range(400) if n % 97 == 5])
    assert stores[0].truncated
    assert stores[0].notes


def test_refused_rows_are_named_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "CHUNK", 16)
    monkeypatch.setattr(tokenize, "MANY", 100)
    template = ChatTemplate.load(TOKENIZER, "chatml")
    said: list[str] = []
    for processes in (1, 2):
        with pytest.raises(DataError) as caught:
            tokenize_all(
                [row(n) for n in range(400)], template, TOKENIZER,
                DataConfig(on_bad_rows="stop"), cache=None, processes=processes,
            )  # fmt: skip
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "400" in said[0]


def test_stopping_in_the_middle_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize, "CHUNK", 16)
    monkeypatch.setattr(tokenize, "MANY", 100)

    class StopHere(Exception):
        pass

    def progress(done: int, _: int) -> None:
        if done >= 64:
            raise StopHere

    before = children()
    with pytest.raises(StopHere):
        tokenize_all(
            [row(n) for n in range(400)], ChatTemplate.load(TOKENIZER, "chatml"), TOKENIZER,
            DataConfig(on_bad_rows="quarantine", max_bad_share=0.5), cache=None,
            progress=progress, processes=2,
        )  # fmt: skip
    assert set(children()) <= set(before) | {p for p in children() if _is_sandbox(p)}


def _is_sandbox(pid: int) -> bool:
    return any("jinja_child" in word for word in psutil.Process(pid).cmdline())
