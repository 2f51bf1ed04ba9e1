"""Measure the speed and memory of the data checker: rows/s and peak RSS per kind of file.

    python benchmarks/check_rows.py                    1,000,000 alpaca rows as JSON Lines
    python benchmarks/check_rows.py --rows 10000000    ten million (about 2.4 GB on disk)
    python benchmarks/check_rows.py --kind openai csv parquet json

Each kind runs in its own process, so that the peak memory of one does not affect another.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TEXT = (
    "the river runs under an old bridge and carries leaves from the hills to the sea while people "
    "walk home in the evening light and talk about bread weather music numbers and small repairs"
)
WORDS = TEXT.split()
KINDS = ("alpaca", "openai", "chinese", "json", "csv", "parquet")


def sentence(generator: random.Random, count: int) -> str:
    return " ".join(generator.choices(WORDS, k=count))


def rows(kind: str, count: int) -> Iterator[dict[str, object]]:
    generator = random.Random(7)
    for i in range(count):
        asked, answer = sentence(generator, 12), sentence(generator, 18) + f" {i}."
        if kind == "openai":
            yield {
                "messages": [
                    {"role": "user", "content": asked},
                    {"role": "assistant", "content": answer},
                ]
            }
        elif kind == "chinese":
            yield {
                "instruction": f"请回答“第{i}个”问题：{asked[:20]}",
                "output": f"答案是{i}。{answer}",
            }
        else:
            yield {"instruction": asked, "input": "", "output": answer}


def write(kind: str, count: int, folder: Path) -> Path:
    if kind == "parquet":
        import pyarrow
        from pyarrow import parquet

        path = folder / "rows.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(list(rows(kind, count))), path)
        return path
    if kind == "csv":
        path = folder / "rows.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, ["instruction", "input", "output"])
            table.writeheader()
            table.writerows(rows(kind, count))
        return path
    path = folder / ("rows.json" if kind == "json" else "rows.jsonl")
    with path.open("w", encoding="utf-8") as file:
        if kind == "json":
            file.write("[\n")
        for i, row in enumerate(rows(kind, count)):
            ends = ",\n" if kind == "json" and i < count - 1 else "\n"
            file.write(json.dumps(row, ensure_ascii=False) + ends)
        if kind == "json":
            file.write("]\n")
    return path


def measure(path: str) -> None:
    """Check one file in this process and print the measurements."""
    from tunery.data.catalog import find
    from tunery.data.lint import CheckOptions, check

    dataset = find(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, cpu = time.perf_counter(), time.process_time()
    report = check(dataset, CheckOptions())
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert report.ok, report.as_dict()
    assert report.rows == report.good
    figures = {
        "rows": report.rows,
        "seconds": round(seconds, 2),
        "rows_per_second": round(report.rows / seconds),
        "rows_per_cpu_second": round(report.rows / cpu),
        "peak_mib": round(peak / 1024),
        "start_mib": round(before / 1024),
    }
    print(json.dumps(figures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=["alpaca"])
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        measure(chosen.measure)
        return
    for kind in chosen.kind:
        with tempfile.TemporaryDirectory() as folder:
            path = write(kind, chosen.rows, Path(folder))
            size = path.stat().st_size / 2**20
            command = [sys.executable, __file__, "--measure", str(path)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found = json.loads(output)
            rate, cpu_rate = found["rows_per_second"], found["rows_per_cpu_second"]
            print(
                f"{kind:8} {found['rows']:>11,} rows {size:7.0f} MiB {found['seconds']:7.2f} s "
                f"{rate:>9,} rows/s ({cpu_rate:,} a CPU second)  peak {found['peak_mib']} MiB "
                f"(before {found['start_mib']} MiB)",
                flush=True,
            )


if __name__ == "__main__":
    main()
