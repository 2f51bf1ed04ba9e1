"""What TRL 1.16 says of one batch: losses, rewards, gradients. Run in an environment with trl.

    python tests/data/trl/make.py

Writes ``base.safetensors`` (a Llama of 20,000 weights), ``lora.safetensors`` (an adapter that is
not zero), ``gradients.safetensors`` and ``numbers.json`` beside itself, which
tests/train/test_preferences.py compares with.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

HERE = Path(__file__).parent
VOCAB = 96
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
    "max_position_embeddings": 128,
}
LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
PAIRS = [
    ([5, 6, 7, 8], [20, 21, 22], [30, 31, 32, 33, 34]),
    ([9, 10], [40, 41, 42, 43], [44, 45]),
    ([11, 12, 13, 14, 15, 16], [50], [51, 52, 53]),
]
LABELLED = [
    ([5, 6, 7, 8], [20, 21, 22], True),
    ([9, 10], [40, 41, 42, 43], False),
    ([11, 12, 13], [50, 51], True),
    ([14, 15, 16, 17], [60, 61, 62, 63, 64], False),
]

SHORT_PAIRS = [([prompt[0]], good, bad) for prompt, good, bad in PAIRS]
FAMILY: list[dict[str, Any]] = [
    *({"beta": 0.3, "loss_type": [name]} for name in (
        "sigmoid_norm", "hinge", "ipo", "nca_pair", "bco_pair", "sppo_hard", "apo_zero",
        "apo_down", "aot", "aot_unpaired", "discopop",
    )),
    *({"beta": 0.3, "loss_type": [name], "label_smoothing": 0.2} for name in (
        "robust", "exo_pair", "aot", "aot_unpaired",
    )),
    {"beta": 0.3, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]},
    {"beta": 0.3, "loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]},
    *({"beta": 0.3, "f_divergence_type": name} for name in (
        "forward_kl", "js_divergence", "alpha_divergence",
    )),
    {"beta": 0.3, "loss_type": ["ipo"], "f_divergence_type": "alpha_divergence",
     "f_alpha_divergence_coef": 0.2},
    {"beta": 0.3, "ld_alpha": 0.4},
    {"beta": 0.3, "use_weighting": True},
    {"beta": 0.3, "use_weighting": True, "loss_type": ["apo_zero"]},
]  # fmt: skip
CPO: list[dict[str, Any]] = [
    {"beta": 0.1, "cpo_alpha": 1.0},
    {"beta": 0.4, "cpo_alpha": 0.5, "label_smoothing": 0.2},
    {"beta": 0.4, "cpo_alpha": 1.0, "loss_type": "hinge"},
    {"beta": 0.4, "cpo_alpha": 0.0, "loss_type": "ipo"},
]
SIMPO: list[dict[str, Any]] = [
    {"beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0},
    {"beta": 2.5, "simpo_gamma": 0.5, "cpo_alpha": 0.5, "label_smoothing": 0.1},
]
OURS = {"cpo_alpha": "sft_weight", "simpo_gamma": "gamma"}
FEW = ("layers.0.self_attn.q_proj", "layers.1.mlp.down_proj")
"""Matrices whose gradients are kept of the cases after the first two."""


def main() -> None:
    torch.manual_seed(7)
    base = LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()
    with torch.no_grad():
        for parameter in base.parameters():  # at the usual 0.02 every token is as likely
            if parameter.dim() == 2:
                parameter.mul_(6.0)
    state = {k: v.contiguous() for k, v in base.state_dict().items() if k != "lm_head.weight"}
    save_file(state, HERE / "base.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        base.save_pretrained(folder)
        words().save_pretrained(folder)
        numbers = {
            "shape": SHAPE,
            "lora": LORA,
            "pairs": PAIRS,
            "labelled": LABELLED,
            "dpo": [
                dpo(folder, beta=0.1),
                dpo(folder, beta=0.5),
                *(dpo(folder, **case) for case in FAMILY),
            ],
            "orpo": [orpo(folder, beta=0.1), orpo(folder, beta=0.5)],
            "cpo": [cpo(folder, **case) for case in CPO],
            "simpo": [cpo(folder, loss_type="simpo", **case) for case in SIMPO],
            "kto": [
                kto(folder, 0.1, 1.0, 1.0),
                kto(folder, 0.3, 1.5, 0.7),
                kto(folder, 0.3, 1.5, 0.7, loss_type="apo_zero_unpaired"),
            ],
        }
    kept: dict[str, torch.Tensor] = {}
    for method in ("dpo", "kto", "orpo", "cpo", "simpo"):
        for i, case in enumerate(numbers[method]):
            for name, gradient in case.pop("gradients").items():
                if (method in ("dpo", "kto") and i < 2) or any(part in name for part in FEW):
                    kept[f"{method}{i}/{name}"] = gradient
    save_file(kept, HERE / "gradients.safetensors")
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in numbers.items()]
    (HERE / "numbers.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    for file in HERE.glob("*.safetensors"):
        file.chmod(0o644)


def dpo(folder: str, **settings: Any) -> dict[str, Any]:
    rows = {"prompt": ["w5"] * 4, "chosen": ["w6"] * 4, "rejected": ["w7"] * 4}
    trainer = DPOTrainer(
        model=folder,
        args=DPOConfig(**settings, **common()),
        train_dataset=Dataset.from_dict(rows),
        processing_class=words(),
        peft_config=LoraConfig(**LORA),
    )
    adapt(trainer.model)
    chosen = [(prompt, good) for prompt, good, _ in PAIRS]
    rejected = [(prompt, bad) for prompt, _, bad in PAIRS]
    loss = run(trainer, padded([*chosen, *rejected]))
    shown = {key: value[-1] for key, value in trainer._metrics["train"].items()}
    return {**settings, "loss": loss, "metrics": shown,
            "gradients": gradients(trainer.model)}  # fmt: skip


def orpo(folder: str, **settings: Any) -> dict[str, Any]:
    """TRL counts the prompt in the SFT term; a prompt of one token adds nothing to it."""
    args = ORPOConfig(**settings, **common())
    return reference_free(folder, ORPOTrainer, args, settings, SHORT_PAIRS)


def cpo(folder: str, **settings: Any) -> dict[str, Any]:
    args = CPOConfig(**settings, **common())
    ours = {OURS.get(name, name): value for name, value in settings.items() if value != "simpo"}
    return reference_free(folder, CPOTrainer, args, ours, PAIRS)


def reference_free(
    folder: str, kind: Any, args: Any, settings: dict[str, Any], pairs: list[Any]
) -> dict[str, Any]:
    rows = {"prompt": ["w5"] * 4, "chosen": ["w6"] * 4, "rejected": ["w7"] * 4}
    trainer = kind(
        model=LlamaForCausalLM.from_pretrained(folder),
        args=args,
        train_dataset=Dataset.from_dict(rows),
        processing_class=words(),
        peft_config=LoraConfig(**LORA),
    )
    adapt(trainer.model)
    batch = {}
    for side, place in (("chosen", 1), ("rejected", 2)):
        found = padded([(pair[0], pair[place]) for pair in pairs])
        batch[f"{side}_input_ids"] = found["input_ids"]
        batch[f"{side}_attention_mask"] = found["attention_mask"]
        batch[f"{side}_labels"] = found["input_ids"].masked_fill(
            found["completion_mask"] == 0, -100
        )
    trainer.model.train()
    trainer.model.zero_grad()
    loss, shown = trainer.get_batch_loss_metrics(trainer.model, batch, "train")
    loss.backward()
    shown = {key: float(value) for key, value in shown.items()}
    return {**settings, "loss": float(loss), "metrics": shown,
            "gradients": gradients(trainer.model)}  # fmt: skip


def kto(folder: str, beta: float, good: float, bad: float, **settings: Any) -> dict[str, Any]:
    rows = {"prompt": ["w5"] * 4, "completion": ["w6"] * 4, "label": [True, False] * 2}
    trainer = KTOTrainer(
        model=folder,
        args=KTOConfig(
            beta=beta,
            desirable_weight=good,
            undesirable_weight=bad,
            train_sampling_strategy="sequential",
            **settings,
            **common(),
        ),
        train_dataset=Dataset.from_dict(rows),
        processing_class=words(),
        peft_config=LoraConfig(**LORA),
    )
    adapt(trainer.model)
    answers = [answer for _, answer, _ in LABELLED]
    mismatched = [
        (prompt, answers[i - 1]) for i, (prompt, _, _) in enumerate(LABELLED)
    ]  # TRL: [last, *the others]
    batch = padded([(prompt, answer) for prompt, answer, _ in LABELLED])
    batch |= {f"KL_{key}": value for key, value in padded(mismatched).items()}
    batch["label"] = torch.tensor([label for _, _, label in LABELLED])
    loss = run(trainer, batch)
    shown = {key: value[-1] for key, value in trainer._metrics["train"].items()}
    return {"beta": beta, "desirable_weight": good, "undesirable_weight": bad, **settings,
            "loss": loss, "metrics": shown, "gradients": gradients(trainer.model)}  # fmt: skip


def common() -> dict[str, Any]:
    return {
        "output_dir": tempfile.mkdtemp(),
        "report_to": [],
        "per_device_train_batch_size": 4,
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": True,
    }


def adapt(model: Any) -> None:
    """Give the adapter the same weights each time, none of them zero; keep them once."""
    torch.manual_seed(11)
    own = {name: p for name, p in model.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for name in sorted(own):
            own[name].copy_(torch.randn(own[name].shape) * 0.2)
    file = HERE / "lora.safetensors"
    if not file.exists():
        kept = get_peft_model_state_dict(model, save_embedding_layers=False)
        save_file({name: value.contiguous() for name, value in kept.items()}, file)


def run(trainer: Any, batch: dict[str, torch.Tensor]) -> float:
    trainer.model.train()
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch, return_outputs=False)
    loss.backward()
    return float(loss)


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """The gradient of each adapter matrix, by its name in PEFT's files."""
    return {
        name.replace(".default", ""): parameter.grad.contiguous()
        for name, parameter in model.named_parameters()
        if "lora_" in name
    }


def padded(rows: list[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    made: dict[str, list[list[int]]] = {
        "input_ids": [],
        "attention_mask": [],
        "completion_mask": [],
    }
    for prompt, answer in rows:
        rest = longest - len(prompt) - len(answer)
        made["input_ids"].append([*prompt, *answer, *[0] * rest])
        made["attention_mask"].append([1] * (longest - rest) + [0] * rest)
        made["completion_mask"].append([0] * len(prompt) + [1] * len(answer) + [0] * rest)
    return {key: torch.tensor(value) for key, value in made.items()}


def words() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCAB)}, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="w0", eos_token="w1", pad_token="w0"
    )


if __name__ == "__main__":
    main()
