"""The packed forward equals each row alone, loss and gradient, on many architectures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.token_rows import of
from tests.train.architectures import (
    EXTRA,
    gradients,
    plain_loss,
    random_rows,
    relative_error,
    tiny,
)

from tunery.config.methods import METHODS
from tunery.data.collate import collate
from tunery.data.rows import Rows
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import shortcuts
from tunery.train.measure.evaluate import evaluate

UNPACKED = {"bloom", "mamba", "llama4_text"}
TOLERANCE = 1e-5


def losses(model, batch):
    """The sum of the losses and how many there are."""
    return Policy(model).nll(batch), batch.num_trained


@pytest.mark.parametrize("name", EXTRA)
def test_packed_loss_and_gradient_equal_unpacked_ones(name):
    model = tiny(name)
    rows = random_rows()
    expected = plain_loss(model, rows)
    expected.backward()
    expected_gradients = gradients(model)

    loss, num_trained = losses(model, collate(of(rows)))
    loss.backward()

    assert num_trained == sum(int(mask[1:].sum()) for _, mask in rows)
    assert loss.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    assert relative_error(gradients(model), expected_gradients) <= TOLERANCE
    assert shortcuts(model).packed is (name not in UNPACKED)


def rows_with_common_beginnings():
    system = np.arange(3, 43)
    rows = []
    for ids, mask in random_rows(lengths=(12, 9, 20, 9, 4, 1)):
        rows.append((np.concatenate([system, ids]), np.concatenate([np.zeros(40, bool), mask])))
    turn = rows[0][0]  # a third level: two rows that begin with the whole first one
    for ids, mask in random_rows(lengths=(7, 15), seed=1):
        rows.append((np.concatenate([turn, ids]), np.concatenate([np.ones(len(turn), bool), mask])))
    return [*rows, rows[-1], *random_rows(lengths=(17, 5), seed=2)]


@pytest.mark.parametrize("name", EXTRA)
def test_each_loss_is_told_row_by_row(name):
    model = tiny(name).eval()
    rows = rows_with_common_beginnings()
    result = evaluate(Policy(model), METHODS[0]().make(), Rows.of(of(rows)), capacity=60)
    for row, found in zip(rows, result.row_losses, strict=True):
        trained = int(row[1][1:].sum())
        if trained:
            assert found == pytest.approx(plain_loss(model, [row]).item() / trained, rel=1e-4)
        else:
            assert np.isnan(found)
    batch = collate(of(rows))
    with torch.no_grad():
        total, count = losses(model, batch)
    assert result.loss == pytest.approx(float(total) / count, rel=1e-5)
    worst = result.worst(2)
    assert result.row_losses[worst[0]] == np.nanmax(result.row_losses)
    assert result.row_losses[worst[0]] >= result.row_losses[worst[1]]


@pytest.mark.parametrize("name", EXTRA)
def test_common_beginnings_computed_once_give_the_same_loss_and_gradient(name):
    model = tiny(name)
    rows = rows_with_common_beginnings()
    expected = plain_loss(model, rows)
    expected.backward()
    expected_gradients = gradients(model)

    batch = collate(of(rows))
    loss, _ = losses(model, batch)
    loss.backward()

    assert batch.input_ids.numel() < 0.5 * batch.num_tokens
    assert loss.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    assert relative_error(gradients(model), expected_gradients) <= TOLERANCE


def test_one_times_16_equals_2_times_8_equals_16_times_1():
    model = tiny("llama")
    rows = random_rows(lengths=range(4, 36, 2))
    results = []
    for size in (16, 8, 1):
        total, trained = 0.0, 0
        for start in range(0, 16, size):
            loss, count = losses(model, collate(of(rows[start : start + size])))
            loss.backward()
            total, trained = total + loss.item(), trained + count
        results.append((total, trained, gradients(model)))
    for total, trained, grads in results[1:]:
        assert trained == results[0][1]
        assert total == pytest.approx(results[0][0], rel=TOLERANCE)
        assert relative_error(grads, results[0][2]) <= TOLERANCE


def test_long_rows_beside_short_ones_come_out_as_alone():
    model = tiny("qwen2", max_position_embeddings=2048)
    rows = random_rows(lengths=(700, 30, 5, 640, 31))
    expected = plain_loss(model, rows)
    expected.backward()
    expected_gradients = gradients(model)
    loss, _ = losses(model, collate(of(rows)))
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=TOLERANCE)
    assert relative_error(gradients(model), expected_gradients) <= TOLERANCE


def test_a_window_shorter_than_a_long_row_is_respected():
    model = tiny("mistral", sliding_window=100, max_position_embeddings=2048)
    rows = random_rows(lengths=(600, 40))
    expected = float(plain_loss(model, rows).detach())
    with torch.no_grad():
        assert float(losses(model, collate(of(rows)))[0]) == pytest.approx(expected, rel=1e-5)


def test_generation_after_a_packed_forward_is_transformers_own():
    model = tiny("llama")
    ids = torch.from_numpy(random_rows()[0][0])[None]
    before = model.generate(ids, max_new_tokens=8, do_sample=False)
    padded = torch.cat([torch.zeros(1, 5, dtype=torch.long), ids], 1)
    mask = (padded != 0).long()
    logits = model(padded, attention_mask=mask).logits[0, -1]
    losses(model, collate(of(random_rows())))
    assert torch.equal(model.generate(ids, max_new_tokens=8, do_sample=False), before)
    assert torch.allclose(model(padded, attention_mask=mask).logits[0, -1], logits, atol=1e-6)


def test_a_batch_without_trained_tokens_has_zero_loss_and_gradient():
    model = tiny("llama")
    loss, num_trained = losses(model, collate(of([(np.arange(3, 9), np.zeros(6, bool))])))
    loss.backward()
    assert (loss.item(), num_trained) == (0.0, 0)
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())


def test_recomputed_activations_give_the_same_gradient():
    model = tiny("llama")
    rows = random_rows()
    losses(model, collate(of(rows)))[0].backward()
    expected = gradients(model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    losses(model, collate(of(rows)))[0].backward()
    assert relative_error(gradients(model), expected) <= TOLERANCE


def test_longrope_rows_beyond_the_first_length_are_not_packed_with_short_ones():
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 8,
        "long_factor": [4.0] * 8,
        "original_max_position_embeddings": 32,
        "factor": 4.0,
    }
    model = tiny("phi3", rope_parameters=rope)
    rows = random_rows(lengths=(50, 10))
    expected = float(plain_loss(model, rows).detach())
    with torch.no_grad():
        assert float(losses(model, collate(of(rows)))[0]) == pytest.approx(expected, rel=1e-5)


def test_bf16_follows_the_plain_form_within_its_rounding():
    model = tiny("llama").bfloat16()
    rows = random_rows()
    expected = float(plain_loss(model, rows).detach())
    with torch.no_grad():
        assert float(losses(model, collate(of(rows)))[0]) == pytest.approx(expected, rel=5e-3)
