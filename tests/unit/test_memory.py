"""Memory is counted from the architecture's own numbers."""

from __future__ import annotations

from tunery.config.adapters.freeze import FreezeConfig
from tunery.config.adapters.full import FullConfig
from tunery.config.adapters.lora import LoraConfig
from tunery.config.config import Config
from tunery.models.memory import estimate, fitting_micro_batch
from tunery.shape import ModelShape

SMOLLM2 = {
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "intermediate_size": 1536,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}


def test_the_demo_model_has_the_parameters_its_card_names() -> None:
    assert ModelShape.from_config_json(SMOLLM2).total_parameters == 134_515_008


def test_lora_trains_what_peft_counts() -> None:
    shape = ModelShape.from_config_json(SMOLLM2)
    assert LoraConfig(rank=8).trained(shape) == 2_442_240
    assert LoraConfig(rank=8, target_modules=["q_proj", "v_proj"]).trained(shape) == 460_800


def test_full_training_needs_more_than_lora_and_freeze_lies_between() -> None:
    shape = ModelShape.from_config_json(SMOLLM2)
    need = [
        estimate(shape, Config(adapter=adapter), dtype="bf16", micro_batch_tokens=2048).total
        for adapter in (LoraConfig(), FreezeConfig(num_layers=8), FullConfig())
    ]
    assert need == sorted(need, key=lambda n: n) or need[1] < need[2]
    assert need[2] - need[0] > 1.5e9


def test_the_parts_add_up_to_the_total() -> None:
    parts = estimate(
        ModelShape.from_config_json(SMOLLM2), Config(), dtype="bf16", micro_batch_tokens=1024
    )
    assert parts.total == sum(parts.as_dict().values())


def test_the_micro_batch_shrinks_until_it_fits_and_says_when_nothing_does() -> None:
    shape = ModelShape.from_config_json(SMOLLM2)
    sizes = [
        fitting_micro_batch(
            shape, Config(), dtype="bf16", available_bytes=gib * 2**30, longest_row=512
        )
        for gib in (64, 4, 1)
    ]
    assert sizes[0] == 16 * 512
    assert sizes[1] is not None
    assert sizes[1] < sizes[0]
    assert (
        fitting_micro_batch(shape, Config(), dtype="bf16", available_bytes=2**29, longest_row=512)
        is None
    )
