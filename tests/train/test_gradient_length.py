"""The length of a gradient: equal to fp64's however large it is, and the same on any threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import tiny
from tests.train.test_resume import StopAt
from torch import Tensor, nn

from tunery import faults
from tunery.config.optimizers import OPTIMIZERS
from tunery.optimizers import adamw
from tunery.optimizers.base import ParamGroup
from tunery.optimizers.length import ALONE, CHUNK, length, length_in_one_sum

NUM = 20_000_000


@pytest.fixture(scope="module")
def large() -> Tensor:
    return torch.randn(NUM, generator=torch.Generator().manual_seed(0)) * 1e-3


def in_fp64(tensors: list[Tensor]) -> float:
    return sum(t.double().square().sum().item() for t in tensors) ** 0.5


def test_the_length_of_many_numbers_is_that_of_fp64(large: Tensor) -> None:
    expected = in_fp64([large])
    assert abs(torch.linalg.vector_norm(large).item() / expected - 1) > 1e-4  # what it replaces
    assert abs(length([large]).item() / expected - 1) < 2e-7


@pytest.mark.parametrize(
    "sizes", [[1], [CHUNK], [ALONE, ALONE + 1], [3, 5 * CHUNK + 7, 64], [2 * CHUNK**2 + 5]]
)
def test_every_number_counts_once_whatever_the_sizes(sizes: list[int]) -> None:
    torch.manual_seed(1)
    tensors = [torch.randn(size) for size in sizes]
    assert length(tensors).item() == pytest.approx(in_fp64(tensors), rel=2e-7)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, CHUNK, -1])
def test_one_number_that_is_not_finite_shows(broken: float, place: int) -> None:
    values = torch.ones(3 * CHUNK + 3)
    values[place] = broken
    assert not torch.isfinite(length([values]))


def test_the_bits_do_not_depend_on_the_number_of_threads(large: Tensor) -> None:
    before = torch.get_num_threads()
    found: set[float] = set()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.add(length([large, large[:12345]]).item())
    finally:
        torch.set_num_threads(before)
    assert len(found) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    "kind", OPTIMIZERS, ids=[k.model_fields["type"].default for k in OPTIMIZERS]
)
def test_every_optimizer_measures_its_gradient_to_fp32_rounding(
    kind: Any, dtype: torch.dtype
) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Embedding(4000, 512), nn.Linear(512, 64)).to(dtype)
    optimizer = kind().make([ParamGroup(list(model.named_parameters()))])
    optimizer.zero()
    for gradient in optimizer.gradients:
        gradient.normal_(std=1e-2)
    expected = in_fp64(optimizer.gradients)
    assert optimizer.grad_norm().item() == pytest.approx(expected, rel=2e-7)


def test_a_run_of_before_goes_on_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tiny.config(adapter={"type": "full"}, optim={"max_grad_norm": 0.1})
    with monkeypatch.context() as before:
        before.setattr(adamw, "length", length_in_one_sum)
        assert tiny.run(tmp_path / "whole", made) == "finished"
        stop = StopAt(3, looks=0)
        before.setattr(faults, "hook", stop.saw)
        assert tiny.run(tmp_path / "cut", made, stop=stop) == "stopped"
    assert tiny.run(tmp_path / "cut", made) == "finished"
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert tiny.run(tmp_path / "now", made) == "finished"
    assert tiny.digest(tmp_path / "now") != tiny.digest(tmp_path / "whole")
