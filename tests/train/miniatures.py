"""Any causal language model type of transformers in miniature, with random weights.

A type's own default config is shrunk by the names that configs share; a type whose numbers hang
together in another way gives its own in ``OWN``.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
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
BART = {
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 96),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
}
NARROW = {"head_dim": 16}
OWN: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("bart", "mbart", "mvp", "marian", "pegasus", "plbart"), BART),
    **dict.fromkeys(("bigbird_pegasus", "blenderbot", "blenderbot-small", "whisper"), BART),
    **dict.fromkeys(("hunyuan_v1_dense", "hunyuan_v1_moe", "ministral"), NARROW),
    "axk1": {"num_key_value_heads": 4, "v_head_dim": 16},
    "bert": BERT,
    "cohere_compass_text": {
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0}
            for kind in ("sliding_attention", "full_attention")
        }
    },
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
             "ffn_config": {"ffn_hidden_size": 96, "moe_num_experts": 4, "moe_top_k": 2}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "dots1": {"num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 1,
              "num_experts_per_tok": 2},
    "falcon_h1": {"mamba_d_ssm": 128},
    "gemma4_text": GEMMA4,
    "gemma4_unified_text": GEMMA4,
    "git": {"vision_config": {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
                              "num_attention_heads": 2, "image_size": 32}},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "inkling2_text": {"swa_num_key_value_heads": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 16},
    "nemotron": {"num_key_value_heads": 4},
    "nemotron_h": {"layers_block_type": ["linear_attention", "full_attention"]},
    "prophetnet": {"num_encoder_layers": 2, "num_decoder_layers": 2, "encoder_ffn_dim": 96,
                   "num_encoder_attention_heads": 4, "num_decoder_attention_heads": 4},
    "reformer": {"is_decoder": True, "axial_pos_embds": False, "attn_layers": ["local", "lsh"],
                 "num_buckets": 4},
    "roberta": BERT,
    "zaya": {"num_experts_per_tok": 1, "num_attention_heads": 4, "num_key_value_heads": 2},
}  # fmt: skip
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
    return CONFIG_MAPPING[kind](
        **{**_small(CONFIG_MAPPING[kind]()), **IDS, **OWN.get(kind, {}), **changes}
    )


def _small(usual: Any) -> dict[str, Any]:
    small = {
        usual.attribute_map.get(name, name): value
        for name, value in SMALL.items()
        if _said(usual, name)
    }
    if "kv_lora_rank" in small:
        small |= SHARED_KEYS
        small.pop("head_dim", None)  # that of the rotated part
    for name in ("layer_types", "mlp_layer_types", "layers_block_type"):
        name = usual.attribute_map.get(name, name)
        kinds = getattr(usual, name, None) if _said(usual, name) else None
        if isinstance(kinds, list) and kinds:
            distinct = list(dict.fromkeys(kinds))
            small[name] = (distinct * 2)[:2]
    for part in usual.sub_configs:
        inner = getattr(usual, part, None)
        if isinstance(inner, PreTrainedConfig):
            ids = IDS if "text" in part else {}
            small[part] = {
                "model_type": inner.model_type,
                **_small(inner),
                **ids,
                **OWN.get(inner.model_type, {}),
            }
    return small


def _said(usual: Any, name: str) -> bool:
    if isinstance(getattr(type(usual), name, None), property):
        return False
    try:
        return getattr(usual, name, None) is not None
    except AmbiguousGlobalPerLayerAttributeError:
        return True
