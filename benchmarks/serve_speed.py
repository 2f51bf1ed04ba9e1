"""Tokens a second of the serving engine beside transformers' generate, in one process, by turns.

    GOMP_SPINCOUNT=3000 python benchmarks/serve_speed.py [--model FOLDER] [--tokens N] [--rounds N]
        [--dtype bf16|fp32] [--threads N]

Both sides run under the same thread settings. ``steps`` is the fast pass alone with greedy choice.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from tunery.decode.fast.model import FastModel, Part
from tunery.models.ensure import ensure
from tunery.models.load import DTYPES, load_model, quiet

PROMPT = [(7 * i * i + 3) % 40000 for i in range(40)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=None)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    quiet()
    model: Any = load_model(
        options.model or ensure("demo").path, dtype=DTYPES[options.dtype], device="cpu"
    )
    fast = FastModel(model)
    print(f"{options.dtype}, {options.tokens} tokens, {options.threads} threads, by turns")
    print("| streams | transformers generate | fast pass | best ratio (median) | equal tokens |")
    print("|---|---|---|---|---|")
    for rows in (1, 16):
        theirs: list[float] = []
        ours: list[float] = []
        equal = True
        for number in range(options.rounds + 1):
            first, rate = plain(model, rows, options.tokens)
            second, other = served(fast, rows, options.tokens)
            equal = equal and first == second
            if number:  # the first round warms up
                theirs.append(rate)
                ours.append(other)
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(
            f"| {rows} | {max(theirs):.1f} | {max(ours):.1f} "
            f"| {max(ours) / max(theirs):.2f} ({ratio:.2f}) | {equal} |",
            flush=True,
        )


def plain(model: Any, rows: int, tokens: int) -> tuple[list[int], float]:
    batch = torch.tensor([PROMPT] * rows)
    began = time.perf_counter()
    output = model.generate(
        batch, attention_mask=torch.ones_like(batch), do_sample=False, max_new_tokens=tokens,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    rate = rows * tokens / (time.perf_counter() - began)
    return output[0, len(PROMPT) :].tolist(), rate


def served(fast: FastModel, rows: int, tokens: int) -> tuple[list[int], float]:
    began = time.perf_counter()
    caches = [fast.new_row() for _ in range(rows)]
    said: list[int] = []
    left = [PROMPT] * rows
    for _ in range(tokens):
        parts = [Part(row, ids) for row, ids in zip(caches, left, strict=True)]
        left = [[token] for token in fast.forward(parts).argmax(-1).tolist()]
        said += left[0]
    return said, rows * tokens / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
