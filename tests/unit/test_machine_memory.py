"""How much memory may be used: the smallest of the machine's, the container's and the shell's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tunery import memory


def test_without_limits_it_is_the_machine(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.total_bytes() == psutil.virtual_memory().total
    assert 0 < memory.available_bytes() < memory.total_bytes()


def test_a_container_of_version_2_counts_less_its_file_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300000\nactive_file 5\n")
    assert memory.total_bytes() == 1_000_000
    assert memory.available_bytes() == 600_000


def test_a_container_of_version_1_counts_and_its_huge_number_means_none(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("2000000")
    (tmp_path / "memory" / "memory.usage_in_bytes").write_text("500000")
    (tmp_path / "memory" / "memory.stat").write_text("inactive_file 7\ntotal_inactive_file 100\n")
    assert memory.total_bytes() == 2_000_000
    assert memory.available_bytes() == 1_500_100
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712")
    assert memory.total_bytes() == psutil.virtual_memory().total


def test_a_limit_of_the_shell_counts() -> None:
    code = "from tunery import memory; print(memory.total_bytes(), memory.available_bytes())"
    done = subprocess.run(
        ["prlimit", f"--as={3 << 30}", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    total, available = (int(word) for word in done.stdout.split())
    assert total == 3 << 30
    assert 0 < available < total


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("std::bad_alloc"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 12 bytes"),
        RuntimeError("could not create a primitive"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_what_libraries_say_without_memory_is_understood(error: BaseException) -> None:
    assert memory.is_out_of_memory(error)
    assert not memory.is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_what_is_beyond_the_limit_fails_in_python_and_is_no_kill() -> None:
    code = (
        "from tunery import memory\n"
        "memory.limit(200 * 2**20)\n"
        "memory.limit(10**12)\n"  # a stricter limit stays
        "try: bytearray(400 * 2**20)\n"
        "except MemoryError as error: print(memory.is_out_of_memory(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "True\n"
