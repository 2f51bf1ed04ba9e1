"""Compare the decoder's generation speed with plain transformers, alternating in one run.

    python benchmarks/generate_speed.py [--tokens N] [--rounds N] [--dtypes bf16] [--commands N]

First the engine in this process and ``model.generate`` of the model with its adapter merged, for
one and eight streams: each round runs all of them once, so that other load on the machine affects
all equally. Then the command ``tunery chat demo`` as a process: seconds to the first character of
its output, and the tokens per second that its ``--json`` reports, compared with a process that
imports transformers, loads the same model and calls ``generate``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tunery.workers.spinning import SPIN

os.environ.update(SPIN)  # before importing torch; applies to both sides

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunery.decode.local import LocalEngine
from tunery.engines.base import Ended, GenerateRequest
from tunery.models.ensure import ensure
from tunery.models.load import DTYPES, quiet

QUESTION = "Tell me a long story about the sea and a ship."
COMMAND = [str(Path(sys.executable).with_name("tunery")), "chat", "demo", "--prompt", QUESTION]
PLAIN = """
import sys, time
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer
folder, question, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
ids = tokenizer.apply_chat_template([{"role": "user", "content": question}],
                                    add_generation_prompt=True, return_dict=True)["input_ids"]
ids = torch.tensor([ids])
times = []
class Clock:
    def put(self, value):
        times.append(time.perf_counter())
        if len(times) == 2:
            print("first", flush=True)
    def end(self):
        pass
output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False,
                        max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0,
                        streamer=Clock())
print((len(times) - 2) / (times[-1] - times[1]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtypes", nargs="*", default=["bf16", "fp32"], choices=["bf16", "fp32"])
    parser.add_argument("--commands", type=int, default=5)
    options = parser.parse_args()
    quiet()
    folder = ensure("demo").path
    print(f"{folder}, {options.tokens} tokens, {torch.get_num_threads()} threads, load", end=" ")
    print(f"{os.getloadavg()[0]:.1f}; best (median) of {options.rounds} rounds, tokens/s")
    print("| dtype | rows | generate, merged | engine, adapter | engine, base | ratios (medians) |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        adapter = make_adapter(folder, Path(place) / "adapter")
        for dtype in options.dtypes:
            compare(folder, adapter, dtype, options.tokens, options.rounds)
    commands(folder, options.tokens, options.commands)


def make_adapter(folder: Path, path: Path) -> Path:
    """Save a small random LoRA of rank 8 on every linear layer."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    settings = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(model, settings).save_pretrained(str(path))
    return path


def compare(folder: Path, adapter: Path, dtype: str, tokens: int, rounds: int) -> None:
    """Print one table row for one stream and one for eight streams."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder, dtype=DTYPES[dtype]), str(adapter)
    )
    merged: Any = plain.merge_and_unload().eval()
    engine = LocalEngine(folder, dtype=dtype, device="cpu")

    def theirs(rows: int) -> None:
        batch = torch.tensor([ids] * rows)
        merged.generate(
            batch, attention_mask=torch.ones_like(batch), do_sample=False,
            max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0,
        )  # fmt: skip

    def ours(worn: Path | None) -> Callable[[int], None]:
        request = GenerateRequest(
            prompt_ids=ids, stop_ids=[], max_tokens=tokens, adapter=str(worn) if worn else None
        )

        async def one() -> None:
            async for event in engine.generate(request):
                assert not isinstance(event, Ended) or event.num_tokens == tokens

        async def all_of(rows: int) -> None:
            await asyncio.gather(*(one() for _ in range(rows)))

        return lambda rows: asyncio.run(all_of(rows))

    runs = {"plain": theirs, "adapter": ours(adapter), "base": ours(None)}
    for rows in (1, 8):
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                run(rows)
                if number:  # the first round warms up
                    rates[name].append(rows * tokens / (time.perf_counter() - started))
        middle = {name: statistics.median(values) for name, values in rates.items()}
        cells = [f"{max(values):.1f} ({middle[name]:.1f})" for name, values in rates.items()]
        ratios = [f"{middle[name] / middle['plain']:.2f}" for name in ("adapter", "base")]
        print(f"| {dtype} | {rows} | {' | '.join(cells)} | {', '.join(ratios)} |", flush=True)
    asyncio.run(engine.close())


def commands(folder: Path, tokens: int, rounds: int) -> None:
    """Time the real command and a plain script that does the same with transformers."""
    plain = [sys.executable, "-c", PLAIN, str(folder), QUESTION, str(tokens)]
    ours = [*COMMAND, "--max-new-tokens", str(tokens)]
    first: dict[str, list[float]] = {"chat": [], "plain": []}
    rates: dict[str, list[float]] = {"chat": [], "plain": []}
    for number in range(rounds + 1):  # the first round warms up caches
        found = {"chat": seconds_to_first(ours)[0], "plain": 0.0}
        found["plain"], said = seconds_to_first(plain)
        told = json.loads(subprocess.run([*ours, "--json"], capture_output=True, check=True).stdout)
        if number:
            for name, value in found.items():
                first[name].append(value)
            rates["chat"].append(told["answers"][0]["tokens_per_second"])
            rates["plain"].append(float(said.split()[-1]))
    print("\n| as a process | first token, best (median), s | tokens/s, best (median) |")
    print("|---|---|---|")
    for name, label in (("chat", "tunery chat demo"), ("plain", "transformers, plain script")):
        quickest, middle = min(first[name]), statistics.median(first[name])
        best, usual = max(rates[name]), statistics.median(rates[name])
        print(f"| {label} | {quickest:.2f} ({middle:.2f}) | {best:.1f} ({usual:.1f}) |")


def seconds_to_first(words: list[str]) -> tuple[float, str]:
    """Seconds from the start of a process to its first character of output, and all its output."""
    started = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        begun = process.stdout.read(1)
        seconds = time.perf_counter() - started
        return seconds, (begun + process.stdout.read()).decode()


if __name__ == "__main__":
    main()
