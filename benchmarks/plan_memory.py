"""Compare the memory that `tunery plan` predicts with what `tunery plan --measure` measures.

    python benchmarks/plan_memory.py                   all settings, on the demo model
    python benchmarks/plan_memory.py --only nf4 full   those whose name contains one of these words

For each setting the plan's own process loads the model and takes steps on the longest rows; the
peak it saw is set beside the sum of the predicted parts. A positive error predicts too much.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LONG, SHORT = 380, 60
"""Words of an answer; a word is a little more than a token."""
NO_EVALUATION = ("--evaluate.every", "never", "--evaluate.forgetting", "false")
SETTINGS: dict[str, tuple[int, str]] = {
    "lora short": (SHORT, ""),
    "lora long": (LONG, ""),
    "lora long, checkpointing": (LONG, "--train.gradient_checkpointing true"),
    "lora long, bf16": (LONG, "--model.dtype bf16"),
    "lora rank 64": (SHORT, "--adapter.rank 64"),
    "dora": (SHORT, "--adapter.use_dora true"),
    "lora with dropout": (SHORT, "--adapter.dropout 0.1"),
    "freeze": (SHORT, "--adapter.type freeze"),
    "full short": (SHORT, "--adapter.type full"),
    "full long": (LONG, "--adapter.type full"),
    "full, adafactor": (SHORT, "--adapter.type full --optim.type adafactor"),
    "nf4 short": (SHORT, "--quantization.type nf4"),
    "nf4 long": (LONG, "--quantization.type nf4"),
    "int8 weights": (SHORT, "--quantization.type int8_weight_only"),
    "dpo": (SHORT, "--method.type dpo"),
    "orpo long": (LONG, "--method.type orpo"),
    "reward": (SHORT, "--method.type reward"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=[], help="words of the settings to run")
    chosen = parser.parse_args().only
    print(f"| {'setting':26} | predicted, MiB | measured, MiB | error |\n|---|---|---|---|")
    errors: list[float] = []
    with tempfile.TemporaryDirectory(prefix="plan-memory-") as place:
        for name, (words, flags) in SETTINGS.items():
            if chosen and not any(word in name for word in chosen):
                continue
            rows = Path(place) / f"rows-{words}.jsonl"
            pairs = Path(place) / f"pairs-{words}.jsonl"
            if not rows.exists():
                write(rows, pairs, words)
            paired = any(kind in flags for kind in ("dpo", "orpo", "reward"))
            plan = planned(pairs if paired else rows, flags.split())
            parts = plan["memory"]
            predicted = sum(
                size
                for part, size in parts.items()
                if part not in ("total", "measured", "available")
            )
            error = predicted / parts["total"] - 1
            errors.append(abs(error))
            print(
                f"| {name:26} | {predicted / 2**20:14,.0f} | {parts['total'] / 2**20:13,.0f} "
                f"| {error:+5.0%} |",
                flush=True,
            )
    print(f"\nmean error {sum(errors) / len(errors):.0%}, largest {max(errors):.0%}")


def planned(data: Path, flags: list[str]) -> dict[str, Any]:
    words = ["plan", "--data.train", str(data), "--train.batch_size", "8", *NO_EVALUATION, *flags]
    done = subprocess.run(
        [sys.executable, "-m", "tunery", *words, "--measure", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TUNERY_LANGUAGE": "en"},
    )
    if done.returncode not in (0, 1) or not done.stdout:
        sys.exit(f"tunery {' '.join(words)}: {done.stderr}")
    return json.loads(done.stdout)


def write(rows: Path, pairs: Path, words: int) -> None:
    """Conversations and pairs of answers, all about equally long."""
    generator = random.Random(words)
    with rows.open("w") as plain, pairs.open("w") as paired:
        for number in range(24):
            asked, chosen, rejected = (
                " ".join(generator.choices(TEXT.split(), k=count)) for count in (12, words, words)
            )
            row = {"instruction": f"{asked} {number}", "output": chosen}
            plain.write(json.dumps(row) + "\n")
            sides = {"prompt": row["instruction"], "chosen": chosen, "rejected": rejected}
            paired.write(json.dumps(sides) + "\n")


TEXT = (
    "the river runs under an old bridge and carries leaves from the hills to the sea while people "
    "walk home in the evening light and talk about bread weather music numbers and small repairs"
)

if __name__ == "__main__":
    main()
