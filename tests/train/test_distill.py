"""Distillation: TRL's numbers on the same logits, the division of a batch, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.chat_model import make_chat_model, swap_two_tokens
from tests.train import tiny
from tests.train.adapters_made import adapter

from tunery.config.config import Config
from tunery.config.frozen import with_types
from tunery.config.load import from_tokens, read_frozen
from tunery.config.methods.distill import DistillConfig
from tunery.data.collate import collate
from tunery.data.groups import WEIGHT, RowGroup
from tunery.data.rows import Rows
from tunery.errors import ConfigError, ModelError
from tunery.methods.distill import divergence
from tunery.models.memory import estimate
from tunery.policy.other import load_other
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare
from tunery.services import runs
from tunery.shape import ModelShape

TRL: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "trl" / "distill.json").read_text()
)
"""TRL's loss and gradient of the same logits; see tests/data/trl/make_distill.py."""


def settings(case: dict[str, Any]) -> DistillConfig:
    """Our settings for TRL's: its beta 0 is the forward KL, 1 the reverse."""
    named = {0.0: "forward_kl", 1.0: "reverse_kl"}.get(case["beta"], "jsd")
    beta = {"beta": case["beta"]} if named == "jsd" else {}
    return DistillConfig.model_validate(
        {"teacher": "t", "divergence": named, "temperature": case["temperature"], **beta}
    )


@pytest.mark.parametrize("case", TRL, ids=lambda case: f"{case['beta']}-{case['temperature']}")
def test_the_divergence_and_its_gradient_are_those_of_trl(case: dict[str, Any]) -> None:
    own = torch.tensor(case["student"], requires_grad=True)
    loss = divergence(own, torch.tensor(case["teacher"]), settings(case)).mean()
    loss.backward()
    assert float(loss.detach()) == pytest.approx(case["loss"], abs=1e-5)
    assert own.grad is not None
    assert torch.allclose(own.grad, torch.tensor(case["gradient"]), atol=1e-5)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "jsd"])
def test_a_divergence_of_certain_models_is_finite(name: Any) -> None:
    config = DistillConfig(teacher="t", divergence=name)
    ends = torch.tensor([[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 0.0], [5.0, 5.0, 5.0]])
    own = ends.clone().requires_grad_()
    found = divergence(own, ends.flip(0), config)
    found.sum().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(own.grad).all()  # type: ignore[arg-type]
    assert (found >= -1e-6).all()
    assert float(divergence(ends, ends, config).abs().max()) < 1e-6


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the vocabulary of the tiny one, padded, and other weights."""
    return tiny.other(tmp_path_factory.mktemp("teacher") / "model", padding=16)


def distilled(teacher: Path, **more: Any) -> Any:
    values = {"method": {"type": "distill", "teacher": str(teacher), **more}}
    return Config.model_validate(with_types(values)).method.make()


def loaded(made: Any, teacher: Path) -> Any:
    made.teacher.policy = load_other(str(teacher), dtype="fp32", device="cpu")
    return made


def test_a_batch_gives_the_divergence_of_the_two_models_own_logits(
    teacher: Path, home: Path
) -> None:
    made = loaded(distilled(teacher, divergence="jsd", beta=0.3, sft_weight=0.5), teacher)
    model = tiny.model()
    prepare(model)
    rows = tiny.rows(5)
    found = made.loss(Policy(model), collate(rows), {})
    total, nll, same, count = torch.zeros((), dtype=torch.float64), 0.0, 0, 0
    for row in rows:
        ids = torch.from_numpy(row.input_ids.astype("int64"))
        trained = torch.from_numpy(row.loss_mask[1:])
        own = model(ids[None]).logits[0, :-1][trained].double()
        theirs = made.teacher.policy.model(ids[None]).logits[0, :-1, : tiny.VOCAB][trained].double()
        p, q = own.softmax(-1), theirs.softmax(-1)
        m = 0.7 * p + 0.3 * q
        jsd = 0.3 * (q * (q / m).log()).sum(-1) + 0.7 * (p * (p / m).log()).sum(-1)
        row_nll = -p[torch.arange(len(p)), ids[1:][trained]].log()
        total = total + (jsd + 0.5 * row_nll).sum()
        nll, count = nll + float(row_nll.sum().detach()), count + len(p)
        same += int((own.argmax(-1) == theirs.argmax(-1)).sum())
    assert float(found.total["tokens"].detach()) == pytest.approx(float(total.detach()), rel=1e-5)
    assert [float(v) for v in found.sums["answer_nll"]] == pytest.approx([nll, count], rel=1e-5)
    assert [float(v) for v in found.sums["teacher_agreement"]] == [same, count]
    found.total["tokens"].backward()
    gradients = [param.grad.clone() for param in model.parameters()]
    model.zero_grad()
    total.backward()
    for param, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.allclose(param.grad, gradient, atol=1e-5, rtol=1e-4)
    assert all(param.grad is None for param in made.teacher.policy.model.parameters())


def test_a_row_counts_by_its_weight(teacher: Path, home: Path) -> None:
    made = loaded(distilled(teacher), teacher)
    model = tiny.model()
    prepare(model)
    from tunery.data.collate import collate_groups

    rows = tiny.rows(2)
    groups = [RowGroup((row,)) for row in rows]
    heavy = [RowGroup((rows[0],), {WEIGHT: 3.0}), groups[1]]
    each = [float(made.loss(Policy(model), collate_groups([g]), {}).total["tokens"].detach())
            for g in groups]  # fmt: skip
    both = float(made.loss(Policy(model), collate_groups(heavy), {}).total["tokens"].detach())
    assert both == pytest.approx(3 * each[0] + each[1], rel=1e-5)
    with torch.no_grad():  # held-out rows are measured without weights
        measured = float(made.loss(Policy(model), collate_groups(heavy), {}).total["tokens"])
    assert measured == pytest.approx(each[0] + each[1], rel=1e-5)


@pytest.mark.parametrize("top_k", [None, 16], ids=["live", "stored"])
def test_what_the_teacher_says_is_learned(
    tmp_path: Path, teacher: Path, home: Path, top_k: int | None
) -> None:
    made = tiny.config(
        method={"type": "distill", "teacher": str(teacher), "teacher_top_k": top_k},
        adapter={"type": "full"},
        optim={"learning_rate": 1e-2},
        train={"batch_size": 8, "num_epochs": 12, "num_threads": 1},
        evaluate={"every": "epoch"},
    )
    tiny.run(tmp_path, made, data=Rows.of(tiny.rows(24)), held_out=Rows.of(tiny.rows(6, seed=9)))
    first, *_, last = tiny.events(tmp_path, "eval")
    assert last["perplexity"] is None  # of a divergence there is none
    assert last["loss"] == pytest.approx(last["measures"]["teacher_divergence"], rel=1e-5)
    assert last["measures"]["teacher_divergence"] < 0.7 * first["measures"]["teacher_divergence"]
    assert last["measures"]["teacher_agreement"] > first["measures"]["teacher_agreement"] + 0.1


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_chat_model(tmp_path / "base")


def words(base: Path, teacher: object, tmp_path: Path, *more: str) -> list[str]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "q", "output": "a"}\n' * 4)
    return ["--model.name", str(base), "--data.train", str(rows), "--evaluate.every", "never",
            "--method.type", "distill", "--method.teacher", str(teacher), *more]  # fmt: skip


def test_an_adapter_teaches_and_its_path_is_kept_whole(
    home: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter(base, tmp_path / "taught")
    monkeypatch.chdir(tmp_path)
    folder = runs.prepare(from_tokens(words(base, "taught", tmp_path)))
    method = read_frozen(folder.config_file).method
    assert method.other_models() == {"method.teacher": str(tmp_path / "taught")}
    made = load_other(str(tmp_path / "taught"), dtype="fp32", device="cpu")
    assert not any(param.requires_grad for param in made.model.parameters())


def test_a_teacher_with_other_tokens_is_refused_before_its_weights_load(
    home: Path, base: Path, tmp_path: Path
) -> None:
    other = make_chat_model(tmp_path / "other")
    one = swap_two_tokens(other)
    with pytest.raises(ModelError) as caught:
        runs.prepare(from_tokens(words(base, other, tmp_path)))
    assert caught.value.message.startswith(f"method.teacher: {other} has another tokenizer")
    assert "2 tokens differ" in caught.value.message
    assert repr(one) in caught.value.message


def test_a_token_that_only_the_teacher_has_does_not_matter_but_one_that_it_lacks_does(
    home: Path, base: Path, tmp_path: Path
) -> None:
    from tunery.models.beside import check_tokens
    from tunery.models.resolve import resolve

    more = make_chat_model(tmp_path / "more")
    said = json.loads((more / "tokenizer.json").read_text())
    number = max(max(said["model"]["vocab"].values()), *(e["id"] for e in said["added_tokens"])) + 1
    said["added_tokens"].append({"id": number, "content": "<extra>", "special": True})
    (more / "tokenizer.json").write_text(json.dumps(said))
    here, there = resolve(str(base)), resolve(str(more))
    check_tokens("method.teacher", there, here)
    with pytest.raises(ModelError, match=f"Token {number}, '<extra>', does not exist there"):
        check_tokens("method.teacher", here, there)


def test_a_teacher_that_is_missing_or_scores_answers_is_refused(
    home: Path, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"^method\.teacher: .*no-such-model"):
        runs.prepare(from_tokens(words(base, tmp_path / "no-such-model", tmp_path)))
    judge = make_chat_model(tmp_path / "judge")
    said = json.loads((judge / "config.json").read_text())
    said |= {"architectures": ["LlamaForSequenceClassification"], "id2label": {"0": "score"}}
    (judge / "config.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match=r"^method\.teacher: .*reward model"):
        runs.prepare(from_tokens(words(base, judge, tmp_path)))


def test_a_check_of_the_data_with_these_settings_names_an_unfit_teacher(
    home: Path, base: Path, tmp_path: Path
) -> None:
    from tunery.services import datasets

    def check(teacher: object) -> Any:
        loaded = from_tokens(words(base, teacher, tmp_path))
        return datasets.check_with_model(str(tmp_path / "rows.jsonl"), loaded.config)

    with pytest.raises(ModelError, match=r"^method\.teacher: .*no-such-model"):
        check(tmp_path / "no-such-model")
    assert check("owner/not-downloaded").ok  # a run downloads it
    other = make_chat_model(tmp_path / "other")
    assert check(other).ok
    said = json.loads((other / "tokenizer.json").read_text())
    vocab = said["model"]["vocab"]
    one, two = list(vocab)[5:7]
    vocab[one], vocab[two] = vocab[two], vocab[one]
    (other / "tokenizer.json").write_text(json.dumps(said))
    with pytest.raises(ModelError, match="another tokenizer"):
        check(other)


def test_a_teacher_must_be_named_and_another_than_the_model(
    home: Path, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"method\.teacher is empty"):
        runs.prepare(from_tokens(words(base, "", tmp_path)))
    with pytest.raises(ConfigError, match="nothing to learn"):
        runs.prepare(from_tokens(words(base, base, tmp_path)))
    assert runs.prepare(from_tokens(words(base, base, tmp_path, "--method.sft_weight", "1")))


def test_a_constant_of_a_divergence_that_is_not_chosen_is_told() -> None:
    unused = DistillConfig(teacher="t", beta=0.3)
    assert [str(said) for said in unused.advises(None)] == [
        "method.beta has no effect with method.divergence=forward_kl."
    ]
    assert list(DistillConfig(teacher="t", beta=0.3, divergence="jsd").advises(None)) == []


def test_a_plan_counts_the_weights_of_the_teacher() -> None:
    shape = ModelShape.from_config_json(tiny.model().config.to_dict(), total_parameters=50_000)
    alone, beside = (
        estimate(shape, Config(), dtype="bf16", micro_batch_tokens=64, others=count)
        for count in (0, 7_000_000)
    )
    assert beside.others == 14_000_000
    assert beside.total - alone.total == 14_000_000


def test_another_teacher_under_the_same_name_stops_a_resume(
    home: Path, base: Path, tmp_path: Path
) -> None:
    from tunery.train.build import _others

    taught = adapter(base, tmp_path / "taught")
    config = from_tokens(words(base, taught, tmp_path)).config
    before = _others(config)
    assert list(before) == ["method.teacher"]
    (taught / "adapter_model.safetensors").unlink()
    adapter(base, taught, seed=99)
    assert _others(config) != before
