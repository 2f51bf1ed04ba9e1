"""A teacher's most probable tokens, stored before training: numbers, store, resume, refusals."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.chat_model import make_chat_model
from tests.train import tiny
from tests.train.test_distill import words
from tests.train.test_plan_time import FOUND
from tests.train.test_resume import run_in_two

from tunery import storage
from tunery.config.config import Config
from tunery.config.load import from_tokens
from tunery.config.methods.distill import DistillConfig
from tunery.data.collate import collate_groups
from tunery.data.rows import Rows
from tunery.errors import ConfigError, RunFailed
from tunery.methods.distill import between, divergence
from tunery.methods.teacher import IDS, LOGPROBS, Stored, at_tokens, most_probable
from tunery.models.memory import estimate
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare
from tunery.runs.signals import Stopped
from tunery.services import runs
from tunery.shape import ModelShape


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the vocabulary of the tiny one, padded, and other weights."""
    return tiny.other(tmp_path_factory.mktemp("teacher") / "model", padding=16)


def settings(teacher: Path, **more: Any) -> Config:
    return tiny.config(method={"type": "distill", "teacher": str(teacher), **more})


def prepared(path: Path, config: Config, count: int = 5) -> tuple[Any, Policy, Any]:
    """A method with its rows prepared, the policy, and the rows as one batch."""
    place = tiny.context(path, config)
    made: Any = config.method.make()
    model = tiny.model()
    prepare(model)
    policy = Policy(model)
    with place.events:
        rows = made.prepare(policy, Rows.of(tiny.rows(count)), place, name="train")
        made.prepared()
    return made, policy, collate_groups([rows.group(i) for i in range(len(rows))])


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd"])
def test_with_the_whole_vocabulary_it_equals_the_live_teacher(
    tmp_path: Path, teacher: Path, home: Path, name: str
) -> None:
    said = {"divergence": name, "temperature": 1.7, "sft_weight": 0.3}
    told = {}
    for place, top_k in (("live", None), ("stored", tiny.VOCAB)):
        config = settings(teacher, **said, teacher_top_k=top_k)
        made, policy, batch = prepared(tmp_path / place, config)
        assert len(made.others) == (1 if top_k is None else 0)
        found = made.loss(policy, batch, {})
        found.total["tokens"].backward()
        told[place] = found, [param.grad for param in policy.model.parameters()]
    (live, gradients), (kept, others) = told["live"], told["stored"]
    for key in live.sums:
        assert [float(v) for v in kept.sums[key]] == pytest.approx(
            [float(v) for v in live.sums[key]], abs=1e-5, rel=1e-5
        )
    assert kept.each == pytest.approx(live.each, abs=1e-5)
    for own, expected in zip(others, gradients, strict=True):
        assert torch.allclose(own, expected, atol=1e-5, rtol=1e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd"])
def test_the_rest_of_the_vocabulary_is_one_outcome(name: Any) -> None:
    torch.manual_seed(3)
    own, other = torch.randn(6, 40), torch.randn(6, 40) * 3
    config = DistillConfig(teacher="t", divergence=name, temperature=1.3, beta=0.3)
    ids, logprobs = most_probable(other, 5, 1.3)
    found = between(at_tokens(own, ids, 1.3), logprobs, config)
    for row in range(6):
        p, q = (torch.softmax(each[row].double() / 1.3, -1) for each in (other, own))
        top = p.argsort(descending=True)[:5]
        p, q = (torch.cat([each[top], 1 - each[top].sum()[None]]) for each in (p, q))
        assert torch.equal(ids[row], top)
        m = 0.3 * p + 0.7 * q
        expected = {
            "forward_kl": (p * (p / q).log()).sum(),
            "reverse_kl": (q * (q / p).log()).sum(),
            "jsd": 0.3 * (p * (p / m).log()).sum() + 0.7 * (q * (q / m).log()).sum(),
        }[name]
        assert float(found[row]) == pytest.approx(float(expected), abs=1e-5)
    whole = divergence(own, other, config)
    assert (found <= whole + 1e-6).all()  # what is merged cannot be told apart
    one, two = (between(at_tokens(own, *ids_of(other, k)), most_probable(other, k, 1.3)[1], config)
                for k in (5, 20))  # fmt: skip
    assert (one <= two + 1e-6).all()


def ids_of(logits: torch.Tensor, count: int) -> tuple[torch.Tensor, float]:
    return most_probable(logits, count, 1.3)[0], 1.3


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd"])
@pytest.mark.parametrize("size", [0.0, 50.0, 5000.0])
def test_a_divergence_of_certain_models_is_finite(name: Any, size: float) -> None:
    config = DistillConfig(teacher="t", divergence=name)
    ends = torch.tensor([[size, -size, 0.0, 1.0], [-size, size, 1.0, 0.0], [5.0] * 4])
    own = ends.clone().requires_grad_()
    for count in (1, 3, 4):
        ids, logprobs = most_probable(ends.flip(0), count, 1.0)
        own_CJ = at_tokens(own, ids, 1.0)
        found = between(own_CJ, logprobs[:, : own_CJ.shape[-1]], config)
        own.grad = None
        found.sum().backward()
        assert torch.isfinite(found).all()
        assert torch.isfinite(own.grad).all()  # type: ignore[arg-type]


def test_the_store_holds_what_the_teacher_says_and_is_mapped(
    tmp_path: Path, teacher: Path, home: Path
) -> None:
    _, _, batch = prepared(tmp_path, settings(teacher, teacher_top_k=7, temperature=2.0))
    store = Stored(tmp_path / "teacher-train")
    assert isinstance(store.ids, np.memmap)
    assert store.ids.dtype == np.int32
    assert store.ids.shape == (batch.num_trained, 7)
    assert store.logprobs.shape == (batch.num_trained, 8)
    assert store.vocab_size == tiny.VOCAB  # what the padded teacher has beyond it is left out
    assert np.exp(store.logprobs).sum(-1) == pytest.approx(1.0, abs=1e-5)
    assert torch.equal(batch.streams[IDS], torch.from_numpy(np.array(store.ids)))
    assert torch.equal(batch.streams[LOGPROBS], torch.from_numpy(np.array(store.logprobs)))
    from tunery.policy.other import load_other

    model = load_other(str(teacher), dtype="fp32", device="cpu").model
    start = 0
    for row in tiny.rows(5):
        ids = torch.from_numpy(row.input_ids.astype("int64"))
        trained = torch.from_numpy(row.loss_mask[1:])
        logits = model(ids[None]).logits[0, :-1, : tiny.VOCAB][trained] / 2.0
        expected = logits.log_softmax(-1).topk(7).values.detach()
        part = slice(start, start + len(expected))
        assert torch.allclose(torch.from_numpy(np.array(store.logprobs[part, :7])), expected,
                              atol=1e-5)  # fmt: skip
        start = part.stop


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_run_resumes_to_the_bit_and_reads_the_teacher_once(
    tmp_path: Path, teacher: Path, home: Path, adapter: str
) -> None:
    config = tiny.config(
        method={"type": "distill", "teacher": str(teacher), "teacher_top_k": 8,
                "divergence": "jsd", "sft_weight": 0.1},
        adapter={"type": adapter, **({"rank": 4, "dropout": 0.1} if adapter == "lora" else {})},
        train={"batch_size": 4, "max_steps": 5, "num_epochs": 9, "micro_batch_tokens": 80,
               "num_threads": 1},
        evaluate={"every": 2},
    )  # fmt: skip
    parts: dict[str, Any] = {"data": tiny.rows(), "held_out": tiny.rows(6, seed=9)}
    assert tiny.run(tmp_path / "whole", config, **parts) == "finished"
    run_in_two(tmp_path / "cut", config, 2, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert tiny.history(tmp_path / "cut") == tiny.history(tmp_path / "whole")
    begun = [e["phase"] for e in tiny.events(tmp_path / "cut", "phase") if e["state"] == "begin"]
    assert begun.count("others") == 1
    assert begun.count("teacher") == 2  # training and held-out rows


def test_how_a_batch_is_divided_does_not_matter(tmp_path: Path, teacher: Path, home: Path) -> None:
    told = []
    for name, micro, packing in (("at once", 4096, True), ("alone", 4096, False)):
        config = tiny.config(
            method={"type": "distill", "teacher": str(teacher), "teacher_top_k": 8},
            adapter={"type": "lora", "rank": 4},
            data={"train": ["rows"], "packing": packing},
            train={"batch_size": 8, "max_steps": 3, "micro_batch_tokens": micro, "num_threads": 1},
        )
        tiny.run(tmp_path / name, config)
        steps = tiny.events(tmp_path / name, "step")
        told.append([(e["loss"], e["grad_norm"], *e["measures"].values()) for e in steps])
    for found, expected in zip(*told, strict=True):
        assert found == pytest.approx(expected, rel=2e-4, abs=1e-5)


def test_its_progress_is_logged_and_a_stop_leaves_nothing_behind(
    tmp_path: Path, teacher: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tunery.runs.context.PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("tunery.methods.others.PACKED_TOKENS", 60)
    config = settings(teacher, teacher_top_k=4)
    prepared(tmp_path / "told", config, count=6)
    told = [e for e in tiny.events(tmp_path / "told", "phase") if e["state"] == "progress"]
    assert {e["phase"] for e in told} == {"teacher"}
    assert [e["total"] for e in told] == [6] * len(told)
    assert told[-1]["done"] == 6
    assert len(told) >= 3

    place = tiny.context(tmp_path / "stopped", config)
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 4:
            raise Stopped

    monkeypatch.setattr(place.stop, "check", check)
    model = tiny.model()
    prepare(model)
    with place.events, pytest.raises(Stopped):
        config.method.make().prepare(Policy(model), Rows.of(tiny.rows(6)), place, name="train")
    assert not list(place.folder.path.glob("*teacher*"))


def test_what_is_left_of_a_killed_process_is_removed_and_other_rows_are_computed_again(
    tmp_path: Path, teacher: Path, home: Path
) -> None:
    left = tmp_path / ".teacher-train.123"
    left.mkdir()
    (left / "ids.bin").write_bytes(b"half")
    config = settings(teacher, teacher_top_k=4)
    prepared(tmp_path, config)
    assert not left.exists()
    first = (tmp_path / "teacher-train" / "meta.json").stat().st_mtime_ns
    prepared(tmp_path, config)
    assert (tmp_path / "teacher-train" / "meta.json").stat().st_mtime_ns == first
    for other, count in ((settings(teacher, teacher_top_k=5), 5), (config, 4),
                         (settings(teacher, teacher_top_k=4, temperature=2.0), 4)):  # fmt: skip
        _, _, batch = prepared(tmp_path, other, count)
        meta = json.loads((tmp_path / "teacher-train" / "meta.json").read_text())
        top_k, temperature = other.method.teacher_top_k, other.method.temperature  # type: ignore
        assert (meta["top_k"], meta["temperature"]) == (top_k, temperature)
        assert meta["tokens"] == batch.num_trained


def test_a_full_disk_is_known_before_the_teacher_reads_anything(
    tmp_path: Path, teacher: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(file: Path, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    monkeypatch.setattr(storage, "allocate", allocate)
    with pytest.raises(RunFailed, match="predictions of the teacher need") as caught:
        prepared(tmp_path, settings(teacher, teacher_top_k=4))
    assert "method.teacher_top_k" in caught.value.fix
    assert not list(tmp_path.glob("*teacher*"))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_chat_model(tmp_path / "base")


def test_more_tokens_than_the_vocabulary_has_are_refused(
    home: Path, base: Path, tmp_path: Path
) -> None:
    make_chat_model(tmp_path / "teacher")
    size = json.loads((base / "config.json").read_text())["vocab_size"]

    def given(top_k: int) -> list[str]:
        return words(base, tmp_path / "teacher", tmp_path, "--method.teacher_top_k", str(top_k))

    with pytest.raises(ConfigError, match=f"more than the vocabulary, which has {size:,} tokens"):
        runs.prepare(from_tokens(given(size + 1)))
    assert runs.prepare(from_tokens(given(size)))
    with pytest.raises(ConfigError, match=r"method\.teacher_top_k"):
        from_tokens(given(0))


def test_a_plan_counts_the_disk_and_the_memory_of_a_stored_teacher(
    home: Path, base: Path, tmp_path: Path
) -> None:
    make_chat_model(tmp_path / "teacher")
    given = words(base, tmp_path / "teacher", tmp_path, "--method.teacher_top_k", "16")
    counted = {**FOUND, "held_out_trained_tokens": 500}
    found = runs.plan(from_tokens(given), trial=lambda folder, measure: counted)
    assert found.disk["stored"] == 2500 * (16 * 8 + 4)
    alone = runs.plan(from_tokens(words(base, tmp_path / "teacher", tmp_path)),
                      trial=lambda folder, measure: counted)  # fmt: skip
    assert alone.disk["stored"] == 0
    assert alone.disk["total"] + found.disk["stored"] == found.disk["total"]
    assert found.memory["others"] < alone.memory["others"]

    shape = ModelShape.from_config_json(tiny.model().config.to_dict(), total_parameters=50_000)

    def total(parameters: int, top_k: int | None) -> int:
        config = settings(Path("t"), teacher_top_k=top_k)
        return estimate(shape, config, dtype="bf16", micro_batch_tokens=64, others=parameters).total

    later = estimate(shape, settings(Path("t")), dtype="bf16", micro_batch_tokens=64)
    room = later.gradients + later.optimizer + later.activations
    assert total(room // 2, 8) == total(0, 8)
    assert total(room // 2 + 1_000_000, 8) == pytest.approx(total(0, 8) + 2_000_000, abs=2)


def test_stored_bytes_are_those_on_the_disk(tmp_path: Path, teacher: Path, home: Path) -> None:
    config = settings(teacher, teacher_top_k=7)
    _, _, batch = prepared(tmp_path, config)
    kept = sum(file.stat().st_size for file in (tmp_path / "teacher-train").glob("*.bin"))
    assert kept == config.method.stored_bytes(batch.num_trained, config)
    assert math.isclose(kept / batch.num_trained, 7 * 8 + 4)
