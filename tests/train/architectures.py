"""Tiny models of many architectures with random weights, made in the test."""

from __future__ import annotations

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

COMMON = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MLA = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
}
GEMMA = {"head_dim": 16, "sliding_window": 5, "query_pre_attn_scalar": 16}
EXTRA: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "gemma2": {**GEMMA, "final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0},
    "gemma3_text": GEMMA,
    "phi3": {},
    "mistral": {"sliding_window": 6},
    "glm4": {"head_dim": 16},
    "deepseek_v3": MLA,
    "granite": {"logits_scaling": 3.0},
    "cohere": {"logit_scale": 0.3},
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "head_dim": 16,
        "sliding_window": 5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    # These cannot be packed: a bias by position made outside the interface, recurrent state.
    "bloom": {},
    "mamba": {"state_size": 8},
    "llama4_text": {},
}


def tiny(name: str, seed: int = 0, **changes: object) -> PreTrainedModel:
    """A random fp32 model in eval mode."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(name, **{**COMMON, **EXTRA[name], **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval()


def random_rows(lengths=(17, 9, 23, 9, 3, 16), vocab=300, seed=0, share=0.5):
    """Rows of random tokens, about ``share`` of them trained."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(3, vocab, n), rng.random(n) < share) for n in lengths]


def plain_loss(model, rows) -> torch.Tensor:
    """What the packed loss must equal: each row alone, full logits, cross-entropy."""
    total = torch.zeros(())
    for ids, mask in rows:
        ids_1T = torch.from_numpy(ids)[None]
        logits = model(ids_1T).logits[0, :-1].float()
        losses = torch.nn.functional.cross_entropy(logits, ids_1T[0, 1:], reduction="none")
        total = total + losses[torch.from_numpy(mask[1:])].sum()
    return total


def gradients(model) -> dict[str, torch.Tensor]:
    """Copies of all gradients, which are then cleared."""
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def relative_error(found, expected) -> float:
    """Length of the difference of two gradients over the length of the second."""
    assert found.keys() == expected.keys()
    difference = sum((found[n] - expected[n]).double().square().sum() for n in expected)
    return float((difference / sum(e.double().square().sum() for e in expected.values())) ** 0.5)
