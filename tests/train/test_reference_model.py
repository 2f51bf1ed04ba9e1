"""A reference model named in the settings: its numbers, its run, its memory, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.chat_model import make_chat_model, swap_two_tokens
from tests.train import tiny
from tests.train.test_plan_time import FOUND
from tests.train.test_preferences import DATA, prefer
from tests.train.test_resume import run_in_two
from torch.nn.functional import logsigmoid

from tunery.config.config import Config
from tunery.config.frozen import with_types
from tunery.config.load import from_tokens, read_frozen
from tunery.data.collate import collate_groups
from tunery.data.groups import RowGroup, TokenRow
from tunery.errors import ConfigError, ModelError
from tunery.models.memory import estimate
from tunery.policy.other import load_other
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare
from tunery.services import runs
from tunery.shape import ModelShape


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for the tokens of the tiny one, with other weights and another size."""
    return tiny.other(tmp_path_factory.mktemp("reference") / "model")


def answer(model: Any, row: TokenRow) -> torch.Tensor:
    """log p of a row's answer by the model's own logits, in fp64."""
    ids = torch.from_numpy(row.input_ids.astype("int64"))
    trained = torch.from_numpy(row.loss_mask[1:])
    logprobs = model(ids[None]).logits[0, :-1].double().log_softmax(-1)
    return logprobs.gather(1, ids[1:, None])[:, 0][trained].sum()


def prepared(
    path: Path, name: str, settings: dict[str, Any]
) -> tuple[Any, Policy, list[RowGroup], Any]:
    """A method with its rows prepared, and the policy; the reference model is released."""
    place = tiny.context(path, tiny.config(method=settings))
    made: Any = place.config.method.make()
    model = tiny.model()
    prepare(model)
    policy = Policy(model)
    with place.events:
        rows = made.prepare(policy, DATA[name](4), place, name="train")
        assert len(made.others) == 1
        made.prepared()
    assert made.others == ()
    return made, policy, [rows.group(i) for i in range(len(rows))], rows


def test_a_dpo_loss_compares_with_the_model_that_is_named(
    tmp_path: Path, reference: Path, home: Path
) -> None:
    made, policy, groups, _ = prepared(
        tmp_path, "dpo", {"type": "dpo", "beta": 0.3, "reference_model": str(reference)}
    )
    found = made.loss(policy, collate_groups(groups), {})
    other, model = load_other(str(reference), dtype="fp32", device="cpu").model, tiny.model()
    expected = torch.zeros((), dtype=torch.float64)
    for group in groups:
        good, bad = (answer(model, row) - answer(other, row) for row in group.rows)
        expected = expected - logsigmoid(0.3 * (good - bad))
    assert float(found.total["pairs"].detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    found.total["pairs"].backward()
    expected.backward()
    for own, theirs in zip(policy.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(own.grad, theirs.grad, atol=1e-5, rtol=1e-4)  # type: ignore[arg-type]


def test_a_kto_loss_and_its_kl_compare_with_the_model_that_is_named(
    tmp_path: Path, reference: Path, home: Path
) -> None:
    made, policy, groups, rows = prepared(
        tmp_path, "kto", {"type": "kto", "beta": 0.3, "reference_model": str(reference)}
    )
    beside = [rows.beside.group(i) for i in range(len(rows))]
    with torch.no_grad():
        facts = made.before_step(policy, [collate_groups(beside)])
        found = made.loss(policy, collate_groups(groups), facts)
        other, model = load_other(str(reference), dtype="fp32", device="cpu").model, tiny.model()

        def moved(group: RowGroup) -> torch.Tensor:
            return answer(model, group.rows[0]) - answer(other, group.rows[0])

        kl = torch.stack([moved(group) for group in beside]).mean().clamp(min=0)
        loss = sum(
            1 - torch.sigmoid(0.3 * (moved(group) - kl) * (1 if group.facts["label"] > 0 else -1))
            for group in groups
        )
    assert float(found.total["answers"]) == pytest.approx(float(loss), abs=1e-5)
    assert float(found.sums["kl"][0]) == pytest.approx(float(kl), abs=1e-5)


def test_rows_without_its_log_probabilities_are_not_compared_with_something_else(
    reference: Path,
) -> None:
    model = tiny.model()
    prepare(model)
    policy = Policy(model, off=lambda: pytest.fail("the base is not the reference"))
    given = {"method": {"type": "dpo", "reference_model": str(reference)}}
    made = Config.model_validate(with_types(given)).method.make()
    with pytest.raises(RuntimeError, match="log-probabilities"):
        made.loss(policy, collate_groups([prefer(1).group(0)]), {})


@pytest.mark.parametrize("adapter", ["lora", "full"])
@pytest.mark.parametrize("name", ["dpo", "kto"])
def test_a_run_resumes_to_the_bit_without_reading_the_reference_model_again(
    tmp_path: Path, reference: Path, home: Path, name: str, adapter: str
) -> None:
    settings = tiny.config(
        method={"type": name, "reference_model": str(reference)},
        adapter={"type": adapter, **({"rank": 4, "dropout": 0.1} if adapter == "lora" else {})},
        optim={"learning_rate": 1e-3},
        train={"batch_size": 4, "max_steps": 4, "num_epochs": 9, "micro_batch_tokens": 40,
               "num_threads": 1},
        evaluate={"every": 2},
    )  # fmt: skip
    parts: dict[str, Any] = {"data": DATA[name](), "held_out": DATA[name](6, seed=9)}
    assert tiny.run(tmp_path / "whole", settings, **parts) == "finished"
    run_in_two(tmp_path / "cut", settings, 2, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert tiny.history(tmp_path / "cut") == tiny.history(tmp_path / "whole")
    phases = [e["phase"] for e in tiny.events(tmp_path / "cut", "phase") if e["state"] == "begin"]
    assert phases.count("others") == 1  # one model for all rows, also of the second session
    assert phases.count("reference") == (2 if name == "dpo" else 4)


def test_what_was_stored_of_other_rows_or_another_model_is_computed_again(
    tmp_path: Path, reference: Path, home: Path
) -> None:
    from tunery.methods.reference import STREAM, Reference

    place = tiny.context(tmp_path, tiny.config(method={"type": "dpo"}))
    model = tiny.model()
    prepare(model)
    policy = Policy(model)

    def first(name: str | None, seed: int) -> list[float]:
        rows = Reference(name).added(policy, prefer(3, seed=seed), place, name="train")
        return rows.group(0).rows[0].streams[STREAM].tolist()

    with place.events:
        found = [first(None, 5), first(str(reference), 5), first(str(reference), 6)]
        again = first(str(reference), 6)
    assert found[0] != found[1]
    assert found[2] == again
    phases = [e for e in tiny.events(tmp_path, "phase") if e["phase"] == "reference"]
    assert len([e for e in phases if e["state"] == "begin"]) == 3


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_chat_model(tmp_path / "base")


def words(base: Path, tmp_path: Path, *more: str) -> list[str]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "q", "chosen": "a", "rejected": "b"}\n' * 4)
    return ["--model.name", str(base), "--data.train", str(rows), "--evaluate.every", "never",
            *more]  # fmt: skip


def test_a_reference_model_with_other_tokens_is_refused_before_its_weights_load(
    home: Path, base: Path, tmp_path: Path
) -> None:
    other = make_chat_model(tmp_path / "other")
    swap_two_tokens(other)
    given = words(base, tmp_path, "--method.type", "dpo", "--method.reference_model")
    with pytest.raises(ModelError) as caught:
        runs.prepare(from_tokens([*given, str(other)]))
    assert caught.value.message.startswith(f"method.reference_model: {other} has another tokenizer")
    with pytest.raises(ModelError, match=r"^method\.reference_model: .*no-such-model"):
        runs.prepare(from_tokens([*given, str(tmp_path / "no-such-model")]))


def test_its_path_is_kept_whole_and_the_default_is_none(
    home: Path, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_chat_model(tmp_path / "before")
    monkeypatch.chdir(tmp_path)
    given = words(base, tmp_path, "--method.type", "dpo")
    folder = runs.prepare(from_tokens([*given, "--method.reference_model", "before"]))
    method = read_frozen(folder.config_file).method
    assert method.other_models() == {"method.reference_model": str(tmp_path / "before")}
    assert read_frozen(runs.prepare(from_tokens(given)).config_file).method.other_models() == {}


@pytest.mark.parametrize("method", ["cpo", "simpo", "orpo", "sft"])
def test_a_method_without_a_reference_refuses_the_setting(
    base: Path, tmp_path: Path, method: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        from_tokens(
            words(base, tmp_path, "--method.type", method, "--method.reference_model", str(base))
        )
    assert "method.reference_model" in caught.value.message
    assert "dpo" in caught.value.message + caught.value.fix


def test_a_plan_counts_its_memory_before_training_and_the_stored_values(
    home: Path, base: Path, tmp_path: Path
) -> None:
    shape = ModelShape.from_config_json(tiny.model().config.to_dict(), total_parameters=50_000)
    config = tiny.config(method={"type": "dpo", "reference_model": "other"})

    def total(parameters: int) -> int:
        return estimate(shape, config, dtype="fp32", micro_batch_tokens=64, others=parameters).total

    later = estimate(shape, config, dtype="fp32", micro_batch_tokens=64)
    room = later.gradients + later.optimizer + later.activations
    assert total(room // 4) == total(0)  # released before any of these exist
    assert total(room // 4 + 1_000_000) == total(0) + 4_000_000
    given = words(base, tmp_path, "--method.type", "kto", "--method.reference_model", str(base))
    told = '{"prompt": "q", "completion": "a", "label": %s}\n'
    (tmp_path / "rows.jsonl").write_text((told % "true" + told % "false") * 2)
    counted = {**FOUND, "held_out_trained_tokens": 500}
    disk = runs.plan(from_tokens(given), trial=lambda folder, measure: counted).disk
    assert disk["stored"] == 2 * 2500 * 4
    assert disk["total"] == sum(
        disk[part] for part in ("checkpoints", "staging", "final", "logs", "stored")
    )


def test_a_reference_in_the_weights_before_training_is_stored_only_where_they_change() -> None:
    sizes = {
        adapter: tiny.config(method={"type": "dpo"}, adapter={"type": adapter})
        for adapter in ("lora", "full")
    }
    found = {name: made.method.stored_bytes(10, made) for name, made in sizes.items()}
    assert found == {"lora": 0, "full": 40}
