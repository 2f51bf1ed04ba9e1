"""Compare tokens per second of the serving engine and transformers' generate, in one process.

    GOMP_SPINCOUNT=3000 python benchmarks/serve_speed.py [--model FOLDER] [--tokens N] [--rounds N]
        [--dtype bf16|fp32] [--threads N]

The two sides alternate under the same thread settings. The engine's side is its fast forward pass
alone, with greedy decoding.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tunery.decode.cache import BLOCK, KvRow
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
    said = generated(fast, [PROMPT] * rows, tokens, places=rows)
    return said[0], rows * tokens / (time.perf_counter() - began)


def generated(
    fast: FastModel, prompts: Sequence[Sequence[int]], tokens: int, *, places: int
) -> list[list[int]]:
    """Generate greedily with the fast pass alone, at most ``places`` answers at a time.

    Prompts are read in chunks within the token budget of a pass, as the engine does.

    Returns:
        The token ids of each answer.
    """
    said: list[list[int]] = [[] for _ in prompts]
    left = [list(prompt) for prompt in prompts]
    rows: dict[int, KvRow] = {}
    waiting = list(range(len(prompts)))
    while waiting or rows:
        while waiting and len(rows) < places:
            rows[waiting.pop(0)] = fast.new_row()
        parts: dict[int, Part] = {}
        budget = fast.read_tokens
        for number, row in rows.items():
            size = len(left[number])
            if not said[number]:
                if budget <= 0:
                    continue
                size = min(size, max(budget // BLOCK, 1) * BLOCK)
                budget -= size
            ids, left[number] = left[number][:size], left[number][size:]
            parts[number] = Part(row, ids, wanted=int(not left[number]))
        chosen = fast.forward(list(parts.values())).argmax(-1).tolist()
        for number in [number for number, part in parts.items() if part.wanted]:
            left[number] = [chosen.pop(0)]
            said[number] += left[number]
            if len(said[number]) == tokens:
                del rows[number]
    return said


if __name__ == "__main__":
    main()
