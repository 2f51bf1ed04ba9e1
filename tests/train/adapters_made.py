"""Adapters for tests: random but alive, so that activating one changes what the model says."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


def adapter(base: Path, path: Path, *, seed: int = 1, **settings: Any) -> Path:
    """Make a LoRA adapter folder for a base model folder."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wanted = {"r": 4, "lora_alpha": 16, "target_modules": "all-linear", **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # tied layers: what the tests are about
        made = get_peft_model(
            model, LoraConfig(init_lora_weights=False, task_type="CAUSAL_LM", **wanted)
        )
        made.save_pretrained(path, save_embedding_layers=False)
    file = path / "adapter_config.json"
    config = json.loads(file.read_text())
    config["base_model_name_or_path"] = str(base)
    file.write_text(json.dumps(config))
    return path


def livelier(base: Path, factor: float = 6.0) -> Path:
    """Scale a fresh model's weights, which would else say one token for ever."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(factor)
    model.save_pretrained(base)
    return base


def slow(base: Path, path: Path, *, layers: int = 48) -> Path:
    """A deep copy of a folder's shape: thin, but slow enough that a person can stop an answer."""
    config = AutoConfig.from_pretrained(base, num_hidden_layers=layers)
    config.layer_types = None
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(config).save_pretrained(path)
    AutoTokenizer.from_pretrained(base).save_pretrained(path)
    return path
