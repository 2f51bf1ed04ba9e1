"""A model is computed in a way and a dtype that it can be computed in, and the run says which."""

from __future__ import annotations

import pytest
import torch
from tests.families import family
from tests.token_rows import of
from tests.train import tiny
from tests.train.architectures import (
    gradients,
    plain_loss,
    random_rows,
    relative_error,
)
from tests.train.miniatures import miniature

from tunery.chat.builtin import find
from tunery.data.collate import collate
from tunery.decode.served import ServedModel
from tunery.errors import ModelError
from tunery.models.computes import expected_dtype, load_computing
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import check_runs, shortcuts
from tunery.runs.folder import RunFolder
from tunery.train import assemble, worker
from tunery.workers.log import read_events


@pytest.mark.parametrize("kind", ["doge", "git", "modernbert-decoder"])
def test_where_the_fast_way_fails_the_exact_one_is_taken(kind):
    model = miniature(kind)
    rows = random_rows()
    expected = plain_loss(model, rows)
    expected.backward()
    expected_gradients = gradients(model)

    loss = Policy(model).nll(collate(of(rows)))
    loss.backward()

    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert relative_error(gradients(model), expected_gradients) <= 1e-4
    ways = shortcuts(model)
    assert ways.why
    if kind in ("doge", "git"):
        assert not ways.packed
        assert "(RuntimeError: The size of tensor a" in ways.why[0]


def test_a_model_that_cannot_be_computed_in_bf16_says_so_and_what_helps():
    model = miniature("xlnet", dtype=torch.bfloat16)
    with pytest.raises(
        ModelError, match=r"fails in bfloat16: RuntimeError: expected scalar type"
    ) as raised:
        check_runs(model)
    assert raised.value.fix == "Set model.dtype to fp32."
    check_runs(model.float())


@pytest.fixture
def half_machine(monkeypatch, tmp_path):
    """A processor that multiplies bf16, and a model that cannot.

    XLNet is the only type whose own code fails in it; that it is not causal is of no concern here.
    """
    monkeypatch.setattr(assemble, "is_causal", lambda *_: True)
    monkeypatch.setenv("TUNERY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    words = family("chatml")
    words.chat_template = find("chatml").text
    base = tmp_path / "base"
    miniature("xlnet", vocab_size=len(words)).save_pretrained(base)
    words.save_pretrained(base)
    return base, tiny.chats(tmp_path / "chats.jsonl", 8)


def run(name, base, chats, dtype):
    folder = tiny.prepared(
        name, base, chats,
        model={"name": str(base), "dtype": dtype, "device": "cpu"},
        evaluate={"every": "never"},
        train={"batch_size": 4, "num_epochs": 1},
        checkpoint={"every": 1, "keep": 2, "every_minutes": None},
    )  # fmt: skip
    return worker.main([str(folder.path)]), read_events(RunFolder(folder.path).events_file)[0]


def test_auto_takes_fp32_where_bf16_fails_and_the_run_says_so(half_machine):
    status, events = run("auto", *half_machine, "auto")
    assert status == 0, events[-1]
    (warning,) = [e for e in events if e["type"] == "warning" and e["code"] == "dtype"]
    assert warning["text"].startswith("This model cannot be computed in bfloat16")
    (plan,) = [e for e in events if e["type"] == "plan"]
    assert plan["dtype"] == "float32"


def test_bf16_that_was_asked_for_fails_with_a_sentence(half_machine):
    status, events = run("half", *half_machine, "bf16")
    assert status != 0
    assert "fails in bfloat16" in events[-1]["reason"]
    assert events[-1]["fix"] == "Set model.dtype to fp32."


def test_plan_chat_and_export_take_the_dtype_of_the_run(half_machine):
    base, _ = half_machine
    assert expected_dtype(base, dtype="auto", device="cpu") == torch.float32
    assert expected_dtype(base, dtype="bf16", device="cpu") == torch.bfloat16
    model, dtype, why = load_computing(base, dtype="auto", device="cpu")
    assert why
    assert (dtype, next(model.parameters()).dtype) == (torch.float32, torch.float32)
    served = ServedModel(base, dtype="auto", device="cpu")
    assert served.dtype_name == "fp32"
    assert next(served.switch.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("kind", ["llama", "gemma4_text", "qwen3_moe", "mamba2", "deepseek_v3"])
def test_bf16_stays_where_it_can_be_computed(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    miniature(kind).save_pretrained(tmp_path)
    assert expected_dtype(tmp_path, dtype="auto", device="cpu") == torch.bfloat16
    assert load_computing(tmp_path, dtype="auto", device="cpu")[1] == torch.bfloat16
