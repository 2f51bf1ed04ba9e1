"""Each kernel against the plain form it replaces."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear as PeftLinear
from safetensors.torch import load_file
from tests.token_rows import of
from tests.train.architectures import (
    gradients,
    plain_loss,
    random_rows,
    relative_error,
    tiny,
)
from tests.train.miniatures import miniature
from torch import nn

from tunery.data.collate import collate
from tunery.kernels import lora, norm
from tunery.kernels.loss import Head, linear_cross_entropy
from tunery.kernels.scores import Score, attend, attend_any
from tunery.kernels.segments import Segments
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare

HEADS = [Head(), Head(scale=0.25), Head(softcap=2.0), Head(scale=3.0, softcap=5.0)]


def losses(model, batch):
    """The sum of the losses and how many there are."""
    return Policy(model).nll(batch), batch.num_trained


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("chunk", [None, 3])
def test_fused_cross_entropy_equals_full_logits(head, chunk):
    torch.manual_seed(0)
    hidden, weight, bias = torch.randn(20, 8), torch.randn(50, 8), torch.randn(50)
    index = torch.tensor([0, 3, 3, 7, 19, 12, 5])  # 3 twice: rows that share a beginning
    target = torch.randint(0, 50, (7,))
    results = []
    for fused in (True, False):
        leaves = [t.clone().requires_grad_() for t in (hidden, weight, bias)]
        if fused:
            loss = linear_cross_entropy(
                *leaves[:2], target, index, bias_V=leaves[2], head=head, chunk=chunk
            )
        else:
            logits = nn.functional.linear(leaves[0][index], leaves[1], leaves[2]) * head.scale
            if head.softcap:
                logits = torch.tanh(logits / head.softcap) * head.softcap
            loss = nn.functional.cross_entropy(logits, target, reduction="sum")
        (loss / 7).backward()
        results.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_frozen_projection_gets_no_gradient_and_no_trained_token_none_at_all():
    hidden, weight = torch.randn(4, 8, requires_grad=True), torch.randn(50, 8)
    nothing = torch.empty(0, dtype=torch.int64)
    loss = linear_cross_entropy(hidden, weight, nothing, nothing)
    loss.backward()
    assert loss.item() == 0.0
    assert not hidden.grad.any()
    assert weight.grad is None


def attention_inputs(num_tokens, heads=4, key_heads=2, width=8, value_width=6):
    torch.manual_seed(0)
    shapes = ((heads, width), (key_heads, width), (key_heads, value_width))
    return [torch.randn(num_tokens, *shape, requires_grad=True) for shape in shapes]


def plain_attention(query, key, value, segments, scale, window):
    """Each segment alone, with its ancestors before it, under an explicit mask."""
    groups = query.shape[1] // key.shape[1]
    outs = []
    for number, length in enumerate(segments.lengths):
        own = torch.arange(segments.starts[number], segments.starts[number] + length)
        seen = torch.cat([segments.context(number), own])
        scores = torch.einsum("thd,uhd->htu", query[own], key[seen].repeat_interleave(groups, 1))
        at = torch.arange(len(seen) - length, len(seen))[:, None] - torch.arange(len(seen))
        hidden = (at < 0) | (at >= window) if window else at < 0
        weights = (scores * scale).masked_fill(hidden, -torch.inf).softmax(-1)
        outs.append(torch.einsum("htu,uhe->the", weights, value[seen].repeat_interleave(groups, 1)))
    return torch.cat(outs)


TREES = [
    ((5,), (-1,)),
    ((3, 9, 4, 4, 17), (-1, -1, -1, -1, -1)),
    ((6, 3, 5, 2, 2, 7, 1), (-1, 0, 0, 2, 2, -1, 5)),
    ((300, 270, 9), (-1, 0, 0)),  # several blocks, weights made again for the backward pass
]


@pytest.mark.parametrize("window", [None, 4, 290])
@pytest.mark.parametrize(("lengths", "parents"), TREES)
@pytest.mark.parametrize("function", [attend, attend_any])
def test_attention_over_segments_equals_a_masked_softmax(function, lengths, parents, window):
    segments = Segments(lengths, parents)
    found = attention_inputs(sum(lengths))
    expected = [t.detach().clone().requires_grad_() for t in found]
    grad = torch.randn(sum(lengths), 4, 6)
    function(*found, segments, Score(scale=0.3, window=window)).backward(grad)
    plain_attention(*expected, segments, 0.3, window).backward(grad)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def lora_model(name="llama", dropout=0.0, **kinds):
    model = tiny(name)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    config = LoraConfig(
        r=4, lora_alpha=6, target_modules="all-linear", lora_dropout=dropout, **kinds
    )
    model = get_peft_model(model, config)
    torch.manual_seed(1)
    for parameter_name, parameter in model.named_parameters():
        if "lora_B" in parameter_name:
            nn.init.normal_(parameter, std=0.3)
    return model.train()


@pytest.mark.filterwarnings("ignore:The following .*_pattern keys:RuntimeWarning")  # PEFT, MoE
@pytest.mark.parametrize(
    "name", ["llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "glm4", "deepseek_v3"]
)
def test_fused_lora_and_norm_give_pefts_loss_and_gradients(name):
    model = lora_model(name)
    rows = random_rows()
    expected = plain_loss(model, rows)
    expected.backward()
    expected_gradients = gradients(model)
    prepare(model)
    assert lora.install(model) > 0
    assert norm.install(model) > 0
    loss, _ = losses(model, collate(of(rows)))
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert relative_error(gradients(model), expected_gradients) <= 1e-5


def test_bf16_gradients_point_where_fp32_ones_do():
    model = lora_model()
    rows = random_rows(lengths=(60, 50, 70))
    losses(model, collate(of(rows)))[0].backward()
    expected = gradients(model)
    for module in model.modules():
        if isinstance(module, PeftLinear):
            module.get_base_layer().bfloat16()
    model.get_base_model().model.embed_tokens.bfloat16()
    model.get_base_model().lm_head.bfloat16()
    for parameter_name, parameter in model.named_parameters():
        if "norm" in parameter_name:
            parameter.data = parameter.data.bfloat16()
    prepare(model)
    losses(model, collate(of(rows)))[0].backward()
    found = gradients(model)
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    assert relative_error(found, expected) < 0.03


def test_dropout_drops_only_what_the_adapter_sees():
    model = lora_model(dropout=0.5)
    layer = model.get_base_model().model.layers[0].mlp.down_proj
    x = torch.randn(7, 96)
    results = []
    for fast in (False, True):
        if fast:
            lora.install(model)
        torch.manual_seed(3)
        leaf = x.clone().requires_grad_()
        out = layer(leaf)
        out.square().sum().backward()
        results.append((out.detach(), leaf.grad, gradients(layer)))
    torch.testing.assert_close(results[1][:2], results[0][:2])
    assert relative_error(results[1][2], results[0][2]) < 1e-5


def test_rows_share_no_random_numbers_of_dropout():
    model = lora_model(dropout=0.5)
    prepare(model)
    ids = torch.arange(3, 43).numpy()
    rows = [(ids, ids > 30)] * 2
    batch = collate(of(rows))
    assert batch.input_ids.shape[1] < 45
    torch.manual_seed(0)
    loss, _ = losses(model, batch)
    torch.manual_seed(0)
    apart, _ = losses(model, collate(of(rows), share_prefixes=False))
    assert loss.item() == apart.item()
    model.eval()
    shared, _ = losses(model, batch)
    assert shared.item() == pytest.approx(2 * losses(model, collate(of(rows[:1])))[0].item())


def test_saving_merging_switching_and_copying_stay_pefts(tmp_path):
    model = lora_model()
    prepare(model)
    model.eval()
    ids = torch.arange(3, 15)[None]
    adapted = model(ids).logits
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert len(saved) == 2 * lora.install(model)
    assert torch.equal(copy.deepcopy(model)(ids).logits, adapted)
    with model.disable_adapter():
        assert not torch.allclose(model(ids).logits, adapted)
    model.add_adapter("other", LoraConfig(r=2, target_modules="all-linear"))
    model.set_adapter("other")
    assert not torch.allclose(model(ids).logits, adapted)
    model.base_model.set_adapter(["default", "other"])  # two at once: PEFT's own forward
    assert torch.allclose(model(ids).logits, adapted, atol=1e-5)  # the new one is still zero
    model.set_adapter("default")
    merged = model.merge_and_unload()
    torch.testing.assert_close(merged(ids).logits, adapted, rtol=1e-4, atol=1e-4)


def test_uninstalling_gives_every_layer_its_own_class_back():
    model = lora_model()
    before = [type(module) for module in model.modules()]
    prepare(model)
    assert [type(module) for module in model.modules()] != before
    lora.uninstall(model)
    norm.uninstall(model)
    assert [type(module) for module in model.modules()] == before


def test_variants_of_lora_go_to_pefts_forward():
    model = lora_model(use_dora=True)
    ids = torch.arange(3, 15)[None]
    expected = model(ids).logits
    lora.install(model)
    assert torch.equal(model(ids).logits, expected)


def test_a_trained_norm_keeps_autograds_backward():
    model = tiny("llama").train()
    rows = random_rows()
    plain_loss(model, rows).backward()
    expected = gradients(model)
    prepare(model)
    losses(model, collate(of(rows)))[0].backward()
    found = gradients(model)
    assert any("norm" in name for name in found)
    assert relative_error(found, expected) <= 1e-5


@pytest.mark.parametrize("name", ["gemma4_text", "gemma3n_text", "gemma4_unified_text"])
def test_norms_of_one_class_are_chosen_one_by_one(name):
    model = miniature(name)
    plain = sum(getattr(m, "weight", None) is None and _is_norm(m) for m in model.modules())
    weighted = sum(getattr(m, "weight", None) is not None and _is_norm(m) for m in model.modules())
    assert plain > 0
    for param in model.parameters():
        param.requires_grad_(False)
    assert norm.install(model) == weighted
    rows = random_rows()
    model.get_input_embeddings().weight.requires_grad_(True)
    loss, _ = losses(model, collate(of(rows)))
    loss.backward()
    found = gradients(model)
    norm.uninstall(model)
    expected = plain_loss(model, rows)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert relative_error(found, gradients(model)) <= 1e-4


def _is_norm(module):
    return type(module).__name__.endswith("RMSNorm")


def test_a_model_may_change_the_output_of_our_functions_in_place():
    torch.manual_seed(0)
    x = torch.randn(3, 8, requires_grad=True)
    weight, a, b = torch.randn(6, 8), torch.randn(2, 8, requires_grad=True), torch.randn(6, 2)
    out = lora.lora_linear(x[None], weight, a, b, 0.5)
    out += 1.0
    out.sum().backward()
    expected = (weight + 0.5 * b @ a).sum(0).detach()
    torch.testing.assert_close(x.grad, expected.expand(3, 8))

    inputs = attention_inputs(6)
    segments = Segments((4, 2), (-1, -1), torch.device("cpu"))
    attend(*inputs, segments, Score(0.5)).mul_(2.0).sum().backward()
    assert all(tensor.grad is not None for tensor in inputs)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_varlen_attention_follows_the_product_form():
    model = tiny("qwen2").cuda().bfloat16()
    rows = random_rows(lengths=(60, 30, 90, 200))
    expected = plain_loss(model.cpu().float(), rows)
    model.cuda().bfloat16()
    loss, _ = losses(model, collate(of(rows)).to("cuda"))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
