"""The models of this machine as the page shows them: what each needs, and what fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunery import env, memory
from tunery.config.adapters import ADAPTERS
from tunery.config.base import tag
from tunery.config.config import Config
from tunery.errors import ModelError
from tunery.models import demo, files
from tunery.models.memory import estimate
from tunery.models.resolve import resolve
from tunery.runs.folder import RunFolder, names
from tunery.services import machine
from tunery.services.models import _folders
from tunery.shape import ModelShape

FIT_TOKENS = 1024
MOST_SUGGESTED = 3


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A model recommended for beginners.

    Args:
        name: The hub id.
        num_parameters: Its number of parameters.
        fetch_bytes: Its download size.
        languages: The languages it supports.
    """

    name: str
    num_parameters: int
    fetch_bytes: int
    languages: str


SUGGESTIONS = (
    Suggestion("Qwen/Qwen3-4B", 4_022_000_000, 8_060_000_000, "zh, en"),
    Suggestion("Qwen/Qwen3-1.7B", 2_032_000_000, 4_080_000_000, "zh, en"),
    Suggestion("Qwen/Qwen3-0.6B", 752_000_000, 1_520_000_000, "zh, en"),
    Suggestion("Qwen/Qwen2.5-0.5B-Instruct", 494_000_000, 1_000_000_000, "zh, en"),
    Suggestion("HuggingFaceTB/SmolLM2-360M-Instruct", 362_000_000, 730_000_000, "en"),
)


def overview() -> list[dict[str, Any]]:
    """Every model here, its runs, and whether a LoRA and a full step fit into memory (in bytes).

    The demo model is always listed; ``here`` tells whether it must be downloaded first.
    """
    room = memory_bytes()
    by_model = _runs_by_model()
    return [
        {
            **entry,
            "fits": _fits(entry, room),
            "chat_template": _has_template(entry),
            "runs": sorted({*by_model.get(entry["name"], ()), *by_model.get(entry["path"], ())}),
            "fetch_bytes": demo.WHEEL_BYTES if entry["kind"] == "demo" else 0,
        }
        for entry in _folders.known()
    ]


def suggestions() -> list[Suggestion]:
    """Up to three models that can be trained on this machine with LoRA, largest first."""
    room = memory_bytes()
    fitting = [s for s in SUGGESTIONS if s.num_parameters * 2.6 + 10**9 < room]
    return (fitting or list(SUGGESTIONS[-MOST_SUGGESTED:]))[:MOST_SUGGESTED]


def memory_bytes() -> int:
    """Memory of the device that would train: the largest GPU, else main memory."""
    gpus = machine.gpus()
    return max((gpu.total_bytes for gpu in gpus), default=0) or memory.total_bytes()


def _fits(entry: dict[str, Any], room: int) -> list[dict[str, Any]] | None:
    """Roughly how many bytes a step needs per adapter, and whether this machine has them."""
    if not entry["ok"]:
        return None
    try:
        folder = resolve(entry["name"]).model_folder
        config = files.read_json(folder / files.CONFIG)
        shape = ModelShape.from_config_json(config, total_parameters=entry["num_parameters"])
    except ModelError:
        return None
    found: list[dict[str, Any]] = []
    for kind in ADAPTERS:
        config = Config(adapter=kind())
        need = estimate(shape, config, dtype="bf16", micro_batch_tokens=FIT_TOKENS).total
        found.append({"adapter": tag(kind), "bytes": need, "fits": need <= room})
    return found


def _has_template(entry: dict[str, Any]) -> bool:
    return bool(entry["ok"] and resolve(entry["name"]).chat_template)


def _runs_by_model() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run in names():
        model = str(RunFolder(env.runs_dir() / run).card().get("model") or "")
        found.setdefault(model, []).append(run)
    return found
