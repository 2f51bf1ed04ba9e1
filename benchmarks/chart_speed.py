"""Measure the browser cost of a run's page: time until its curves are drawn, and per new step.

    python benchmarks/chart_speed.py --steps 100 10000 100000 --updates 20

Starts ``tunery web`` in a temporary home with runs of the given numbers of steps, opens each in
Debian's Chromium, then adds steps one by one. Times are those of the page's main thread as reported
by Chromium (Performance.getMetrics). Prints one Markdown row per run length.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import CDPSession, Page, sync_playwright

PORT = 17_867
ORIGIN = f"http://127.0.0.1:{PORT}"


def step(number: int) -> dict[str, Any]:
    """A step event as a run's worker writes it."""
    return {
        "step": number, "epoch": number / 1000, "loss": 3 / (1 + number / 400) + number % 7 / 50,
        "learning_rate": 1e-4, "grad_norm": 1 + number % 5 / 9, "tokens": 512, "seconds": 0.1,
        "tokens_per_second": 5000.0 + number % 90, "memory_bytes": 1 << 30,
    }  # fmt: skip


def measure(page: Page, devtools: CDPSession, num_steps: int, updates: int) -> str:
    """Measure one run length and return its table row."""
    from tunery.config.config import Config
    from tunery.runs.events import EventWriter
    from tunery.runs.folder import create
    from tunery.workers.process import WorkerFile

    folder = create(f"steps-{num_steps}", Config(), {})
    WorkerFile(folder).write()
    with EventWriter(folder.events_file) as events:
        events.write("status", status="running", pid=os.getpid())
        events.write("plan", num_steps=2 * num_steps, trained_parameters=1, total_parameters=2)
        for number in range(1, num_steps + 1):
            events.write("step", **step(number))
        began = time.perf_counter()
        page.goto(f"{ORIGIN}/runs/{folder.name}")
        _drawn(page, num_steps)
        first = time.perf_counter() - began
        page.wait_for_timeout(2000)
        before = _metrics(devtools)
        for number in range(num_steps + 1, num_steps + updates + 1):
            events.write("step", **step(number))
            _drawn(page, number)
        after = _metrics(devtools)
    cost = {key: 1000 * (after[key] - before[key]) / updates for key in before if "Dur" in key}
    heap = after["JSHeapUsedSize"] / 2**20
    return (
        f"| {num_steps:,} | {first:.2f} | {cost['TaskDuration']:.1f} | "
        f"{cost['ScriptDuration']:.1f} | {heap:.0f} |"
    )


def _drawn(page: Page, last: int) -> None:
    label = f"Loss: Step 1 to {last:,}"
    page.wait_for_selector(f'[role=img][aria-label^="{label},"]', timeout=120_000)


def _metrics(devtools: CDPSession) -> dict[str, float]:
    found = devtools.send("Performance.getMetrics")["metrics"]
    wanted = ("TaskDuration", "ScriptDuration", "JSHeapUsedSize")
    return {each["name"]: each["value"] for each in found if each["name"] in wanted}


def main() -> None:
    """Run the benchmark and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 10_000, 100_000])
    parser.add_argument("--updates", type=int, default=20)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        os.environ["TUNERY_HOME"] = folder
        command = [sys.executable, "-m", "tunery", "web", "--port", str(PORT)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        try:
            _wait()
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            token = (Path(folder) / "token").read_text().strip()
            page.goto(f"{ORIGIN}/#token={token}")
            page.wait_for_url(f"{ORIGIN}/")
            devtools = page.context.new_cdp_session(page)
            devtools.send("Performance.enable")
            print(
                "| steps | until drawn (s) | main thread a step (ms) | scripts (ms) | heap (MiB) |"
            )
            print("| ---: | ---: | ---: | ---: | ---: |")
            for number in chosen.steps:
                print(measure(page, devtools, number, chosen.updates), flush=True)
            print(json.dumps({"chromium": browser.version, "updates": chosen.updates}))
        finally:
            browser.close()
            server.terminate()
            server.wait()


def _wait() -> None:
    for _ in range(200):
        try:
            if httpx.get(f"{ORIGIN}/healthz", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise SystemExit("tunery web did not start")


if __name__ == "__main__":
    main()
