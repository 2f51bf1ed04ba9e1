"""Any causal language model type of transformers in miniature, with random weights.

A type's own default config is shrunk by the names that configs share; a type whose numbers hang
together in another way gives its own in ``OWN``.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel
from transformers.integrations.heterogeneity.configuration_utils import (
    AmbiguousGlobalPerLayerAttributeError,
)

SMALL: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), 300),
    **dict.fromkeys(("hidden_size", "lru_width", "embedding_size", "attention_hidden_size"), 64),
    **dict.fromkeys(("num_hidden_layers", "dense_attention_every_n_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_heads", "swa_num_attention_heads"), 4),
    **dict.fromkeys(("num_key_value_heads", "num_global_key_value_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"), 96),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"), 2),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 32),
    **dict.fromkeys(("n_shared_experts", "n_group", "topk_group", "first_k_dense_replace"), 1),
    **dict.fromkeys(("head_dim", "global_head_dim", "swa_head_dim", "index_head_dim"), 16),
    **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "index_topk"), 16),
    **dict.fromkeys(("state_size", "mamba_d_state", "ssm_state_size", "laurel_rank"), 8),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "qk_rope_head_dim", "rotary_dim"), 8),
    **dict.fromkeys(("mamba_d_head", "mamba_head_dim", "hidden_size_per_layer_input"), 16),
    **dict.fromkeys(("mamba_n_groups", "n_groups"), 1),
    **dict.fromkeys(("time_step_rank", "mamba_dt_rank"), 4),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim"), 16),
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "max_position_embeddings": 512,
    "sliding_window": 8,
    "v_head_dim": 12,
    "word_embed_proj_dim": 64,
    "num_kv_shared_layers": 0,
}
SHARED_KEYS = {"num_key_value_heads": 4}
"""Latent attention has as many key heads as query heads."""
GEMMA4 = {
    "head_dim": 16,
    "global_head_dim": 16,
    "layer_types": ["sliding_attention", "full_attention"],
}
BERT = {"is_decoder": True}
OWN: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "gemma4_text": GEMMA4,
    "gemma4_unified_text": GEMMA4,
    "inkling2_text": {"swa_num_key_value_heads": 2},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "nemotron": {"num_key_value_heads": 4},
    "nemotron_h": {"layers_block_type": ["linear_attention", "full_attention"]},
    "roberta": BERT,
}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def miniature(
    kind: str, *, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """A random model of a type in eval mode; ``changes`` go to its config."""
    torch.manual_seed(seed)
    made: Any = AutoModelForCausalLM.from_config(settings(kind, **changes), dtype=dtype)
    return made.eval()


def settings(kind: str, **changes: Any) -> Any:
    """The config of a type in miniature."""
    usual = CONFIG_MAPPING[kind]()
    small = {
        usual.attribute_map.get(name, name): value
        for name, value in SMALL.items()
        if _said(usual, name)
    }
    if "kv_lora_rank" in small:
        small |= SHARED_KEYS
    for name in ("layer_types", "mlp_layer_types", "layers_block_type"):
        kinds = getattr(usual, name, None) if _said(usual, name) else None
        if isinstance(kinds, list) and kinds:
            distinct = list(dict.fromkeys(kinds))
            small[usual.attribute_map.get(name, name)] = (distinct * 2)[:2]
    return CONFIG_MAPPING[kind](**{**small, **IDS, **OWN.get(kind, {}), **changes})


def _said(usual: Any, name: str) -> bool:
    if isinstance(getattr(type(usual), name, None), property):
        return False
    try:
        return getattr(usual, name, None) is not None
    except AmbiguousGlobalPerLayerAttributeError:
        return True
