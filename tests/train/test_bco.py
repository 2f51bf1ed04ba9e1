"""KTO's loss type bco: the mean of all rewards so far, its formula, its state, its measures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tests.train import tiny
from tests.train.test_preferences import DIVISIONS, NUMBERS, judged, labelled, method, policy
from tests.train.test_resume import run_in_two
from torch.nn.functional import logsigmoid

from tunery.data.collate import collate_groups
from tunery.methods.base import combine
from tunery.methods.kto import bco_loss
from tunery.train.state.state import State

BETA = 0.3


def rewards(trained: Any) -> torch.Tensor:
    """beta * (log p - log ref) of TRL's labelled answers, by the model's own logits, in fp64."""
    model, found = trained.model, []
    for prompt, answer, _ in NUMBERS["labelled"]:
        ids = torch.tensor([[*prompt, *answer]])

        def logprob(ids: torch.Tensor = ids, begin: int = len(prompt)) -> torch.Tensor:
            each = model(ids).logits[0, :-1].double().log_softmax(-1)
            return each.gather(1, ids[0, 1:, None])[begin - 1 :].sum()

        with torch.no_grad(), model.disable_adapter():
            before = logprob()
        found.append(BETA * (logprob() - before))
    return torch.stack(found)


@pytest.mark.parametrize("division", DIVISIONS.values(), ids=DIVISIONS.keys())
def test_a_loss_compares_with_the_mean_of_all_rewards_so_far(division: list[list[int]]) -> None:
    made, groups = method(type="kto", loss_type="bco", beta=BETA), labelled()
    own, plain = policy(), policy()
    good = torch.tensor([label for _, _, label in NUMBERS["labelled"]])
    earlier: list[torch.Tensor] = []
    for step in (1, 2, 3):
        with torch.no_grad():
            facts = made.before_step(own, [collate_groups(groups)])
        loss = torch.zeros(())
        for members in division:
            part = made.loss(own, collate_groups([groups[i] for i in members]), facts)
            loss = loss + combine(part.total, {"answers": len(groups)})
            assert float(part.sums["reward_baseline"][1]) == 1
        reward = rewards(plain)
        earlier.append(reward.detach())
        margin = reward - torch.cat(earlier).mean()
        expected = torch.where(good, -logsigmoid(margin), -logsigmoid(-margin)).mean()
        assert float(loss.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
        baseline = float(part.sums["reward_baseline"][0])  # type: ignore[possibly-undefined]
        assert baseline == pytest.approx(float(torch.cat(earlier).mean()), abs=1e-5)
        loss.backward()
        expected.backward()
        pairs = zip(own.model.parameters(), plain.model.parameters(), strict=True)
        with torch.no_grad():
            for ours, theirs in pairs:
                if theirs.grad is None:
                    continue
                assert ours.grad is not None
                assert torch.allclose(ours.grad, theirs.grad, atol=1e-5, rtol=1e-4)
                for param in (ours, theirs):  # another model at the next step
                    param -= 0.1 * theirs.grad
                ours.grad = theirs.grad = None
        kept = made.after_step(facts)
        assert kept["answers"] == 4 * step
        made = method(type="kto", loss_type="bco", beta=BETA)  # as a resumed run begins
        made.resume(State.from_dict(State(method=kept).as_dict()).method)


def test_answers_are_weighted_by_their_label() -> None:
    reward, label = torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0])
    one = bco_loss(reward, label, torch.tensor(0.5), (1.0, 1.0))
    two = bco_loss(reward, label, torch.tensor(0.5), (1.5, 0.7))
    assert two.tolist() == pytest.approx([1.5 * float(one[0]), 0.7 * float(one[1])])


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_a_run_resumes_to_the_bit_with_the_rewards_of_earlier_steps(
    tmp_path: Path, adapter: str
) -> None:
    settings = tiny.config(
        method={"type": "kto", "loss_type": "bco"},
        adapter={"type": adapter, **({"rank": 4, "dropout": 0.1} if adapter == "lora" else {})},
        optim={"learning_rate": 1e-3},
        train={"batch_size": 4, "max_steps": 6, "num_epochs": 9, "micro_batch_tokens": 40,
               "num_threads": 1},
        evaluate={"every": 2},
    )  # fmt: skip
    parts: dict[str, Any] = {"data": judged(), "held_out": judged(6, seed=9)}
    assert tiny.run(tmp_path / "whole", settings, **parts) == "finished"
    run_in_two(tmp_path / "cut", settings, 3, **parts)
    assert tiny.digest(tmp_path / "cut") == tiny.digest(tmp_path / "whole")
    assert tiny.history(tmp_path / "cut") == tiny.history(tmp_path / "whole")
    saved = tiny.newest(tmp_path / "whole").state().method
    assert saved["answers"] == 24  # six steps of four; held-out rows do not count
    told = {measure["name"] for measure in tiny.events(tmp_path / "whole", "plan")[0]["measures"]}
    assert "reward_baseline" in told
    for event in [
        *tiny.events(tmp_path / "whole", "step"),
        *tiny.events(tmp_path / "whole", "eval"),
    ]:
        assert {"loss", *event["measures"]} == told


def test_what_is_preferred_is_learned(tmp_path: Path) -> None:
    settings = tiny.config(
        method={"type": "kto", "loss_type": "bco"},
        adapter={"type": "lora", "rank": 4},
        optim={"learning_rate": 2e-2},
        train={"batch_size": 4, "num_epochs": 12, "micro_batch_tokens": 200, "num_threads": 1},
        evaluate={"every": "epoch"},
    )
    tiny.run(tmp_path, settings, data=judged(24), held_out=judged(8, seed=9))
    first, *_, last = tiny.events(tmp_path, "eval")
    assert last["loss"] < first["loss"]
    assert last["measures"]["reward_desirable"] > last["measures"]["reward_undesirable"]
