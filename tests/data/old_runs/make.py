"""Runs written by the Tunery that stands on the path, and the weights that it computes.

``python make.py runs OUT``: a model, two data files and two runs (``lora``, ``full``) stopped at
step 2 of 4, and ``expected.json``, what this code's own resume makes of them at step 4.
``python make.py bits OUT.json``: the weights after five steps, one short run for each of two
methods, two adapters and two dtypes. ``python make.py resume NAME [--allow-drift FIELD]``, under a
TUNERY_HOME, continues one of the runs and prints the weights of its result.

What is in this folder was written by commit f61eaa6, in a checkout of it::

    .venv/bin/python .../tests/data/old_runs/make.py runs .../tests/data/old_runs
    .venv/bin/python .../tests/data/old_runs/make.py bits .../tests/data/old_runs/bits.json

Only the command line, the worker's module and two names of tests are used, so that the same file
runs with older and newer code. ``ENVIRONMENT`` makes the numbers independent of the processor.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import io
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "LC_ALL": "C.UTF-8",
    "TUNERY_LANG": "en",
}
HOME = "/OLD-HOME"
"""What stands for the TUNERY_HOME of the runs in every file of them."""
STOP_AT = 2
SHORT = ("--data.train", '["old-rows"]', "--train.max_steps", 4)
PARTS = ("base", "datasets", "runs")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {"type": "lora", "rank": 2, "dropout": 0.1},
    "full": {"type": "full"},
}
RATES = {"lora": 1e-2, "full": 3e-3}


def main(words: list[str]) -> int:
    """Do one of the orders above."""
    os.environ.update(ENVIRONMENT)
    match words:
        case ["runs", out]:
            write_runs(Path(out).absolute())
        case ["bits", out]:
            Path(out).write_text(json.dumps(bits(), indent=1) + "\n")
        case ["resume", name, *flags]:
            tunery("runs", "resume", name, *flags)
            print(json.dumps(weights(Path(os.environ["TUNERY_HOME"]) / "runs" / name)))
        case ["work", *arguments]:
            return work(arguments)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


def write_runs(out: Path) -> None:
    """Write model, data and both stopped runs, and what a resume makes of copies of them."""
    with home() as place:
        write_inputs(place)
        # By name: a dataset that is named by its path has another hash elsewhere.
        tunery("data", "add", "old-rows", place / "rows.jsonl")
        for name in ADAPTERS:
            os.environ["TUNERY_STOP_AT"] = str(STOP_AT)
            tunery("train", recipe(place, name), "--name", name, *SHORT)
            del os.environ["TUNERY_STOP_AT"]
        for part in PARTS:
            shutil.rmtree(out / part, ignore_errors=True)
            shutil.copytree(
                place / part, out / part, ignore=shutil.ignore_patterns("*.lock", "*.log")
            )
        shutil.copy(place / "rows.jsonl", out)
        relocate(out, str(place), HOME)
        expected = {}
        for name in ADAPTERS:
            tunery("runs", "resume", name)
            expected[name] = weights(place / "runs" / name)
        (out / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


def bits() -> dict[str, dict[str, str]]:
    """Train each kind of run for five steps; returns the hashes of its tensors by its name."""
    found = {}
    with home() as place:
        write_inputs(place)
        for method in ("sft", "pretrain"):
            for adapter in ADAPTERS:
                for dtype in ("fp32", "bf16"):
                    name = f"{method}-{adapter}-{dtype}"
                    settings = recipe(place, adapter, method=method, dtype=dtype)
                    tunery("train", settings, "--name", name, "--train.max_steps", 5, here=True)
                    found[name] = weights(place / "runs" / name)
    return found


@contextlib.contextmanager
def home() -> Iterator[Path]:
    """A TUNERY_HOME for a while."""
    with tempfile.TemporaryDirectory(prefix="tunery-made-") as folder:
        os.environ["TUNERY_HOME"] = folder
        yield Path(folder)


def write_inputs(place: Path) -> None:
    """Write a chat model of 9,000 weights and the rows of both methods."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens(
        [AddedToken(t, special=True) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    )
    words = PreTrainedTokenizerFast(
        tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    words.chat_template = CHATML
    words.save_pretrained(place / "base")
    torch.manual_seed(3)
    shape = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
    )
    LlamaForCausalLM(shape).save_pretrained(place / "base")
    asked = [("hi", "hello"), ("who are you?", "a tuna"), ("why?", "because it is so"), ("1", "2")]
    with (place / "rows.jsonl").open("w") as rows, (place / "text.jsonl").open("w") as texts:
        for i in range(12):
            question, answer = asked[i % 4]
            told = [
                {"role": "user", "content": f"{question} {i}"},
                {"role": "assistant", "content": f"{answer}, {i * 7}"},
            ]
            rows.write(json.dumps({"messages": told}) + "\n")
            texts.write(
                json.dumps({"text": f"Row {i}: {question} {answer}. " * (1 + i % 3)}) + "\n"
            )


def recipe(place: Path, adapter: str, *, method: str = "sft", dtype: str = "fp32") -> Path:
    """Write the settings of a run: several packed micro batches a step, and an evaluation."""
    data = "rows.jsonl" if method == "sft" else "text.jsonl"
    settings = {
        "model": {"name": str(place / "base"), "dtype": dtype, "device": "cpu"},
        "data": {"train": [str(place / data)], "max_length": 128},
        "method": {"type": method},
        "adapter": ADAPTERS[adapter],
        "optim": {"learning_rate": RATES[adapter], "weight_decay": 0.01},
        "train": {"batch_size": 4, "micro_batch_tokens": 128, "num_epochs": 4, "num_threads": 1},
        "evaluate": {"split": 0.2, "prompts": ["who are you?"], "max_new_tokens": 4,
                     "forgetting": adapter == "lora" and method == "sft"},
        "checkpoint": {"every": 2, "keep": 1, "every_minutes": None},
    }  # fmt: skip
    file = place / f"{method}-{adapter}-{dtype}.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    return file


def tunery(*words: object, here: bool = False) -> None:
    """Run the command line here, with every worker in the environment of this process.

    Args:
        words: What stands after ``tunery``.
        here: Fork the worker from this process, which imports torch once for all of them.
    """
    if here:
        importlib.import_module("tunery.train.session")
    local = _first("tunery.workers.local", "tunery.launch.local")
    start = local.start
    command = "argv" if "argv" in inspect.signature(start).parameters else "command"

    def started(folder: Any, **given: Any) -> int:
        words = [str(folder.path)]
        for field in given.get("allow_drift", ()):  # older code
            words += ["--allow-drift", field]
        if command in given:
            words = given[command][list(given[command]).index(words[0]) :]
        if here:
            return _forked(words)
        argv = [sys.executable, str(Path(__file__).absolute()), "work", *words]
        return start(folder, **{command: argv}, environment=dict(os.environ))

    local.start = started
    try:
        cli = importlib.import_module("tunery.cli.main")
        with contextlib.redirect_stdout(io.StringIO()) as said:
            status = cli.main([str(word) for word in words])
    except SystemExit as error:
        status = error.code
    finally:
        local.start = start
    if status != 0 and "TUNERY_STOP_AT" not in os.environ:
        raise SystemExit(f"tunery {' '.join(map(str, words))} gave {status}:\n{said.getvalue()}")


def _forked(arguments: list[str]) -> int:
    """Work in a child of this process and wait for its end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.dup2(2, 1)
            status = work(arguments)
        finally:
            os._exit(status)
    os.waitpid(pid, 0)
    return pid


def work(arguments: list[str]) -> int:
    """The worker's process; it stops itself after a step where it is told to."""
    import torch

    torch.backends.mkldnn.enabled = False  # its choice of code for bf16 asks the processor
    stop_at = os.environ.get("TUNERY_STOP_AT")
    if stop_at is not None:

        def hook(where: str, values: dict[str, Any]) -> None:
            if where == "after_step" and values["step"] == int(stop_at):
                os.kill(os.getpid(), signal.SIGTERM)

        _first("tunery.faults", "tunery.train.faults").hook = hook
    return importlib.import_module("tunery.train.worker").main(arguments)


def weights(run: Path) -> dict[str, str]:
    """SHA-256 of every tensor of a finished run's result."""
    from safetensors import safe_open

    found = {}
    for file in sorted([*run.glob("adapter/*.safetensors"), *run.glob("model/*.safetensors")]):
        with safe_open(str(file), framework="pt") as tensors:
            for name in sorted(tensors.keys()):
                tensor = tensors.get_tensor(name)
                digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)}".encode())
                digest.update(bytes(tensor.flatten().contiguous().untyped_storage()))
                found[name] = digest.hexdigest()
    if not found:
        raise SystemExit(f"{run} has no result")
    return found


def relocate(folder: Path, old: str, new: str) -> None:
    """Write another path in place of the old one below a folder, and sign the checkpoints anew."""
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".jsonl", ".yaml"):
            text = file.read_text()
            if old in text:
                file.write_text(text.replace(old, new))
    for file in folder.rglob("MANIFEST.json"):
        manifest = json.loads(file.read_text())
        for entry in manifest["files"]:
            content = (file.parent / entry["name"]).read_bytes()
            entry |= {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        del manifest["sha256"]
        plain = json.dumps(manifest, sort_keys=True).encode()
        manifest["sha256"] = hashlib.sha256(plain).hexdigest()
        file.write_text(json.dumps(manifest, indent=1))


def _first(*names: str) -> Any:
    """Import the first of these modules that this code has."""
    for name in names:
        if importlib.util.find_spec(name.rpartition(".")[0]) is not None and (
            importlib.util.find_spec(name) is not None
        ):
            return importlib.import_module(name)
    raise SystemExit(f"none of {', '.join(names)} is here")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
