"""What TRL 1.16 says of DFT on one batch: loss and gradients. Run in an environment with trl.

    python tests/data/trl/make_sft.py

Reads the model that ``make.py`` wrote; writes ``sft.json`` and ``sft.safetensors`` beside itself,
which tests/train/test_sft_losses.py compares with.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, fingerprint
from make import common, gradients, padded, words
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

HERE = Path(__file__).parent
NUMBERS = json.loads((HERE / "numbers.json").read_text())


def main() -> None:
    # Nothing is cached here, and dill cannot pickle the types of every version of pyarrow.
    count = itertools.count()
    fingerprint.Hasher.hash = classmethod(lambda _kind, _value: f"{next(count):016x}")
    base: Any = LlamaForCausalLM(LlamaConfig(**NUMBERS["shape"]))
    base.load_state_dict(load_file(HERE / "base.safetensors"), strict=False)
    base.tie_weights()
    with tempfile.TemporaryDirectory() as folder:
        base.save_pretrained(folder)
        base = LlamaForCausalLM.from_pretrained(folder)  # TRL reads where it came from
        model: Any = get_peft_model(base, LoraConfig(**NUMBERS["lora"]))
        trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                loss_type="dft", dataset_kwargs={"skip_prepare_dataset": True}, **common()
            ),
            train_dataset=Dataset.from_dict({"input_ids": [[5, 6]] * 4}),
            processing_class=words(),
        )
        model = trainer.model
        set_peft_model_state_dict(model, load_file(HERE / "lora.safetensors"))
        batch = padded([(prompt, answer) for prompt, answer, _ in NUMBERS["labelled"]])
        labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
        model.train()
        model.zero_grad()
        loss = trainer.compute_loss(model, {**batch, "labels": labels})
        loss.backward()
    save_file(gradients(model), HERE / "sft.safetensors")
    (HERE / "sft.safetensors").chmod(0o644)
    (HERE / "sft.json").write_text(json.dumps({"dft": float(loss.detach())}) + "\n")


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
