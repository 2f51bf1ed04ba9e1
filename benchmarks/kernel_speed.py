"""Compare each kernel with the plain code it replaces, forward and backward, in CPU time.

    python benchmarks/kernel_speed.py [--dtype bf16] [--threads 1]

Shapes are those of the demo model with 960 packed tokens. The CPU time of one thread is hardly
affected by other programs on the machine; the two sides of a row alternate, and the time at the end
of the fastest third is reported. (Not named kernels.py: transformers would mistake a script of that
name for its optional package.)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from tunery.kernels import lora, norm
from tunery.kernels.loss import linear_cross_entropy
from tunery.kernels.scores import Score, attend
from tunery.kernels.segments import Segments

N, D, V, HEADS, KEY_HEADS, WIDTH = 960, 576, 49152, 9, 3, 64
Run = Callable[[], object]


def race(name: str, plain: Run, ours: Run, rounds: int = 9) -> None:
    times: dict[Run, list[float]] = {plain: [], ours: []}
    for number in range(rounds + 1):
        for run, taken in times.items():
            begin = time.process_time()
            run()
            if number:
                taken.append(time.process_time() - begin)
    a, b = (sorted(taken)[rounds // 3] * 1e3 for taken in times.values())
    print(f"| {name} | {a:.2f} | {b:.2f} | {a / b:.1f} |")


def with_gradient(run: Callable[[], Tensor], grad: Tensor, leaves: list[Tensor]) -> Run:
    return lambda: torch.autograd.grad(run(), leaves, grad)


def races(dtype: torch.dtype) -> Iterator[tuple[str, Run, Run]]:
    torch.manual_seed(0)
    for num_rows in (16, 4, 1):
        yield attention(num_rows, N // num_rows, dtype)
    x = torch.randn(N, D, dtype=dtype, requires_grad=True)
    grad = torch.randn(N, D, dtype=dtype)
    plain_norm = nn.ModuleList([LlamaRMSNorm(D).to(dtype)]).requires_grad_(False)
    fast_norm = nn.ModuleList([LlamaRMSNorm(D).to(dtype)]).requires_grad_(False)
    norm.install(fast_norm)
    sides = [with_gradient(lambda m=m: m[0](x), grad, [x]) for m in (plain_norm, fast_norm)]
    yield "RMSNorm", *sides
    grad = torch.randn(N, 1536, dtype=dtype)
    models = [get_peft_model(wide(dtype), LoraConfig(r=8, target_modules=["up"])) for _ in "ab"]
    lora.install(models[1])
    sides = [with_gradient(lambda m=m: m.up(x), grad, [x, *trained(m)]) for m in models]
    yield "LoRA linear 576 to 1536, r=8", *sides
    weight = torch.randn(V, D).to(dtype) * 0.02
    index = torch.arange(0, N, 3)
    target = torch.randint(0, V, (len(index),))
    one = torch.ones(())
    yield (
        "vocabulary projection and loss, a third of the tokens trained",
        with_gradient(lambda: full_logits(x, weight, index, target), one, [x]),
        with_gradient(lambda: linear_cross_entropy(x, weight, target, index), one, [x]),
    )


def attention(num_rows: int, length: int, dtype: torch.dtype) -> tuple[str, Run, Run]:
    shapes = ((HEADS, WIDTH), (KEY_HEADS, WIDTH), (KEY_HEADS, WIDTH))
    leaves = [torch.randn(N, *shape, dtype=dtype, requires_grad=True) for shape in shapes]
    grad = torch.randn(N, HEADS, WIDTH, dtype=dtype)
    segments = Segments([length] * num_rows)

    def sdpa() -> Tensor:
        query, key, value = (
            leaf.unflatten(0, (num_rows, length)).transpose(1, 2) for leaf in leaves
        )
        key, value = (t.repeat_interleave(HEADS // KEY_HEADS, 1) for t in (key, value))
        out = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return out.transpose(1, 2).flatten(0, 1)

    score = Score(scale=WIDTH**-0.5)
    return (
        f"attention, {num_rows} rows of {length}",
        with_gradient(sdpa, grad, leaves),
        with_gradient(lambda: attend(*leaves, segments, score), grad, leaves),
    )


def full_logits(x: Tensor, weight: Tensor, index: Tensor, target: Tensor) -> Tensor:
    logits = x @ weight.t()
    return nn.functional.cross_entropy(logits[index].float(), target, reduction="sum")


def wide(dtype: torch.dtype) -> nn.Module:
    model = nn.Module()
    model.up = nn.Linear(D, 1536, bias=False, dtype=dtype)
    return model


def trained(model: nn.Module) -> list[Tensor]:
    return [p for p in model.parameters() if p.requires_grad]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.dtype}, {options.threads} threads, forward and backward")
    print("| | plain ms | ours ms | ratio |\n|---|---|---|---|")
    for name, plain, ours in races({"bf16": torch.bfloat16, "fp32": torch.float32}[options.dtype]):
        race(name, plain, ours)


if __name__ == "__main__":
    main()
