"""Compare training speed in one run: Tunery, a plain loop, and the matrix products alone.

    python benchmarks/train_speed.py [--dtype bf16] [--rounds 5] [--threads 2]

The three alternate step by step, so that a busy machine slows all of them equally; the table's
ratios are medians over the rounds. The plain loop is what a careful script does: batch 16 padded to
its longest row, transformers' SDPA, PEFT, full logits, AdamW. Only the rows' own tokens count:
padding is not counted for either side, and tokens that Tunery computes once for several rows count
for each row. The floor consists of the products with frozen weights that a step requires (forward,
and backward to the inputs): counted, and timed on matrices of the same shapes. Tokens that Tunery
does not compute (repeats of shared prefixes, trimmed tails) are not part of it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig

from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.config.optimizers.adamw import AdamWConfig
from tunery.data import examples
from tunery.data.collate import Batch, collate
from tunery.data.groups import TokenRow
from tunery.data.tokenize import tokenize
from tunery.models.load import load_model, load_tokenizer
from tunery.models.resolve import resolve
from tunery.optimizers.adamw import FlatAdamW
from tunery.optimizers.base import ParamGroup
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def identity_rows(folder: Path) -> list[TokenRow]:
    data = DataConfig(train=["identity"], variables={"name": "Tuna", "author": "Tunery Labs"})
    tokenizer = load_tokenizer(folder)
    template = ChatTemplate.load(tokenizer)
    rows: list[TokenRow] = []
    for example in examples.read(data.train, data):
        for row in tokenize(example, template, tokenizer, data).rows:
            rows.append(TokenRow(np.array(row.input_ids), np.array(row.loss_mask)))
    return rows


def new_model(folder: Path | None, dtype: torch.dtype, rank: int) -> nn.Module:
    torch.manual_seed(0)
    if folder is None:  # the demo model's shape
        shape = LlamaConfig(
            vocab_size=49152,
            hidden_size=576,
            intermediate_size=1536,
            num_hidden_layers=30,
            num_attention_heads=9,
            num_key_value_heads=3,
            tie_word_embeddings=True,
        )
        base: Any = AutoModelForCausalLM.from_config(shape, dtype=dtype)
    else:
        base = load_model(folder, dtype=dtype, device="cpu")
    for parameter in base.parameters():
        parameter.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    return get_peft_model(base, config).train()


class PlainLoop:
    """A plain training loop: padding, full logits, PEFT, transformers' SDPA, AdamW."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.optimizer = torch.optim.AdamW(trained(model), lr=1e-4)

    def step(self, rows: list[TokenRow]) -> float:
        longest = max(len(row) for row in rows)
        input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
        labels = torch.full_like(input_ids, -100)
        mask = torch.zeros_like(input_ids)
        for i, row in enumerate(rows):
            ids, trained_here = row.input_ids, row.loss_mask
            input_ids[i, : len(ids)] = torch.from_numpy(ids)
            labels[i, : len(ids)] = torch.from_numpy(np.where(trained_here, ids, -100))
            mask[i, : len(ids)] = 1
        loss = self.model(input_ids=input_ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        nn.utils.clip_grad_norm_(trained(self.model), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


class Tunery:
    """Tunery's own components, combined as in its training loop."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.optimizer = FlatAdamW(AdamWConfig(), [ParamGroup(named)])
        prepare(model)
        self.policy = Policy(model)

    def step(self, rows: list[TokenRow]) -> float:
        batch = collate(rows)
        loss, num_trained = self.policy.nll(batch), batch.num_trained
        (loss / num_trained).backward()
        self.optimizer.step(1e-4, float(self.optimizer.grad_norm()))
        self.optimizer.zero()
        return loss.item() / num_trained


class Floor:
    """Only the products with frozen weights that one step of ``Tunery`` computes."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.shapes: dict[tuple[int, int], int] = {}
        base: Any = model.get_base_model()  # pyright: ignore
        self.head = tuple(base.get_output_embeddings().weight.shape)
        for module in base.modules():
            if hasattr(module, "base_layer"):
                shape = tuple(module.base_layer.weight.shape)
                self.shapes[shape] = self.shapes.get(shape, 0) + 1
        self.weights = {shape: torch.randn(shape).to(dtype) for shape in [*self.shapes, self.head]}

    def flops(self, batch: Batch) -> float:
        layers = sum(count * out * inner for (out, inner), count in self.shapes.items())
        return 4.0 * (batch.input_ids.numel() * layers + batch.num_trained * np.prod(self.head))

    def step(self, rows: list[TokenRow]) -> float:
        batch = collate(rows)
        sizes = dict.fromkeys(self.shapes, batch.input_ids.numel())
        for shape, size in [*sizes.items(), (self.head, batch.num_trained)]:
            weight = self.weights[shape]
            x = torch.ones(size, shape[1], dtype=self.dtype)
            grad = torch.ones(size, shape[0], dtype=self.dtype)
            for _ in range(self.shapes.get(shape, 1)):
                torch.mm(x, weight.t())
                torch.mm(grad, weight)
        return 0.0


def trained(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def timed(step: Callable[[list[TokenRow]], float], rows: list[TokenRow]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    step(rows)
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(name: str, folder: Path | None, all_rows: list[TokenRow], options: Any) -> None:
    dtype = DTYPES[name]
    torch.set_num_threads(options.threads)
    plain = PlainLoop(new_model(folder, dtype, options.rank))
    ours = Tunery(new_model(folder, dtype, options.rank))
    floor = Floor(ours.model, dtype)
    sides = {"plain loop": plain.step, "tunery": ours.step, "matrix products": floor.step}
    order = np.random.default_rng(0).permutation(len(all_rows))
    times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    tokens: list[int] = []
    computed: list[int] = []
    gigaflops: list[float] = []
    for number in range(options.rounds + 1):  # the first round warms up
        start = number * options.rows % max(1, len(order) - options.rows + 1)
        rows = [all_rows[i] for i in order[start : start + options.rows]]
        for side, step in sides.items():
            taken = timed(step, rows)
            if number:
                times[side].append(taken)
        if number:
            batch = collate(rows)
            tokens.append(batch.num_tokens)
            computed.append(batch.input_ids.numel())
            gigaflops.append(floor.flops(batch) / 1e9)
    print(
        f"\n{name}, LoRA r={options.rank} on all linear layers, {options.rows} rows a step, "
        f"{options.threads} threads, {options.rounds} rounds; a step has "
        f"{statistics.mean(tokens):.0f} tokens, {statistics.mean(computed):.0f} computed"
    )
    print("| | tokens/s | times the plain loop | time / matrix products | CPU time / products |")
    print("|---|---|---|---|---|")
    for side, taken in times.items():
        rates = [count / wall for count, (wall, _) in zip(tokens, taken, strict=True)]
        against = [b[0] / a[0] for a, b in zip(taken, times["plain loop"], strict=True)]
        walls = [a[0] / b[0] for a, b in zip(taken, times["matrix products"], strict=True)]
        cpus = [a[1] / b[1] for a, b in zip(taken, times["matrix products"], strict=True)]
        middle = statistics.median
        print(
            f"| {side} | {middle(rates):.0f} | {middle(against):.2f} | {middle(walls):.2f} | "
            f"{middle(cpus):.2f} |"
        )
    speed = statistics.median(
        flops / wall for flops, (wall, _) in zip(gigaflops, times["matrix products"], strict=True)
    )
    print(f"products: {statistics.mean(gigaflops):.0f} GFLOP a step at {speed:.0f} GFLOP/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=[*DTYPES], action="append")
    parser.add_argument("--model", default="demo", help="any model name, or random")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    folder: Path | None = None
    if options.model != "random":
        folder = resolve(options.model).model_folder
        rows = identity_rows(folder)
    else:
        rng = np.random.default_rng(0)
        rows = [
            TokenRow(rng.integers(0, 49152, n, dtype=np.int32), np.arange(n) > 0.7 * n)
            for n in rng.integers(40, 96, 90)
        ]
    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("TUNERY_HOME", home)
        for name in options.dtype or [*DTYPES]:
            compare(name, folder, rows, options)


if __name__ == "__main__":
    main()
