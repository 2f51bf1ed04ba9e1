"""What TRL 1.16's RewardTrainer says of one batch; run after make.py, in the same environment.

    python tests/data/trl/make_reward.py

Reads ``base.safetensors`` and ``lora.safetensors``; writes ``reward.json`` and
``reward.safetensors`` (the head's weights and the gradients) beside itself, which
tests/train/test_reward.py compares with.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import make
import torch
from datasets import Dataset
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForSequenceClassification
from trl import RewardConfig, RewardTrainer

HERE = Path(__file__).parent
MARGINS = [0.5, 0.0, 1.25]
CASES: list[dict[str, Any]] = [
    {"adapter": "lora"},
    {"adapter": "lora", "margins": MARGINS},
    {"adapter": "lora", "margins": MARGINS, "center_rewards_coefficient": 0.3},
    {"adapter": "full", "margins": MARGINS, "center_rewards_coefficient": 0.01},
]


def main() -> None:
    generator = torch.Generator().manual_seed(3)
    score = torch.randn(1, make.SHAPE["hidden_size"], generator=generator) * 0.3
    kept: dict[str, torch.Tensor] = {"score": score}
    cases: list[dict[str, Any]] = []
    for i, case in enumerate(CASES):
        found, gradients = reward(score, **case)
        cases.append(found)
        kept |= {f"{i}/{name}": gradient for name, gradient in gradients.items()}
    save_file(kept, HERE / "reward.safetensors")
    (HERE / "reward.safetensors").chmod(0o644)
    lines = ",\n".join(json.dumps(case) for case in cases)
    (HERE / "reward.json").write_text(f"[\n{lines}\n]\n")


def reward(
    score: torch.Tensor, *, adapter: str, margins: list[float] | None = None, **settings: Any
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    model = LlamaForSequenceClassification(LlamaConfig(**make.SHAPE, num_labels=1, pad_token_id=0))
    model.load_state_dict(load_file(HERE / "base.safetensors"), strict=False)
    with torch.no_grad():
        model.score.weight.copy_(score)
    lora = {**make.LORA, "task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    with tempfile.TemporaryDirectory() as folder:
        args = {**make.common(), "output_dir": folder}
        trainer = RewardTrainer(
            model=model,
            args=RewardConfig(**settings, **args),
            train_dataset=Dataset.from_dict({"chosen": ["w6"] * 4, "rejected": ["w7"] * 4}),
            processing_class=make.words(),
            peft_config=LoraConfig(**lora) if adapter == "lora" else None,
        )
    if adapter == "lora":
        own = {"base_model.model.score.weight": score, **load_file(HERE / "lora.safetensors")}
        set_peft_model_state_dict(trainer.model, own)
    rows = [(p, good) for p, good, _ in make.PAIRS] + [(p, bad) for p, _, bad in make.PAIRS]
    batch = {key: value for key, value in make.padded(rows).items() if key != "completion_mask"}
    if margins is not None:
        batch["margin"] = torch.tensor(margins)
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    shown = {key: value[-1] for key, value in trainer._metrics["train"].items()}
    wanted = ("lora_", "score") if adapter == "lora" else (*make.FEW, "score")
    gradients = {
        name.replace(".default", ""): parameter.grad.contiguous()
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None and any(part in name for part in wanted)
    }
    told = {"adapter": adapter, "margins": margins, **settings}
    return {**told, "loss": float(loss), "metrics": shown}, gradients


if __name__ == "__main__":
    main()
