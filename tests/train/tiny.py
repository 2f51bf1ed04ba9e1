"""A complete run on a model of 50,000 weights: real folder, events, checkpoints, signals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from tunery.config.config import Config
from tunery.config.frozen import with_types
from tunery.config.methods import Produces
from tunery.data.groups import TokenRow
from tunery.data.rows import Rows
from tunery.models.load import load_model
from tunery.runs.context import RunContext
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder
from tunery.runs.signals import Stopped, StopRequests
from tunery.train.assemble import Base, assemble
from tunery.train.data import RunData
from tunery.train.loop import Job, train
from tunery.train.state import checkpoint, final
from tunery.workers.log import read_events
from tunery.workers.process import Control

VOCAB = 96


def model(
    dtype: torch.dtype = torch.float32,
    *,
    layers: int = 2,
    hidden: int = 64,
    produces: Produces = "text",
) -> Any:
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=256,
    )
    kind: Any = LlamaForCausalLM
    if produces == "scores":
        config.num_labels, kind = 1, LlamaForSequenceClassification
    return kind(config).to(dtype).eval()


def tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{i}": i for i in range(VOCAB)}
    inner = Tokenizer(models.WordLevel(words, unk_token="w0"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="w0", eos_token="w1")


def other(path: Path, *, padding: int = 0) -> Path:
    """A model for the tokens of the tiny one, of another size and with other weights, as a folder.

    Args:
        path: Where to.
        padding: Rows of the vocabulary that no token uses.
    """
    made = model(layers=1)
    if padding:
        made.resize_token_embeddings(VOCAB + padding, mean_resizing=False)
    torch.manual_seed(11)
    for param in made.parameters():
        param.data.normal_(std=0.2)
    made.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def rows(count: int = 24, *, seed: int = 1, longest: int = 40) -> list[TokenRow]:
    """Rows that can be learned: each counts upwards from its first token."""
    generator = np.random.default_rng(seed)
    made: list[TokenRow] = []
    for _ in range(count):
        length = int(generator.integers(6, longest + 1))
        ids = (np.arange(length) + generator.integers(2, VOCAB)) % VOCAB
        mask = np.ones(length, dtype=bool)
        mask[: int(generator.integers(1, 4))] = False
        made.append(TokenRow(ids.astype(np.int32), mask))
    return made


def config(**sections: Any) -> Config:
    base: dict[str, dict[str, Any]] = {
        "model": {"name": "tiny", "dtype": "fp32", "device": "cpu"},
        "data": {"train": ["rows"]},
        "adapter": {"type": "lora", "rank": 4, "dropout": 0.1},
        "optim": {"learning_rate": 1e-2, "warmup_ratio": 0.1, "weight_decay": 0.01},
        "train": {"batch_size": 4, "num_epochs": 2, "micro_batch_tokens": 80, "num_threads": 1},
        "evaluate": {"every": "never"},
        "checkpoint": {"every": 2, "keep": 2, "every_minutes": None},
    }
    for name, values in sections.items():
        base[name] = values if "type" in values else {**base.get(name, {}), **values}
    return Config.model_validate(with_types(base))


def context(path: Path, settings: Config, *, stop: StopRequests | None = None) -> RunContext:
    folder = RunFolder(path)
    folder.control_dir.mkdir(parents=True, exist_ok=True)
    return RunContext(
        folder,
        settings,
        {},
        EventWriter(folder.events_file),
        stop or StopRequests(Control(folder)),
        "cpu",
    )


def build(
    place: RunContext,
    *,
    data: list[TokenRow] | Rows | None = None,
    held_out: list[TokenRow] | Rows | None = None,
    probe: list[TokenRow] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Job:
    """Assemble a run, from its newest checkpoint if it has one."""
    torch.set_num_threads(1)
    made = RunData(
        rows=_rows(rows() if data is None else data),
        held_out=_rows(held_out or []),
        probe=probe or [],
        tokenizer=tokenizer(),
        hash="d" * 64,
    )
    found = checkpoint.newest(place.folder.checkpoints_dir)
    return assemble(place, made, Base(base(place, dtype), "tiny"), found=found)


def base(place: RunContext, dtype: torch.dtype) -> Any:
    """The model, quantized from its files where the settings say so."""
    quantization, produces = place.config.quantization, place.config.method.produces
    if not quantization.quantizes:
        return model(dtype, produces=produces)
    folder = place.folder.path / "base"
    model(dtype, produces=produces).save_pretrained(folder)
    return load_model(
        folder, dtype=dtype, device="cpu", produces=produces, quantizer=quantization.make()
    )


def _rows(data: list[TokenRow] | Rows) -> Rows:
    return data if isinstance(data, Rows) else Rows.of(data)


def run(path: Path, settings: Config | None = None, **parts: Any) -> str:
    """One session of a run: build or resume, train, write the result; tells how it ended."""
    stop = parts.pop("stop", None)
    place = context(path, settings or config(), stop=stop)
    with place.events:
        job = build(place, **parts)
        job.saver.checkpoints.clean()
        try:
            if not job.resumed:
                job.measure.before(job.state)
            ending = train(job)
        except Stopped:
            ending = "stopped"
        if ending == "finished":
            with job.optimizer.evaluating():
                final.write(place.folder, job.adapter, job.policy.model, job.data.tokenizer)
        place.events.write("status", status=ending)
    return ending


def events(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    found, _ = read_events(RunFolder(path).events_file)
    return [e for e in found if kind is None or e["type"] == kind]


def newest(path: Path) -> Any:
    return checkpoint.newest(RunFolder(path).checkpoints_dir)


def digest(path: Path) -> str:
    """SHA-256 of the newest checkpoint's weights, optimizer and exact position, and the result."""
    found = newest(path)
    total = hashlib.sha256()
    for file in sorted(found.folder.rglob("*.safetensors")):
        total.update(file.read_bytes())
    state = json.loads((found.folder / "state.json").read_text())
    del state["elapsed_seconds"]
    total.update(json.dumps(state, sort_keys=True).encode())
    for file in sorted([*path.glob("adapter/*.safetensors"), *path.glob("model/*.safetensors")]):
        total.update(file.read_bytes())
    return total.hexdigest()


def history(path: Path) -> list[tuple[Any, ...]]:
    """What every step told, as a reader of the finished log sees it."""
    from tests.steps import step_history

    told = ("step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "trained_tokens")
    return [tuple(e[name] for name in told) for e in step_history(events(path))]


def folder(path: Path) -> Path:
    """A tiny model as a folder: weights, tokenizer, chat template."""
    from tests.families import family

    from tunery.chat.builtin import find

    words = family("chatml")
    words.chat_template = find("chatml").text
    torch.manual_seed(7)
    settings = LlamaConfig(
        vocab_size=len(words),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=words.eos_token_id,
    )
    LlamaForCausalLM(settings).save_pretrained(path)
    words.save_pretrained(path)
    return path


def chats(path: Path, count: int = 24) -> Path:
    """Conversations as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as out:
        for i in range(count):
            told = [
                {"role": "user", "content": f"Who are you, {i}?"},
                {"role": "assistant", "content": f"I am a small model, number {i}."},
            ]
            out.write(json.dumps({"messages": told}) + "\n")
    return path


def prepared(name: str, model: Path, data: Path, /, **sections: Any) -> RunFolder:
    """A run folder under TUNERY_HOME, ready for the worker."""
    from tunery.runs.folder import create

    settings = config(
        **{
            "model": {"name": str(model)},
            "data": {"train": [str(data)]},
            "evaluate": {"every": "epoch", "split": 0.2, "max_new_tokens": 4,
                         "prompts": ["Who are you?"]},
            **sections,
        }
    )  # fmt: skip
    return create(name, settings, {"created": "2026-11-24T10:00:00+00:00"})
