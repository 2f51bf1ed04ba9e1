"""What TRL 1.16 says of two models' logits: the loss and the gradient of distillation.

    python tests/data/trl/make_distill.py

Run in an environment with trl. Writes ``distill.json`` beside itself, which
tests/train/test_distill.py compares with. TRL's beta 0 is the forward KL, 1 the reverse.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from trl.experimental.gkd import GKDTrainer

HERE = Path(__file__).parent
CASES = [(0.0, 1.0), (0.0, 2.0), (1.0, 1.0), (1.0, 0.5), (0.5, 1.0), (0.1, 0.9), (0.8, 3.0)]


def case(beta: float, temperature: float) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(round(100 * beta + temperature))
    student, teacher = (3 * torch.randn(5, 17, generator=generator) for _ in range(2))
    student.requires_grad_()
    loss = GKDTrainer.generalized_jsd_loss(
        student[None], teacher[None], torch.zeros(1, 5, dtype=torch.long),
        beta=beta, temperature=temperature,
    )  # fmt: skip
    loss.backward()
    assert student.grad is not None
    return {
        "beta": beta, "temperature": temperature, "loss": float(loss.detach()),
        "student": student.tolist(), "teacher": teacher.tolist(), "gradient": student.grad.tolist(),
    }  # fmt: skip


if __name__ == "__main__":
    found = [case(*each) for each in CASES]
    (HERE / "distill.json").write_text(json.dumps(found) + "\n")
