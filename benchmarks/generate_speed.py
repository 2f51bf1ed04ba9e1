"""Tokens a second of Tunery's engine beside plain transformers, in one run, taking turns.

    python benchmarks/generate_speed.py [--model FOLDER] [--tokens N] [--rounds N] [--threads N]
        [--dtypes bf16 fp32]

Plain: ``model.generate`` of the model with its adapter merged in. Ours: the engine with the adapter
worn (the base stays untouched), and the bare base. Each round runs all of them once,
so that other work on the machine meets all alike; the best round of each counts, and the ratio of
the medians is shown too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
from tunery.decode.engine import quiet
from tunery.decode.generate import generate

from tunery.decode.switch import AdapterSwitch
from tunery.models.load import DTYPES, load_model
from tunery.models.resolve import ensure

QUESTION = "Tell me a long story about the sea and a ship."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtypes", nargs="+", default=["bf16", "fp32"], choices=["bf16", "fp32"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    folder = options.model or ensure("demo").path
    print(f"{folder}, {options.tokens} tokens, {options.threads} threads, best of rounds")
    print("| dtype | rows | plain merged | ours, adapter | ours, base | ratio adapter (median) |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        adapter = make_adapter(folder, Path(place) / "adapter")
        for dtype in options.dtypes:
            compare(folder, adapter, DTYPES[dtype], options.tokens, options.rounds)


def make_adapter(folder: Path, path: Path) -> Path:
    """A small random LoRA on every linear layer, rank 8."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    settings = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(model, settings).save_pretrained(path)
    return path


def compare(folder: Path, adapter: Path, dtype: torch.dtype, tokens: int, rounds: int) -> None:
    """Print one line of the table for one stream and one for a batch of eight."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, return_dict=True
    )["input_ids"]
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder, dtype=dtype), str(adapter)
    )
    merged = plain.merge_and_unload().eval()
    switch = AdapterSwitch(load_model(folder, dtype=dtype, device="cpu"))
    switch.attach("a", adapter)

    def theirs(rows: int) -> None:
        batch = torch.tensor([ids] * rows)
        merged.generate(
            batch, attention_mask=torch.ones_like(batch), do_sample=False,
            max_new_tokens=tokens, min_new_tokens=tokens, pad_token_id=0,
        )  # fmt: skip

    def ours(name: str | None) -> Callable[[int], None]:
        def run(rows: int) -> None:
            generate(switch.wear(name), [ids] * rows, stop_ids=(), max_new_tokens=tokens)

        return run

    runs = {"plain": theirs, "adapter": ours("a"), "base": ours(None)}
    for rows in (1, 8):
        rates: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(rounds + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                run(rows)
                if number:  # the first round warms up
                    rates[name].append(rows * tokens / (time.perf_counter() - started))
        best = {name: max(values) for name, values in rates.items()}
        middle = {name: statistics.median(values) for name, values in rates.items()}
        print(
            f"| {str(dtype).removeprefix('torch.')} | {rows} | {best['plain']:.1f} "
            f"| {best['adapter']:.1f} | {best['base']:.1f} "
            f"| {best['adapter'] / best['plain']:.2f} "
            f"({middle['adapter'] / middle['plain']:.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
