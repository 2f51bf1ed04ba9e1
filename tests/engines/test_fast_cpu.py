"""Our own kernels against torch's operations, in bf16; row bits; other processors; no processor."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tests.engines.test_fast import KINDS, PROMPTS, answers, make, reference
from tests.waiting import PATIENCE_SECONDS
from transformers import PreTrainedModel

from tunery import env
from tunery.decode.cache import BLOCK
from tunery.decode.fast.lora import LoraLayers
from tunery.decode.fast.model import FastModel, Part, matches
from tunery.kernels.cpu.ready import ready
from tunery.models.ensure import ensure
from tunery.models.load import load_model

needs_kernels = pytest.mark.skipif(
    not ready(), reason="this machine computes by torch: no AVX-512, or no GNU OpenMP"
)
LONG = [(5 * i * i + 1) % 90 for i in range(2 * BLOCK + 1)]


def make_bf16(kind: str) -> PreTrainedModel:
    model = make(kind).bfloat16()
    for name, parameter in model.named_parameters():
        if name.endswith(("norm.weight", "bias")):  # random models have ones and zeros there
            parameter.data.uniform_(0.5, 1.5)
    return model


def logits_of(fast: FastModel, pieces: list[list[int]], adapter: str | None = None) -> torch.Tensor:
    """Logits after the last token, read in pieces."""
    row = fast.new_row()
    for ids in pieces:
        found = fast.forward([Part(row, ids, adapter)])
    return found[0]


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one.float() - other.float()).norm() <= 0.03 * other.float().norm())


@needs_kernels
@pytest.mark.parametrize("kind", KINDS)
def test_the_kernels_give_the_logits_of_torch_and_of_transformers(kind: str) -> None:
    model = make_bf16(kind)
    ours, theirs = FastModel(model), FastModel(model, kernels=False)
    assert ours.by_kernels
    assert not theirs.by_kernels
    assert matches(ours, model)
    for pieces in ([[5]], [[5, 6, 7]], [[5], [6], [7], [8]], [LONG, [3], [4]]):
        assert close(logits_of(ours, pieces), logits_of(theirs, pieces))
        with torch.inference_mode():
            ids = torch.tensor([[token for piece in pieces for token in piece]])
            assert close(logits_of(ours, pieces), model(ids).logits[0, -1])


@needs_kernels
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_a_row_has_the_same_bits_alone_in_company_and_on_any_number_of_threads(kind: str) -> None:
    fast = FastModel(make_bf16(kind))
    prompts = [*PROMPTS, LONG, [1], [2, 3], [4]]
    rows = [fast.new_row() for _ in prompts]
    fast.forward([Part(row, ids) for row, ids in zip(rows, prompts, strict=True)])
    together = fast.forward([Part(row, [7]) for row in rows])
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            for place, ids in enumerate(prompts):
                assert torch.equal(logits_of(fast, [ids, [7]]), together[place])
    finally:
        torch.set_num_threads(before)


@needs_kernels
@pytest.mark.parametrize("kernels", [True, False])
def test_how_a_prompt_is_cut_changes_no_bit(kernels: bool) -> None:
    fast = FastModel(make_bf16("qwen3"), kernels=kernels)
    if not fast.row_bits:
        pytest.skip("without oneDNN's blocked product a row's sum depends on the batch")
    whole = logits_of(fast, [LONG, [7]])
    assert torch.equal(logits_of(fast, [LONG[:BLOCK], LONG[BLOCK:], [7]]), whole)
    assert torch.equal(logits_of(fast, [LONG[: 2 * BLOCK], LONG[2 * BLOCK :], [7]]), whole)


@needs_kernels
def test_more_rows_than_there_was_room_for() -> None:
    fast = FastModel(make_bf16("llama"))
    alone = logits_of(fast, [[9]])
    many = fast.forward([Part(fast.new_row(), [9]) for _ in range(150)])
    assert all(torch.equal(row, alone) for row in many)


@needs_kernels
def test_adapters_of_one_step_as_torch_computes_them() -> None:
    model = make_bf16("llama")
    passes = [FastModel(model), FastModel(model, kernels=False)]
    worn = get_peft_model(
        model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    )
    worn.add_adapter(
        "other", LoraConfig(r=3, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    )
    names = (None, "default", "other", "default")
    found = []
    for fast in passes:
        for name in ("default", "other"):
            fast.adapters[name] = LoraLayers(model, name)
        steps = []
        rows = [fast.new_row() for _ in range(4)]
        for ids in (LONG[:70], [4], [5, 6]):
            parts = [Part(row, ids, name) for row, name in zip(rows, names, strict=True)]
            steps.append(fast.forward(parts))
        steps.append(logits_of(fast, [[4, 5], [6]], "default")[None])
        found.append(torch.cat(steps))
    assert close(*found)
    assert not close(found[0][0], found[0][1])
    together = [passes[0].new_row() for _ in names]
    passes[0].forward([Part(row, LONG, name) for row, name in zip(together, names, strict=True)])
    parts = [Part(row, [7], name) for row, name in zip(together, names, strict=True)]
    for place, logits in enumerate(passes[0].forward(parts)):
        assert torch.equal(logits, logits_of(passes[0], [LONG, [7]], names[place]))


@needs_kernels
def test_the_demo_model_says_what_transformers_generate_says() -> None:
    model = load_model(ensure("demo").path, dtype=torch.bfloat16, device="cpu")
    fast = FastModel(model)
    assert fast.by_kernels
    prompts = [[(7 * i * i + 3) % 40000 for i in range(40)], [1, 4093, 198, 1780, 418, 346]]
    expected = [reference(model, prompt, 24) for prompt in prompts]
    assert answers(fast, prompts, 24) == expected
    assert [answers(fast, [prompt], 24)[0] for prompt in prompts] == expected


OLDER_PROCESSOR = """
from tunery.kernels.cpu import instructions, processor
real = instructions.has
instructions.has = lambda *features: "avx512bf16" not in features and real(*features)
processor.name = lambda: "an older one"
from tests.engines.test_fast_cpu import LONG, FastModel, close, logits_of, make_bf16
model = make_bf16("qwen2")
ours, theirs = FastModel(model), FastModel(model, kernels=False)
assert ours.by_kernels
for pieces in ([[5]], [LONG, [3], [4]]):
    assert close(logits_of(ours, pieces), logits_of(theirs, pieces))
print("equal")
"""


@needs_kernels
def test_a_processor_with_avx512_but_without_its_bfloat16() -> None:
    # Another process: what is compiled depends on the processor.
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, '.')\n" + OLDER_PROCESSOR],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "equal", done.stderr


KEPT = """
import sys
from tunery.kernels.cpu import compiled
from tunery.kernels.cpu.ready import ready
assert ready()
print("compiled" if "numba" in sys.modules else "kept")
"""


@needs_kernels
def test_compiled_kernels_are_kept_and_a_damaged_file_is_made_anew() -> None:
    def run() -> str:
        done = subprocess.run(
            [sys.executable, "-c", KEPT], capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout.strip() or done.stderr

    assert [run(), run()] == ["compiled", "kept"]
    (file,) = (env.cache_dir() / "kernels").glob("*.o")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert [run(), run()] == ["compiled", "kept"]


FEWER_THREADS = """
import torch
from tests.engines.test_fast_cpu import LONG, FastModel, logits_of, make_bf16
torch.set_num_threads(1)  # torch's own products are wrong where it gets fewer than it thinks
fast = FastModel(make_bf16("qwen2"))
alone = logits_of(fast, [[5], [3], [4]])
torch.set_num_threads(3)
assert torch.equal(logits_of(fast, [[5], [3], [4]]), alone)
print("equal")
"""


@needs_kernels
def test_fewer_threads_than_were_asked_for_do_all_of_the_work() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.path.insert(0, '.')\n" + FEWER_THREADS],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False,
        env={**os.environ, "OMP_THREAD_LIMIT": "2"},
    )  # fmt: skip
    assert done.stdout.strip() == "equal", done.stderr


def test_torch_computes_where_there_are_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunery.decode.fast.model.ready", lambda: False)
    model = make_bf16("llama")
    fast = FastModel(model)
    assert not fast.by_kernels
    assert matches(fast, model)


def test_shapes_that_the_kernels_do_not_read_are_left_to_torch() -> None:
    assert not FastModel(make("llama")).by_kernels  # fp32
    model = make_bf16("llama")
    model.model.norm.float()
    assert not FastModel(model).by_kernels
    model = make_bf16("llama")
    model.model.layers[0].mlp.down_proj = torch.nn.Linear(96, 63, dtype=torch.bfloat16)
    assert not FastModel(model).by_kernels
