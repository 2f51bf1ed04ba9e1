"""Export: whole or absent, and equal to what was trained, in both formats."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file, save_file
from tests.train import tiny
from tests.train.adapters_made import adapter, livelier
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunery import env, faults
from tunery.cli.main import main
from tunery.config.config import Config
from tunery.errors import ExportError, TuneryError, UnknownName
from tunery.export.parity import NUM_PROMPTS
from tunery.runs.folder import RunFolder, create
from tunery.runs.manifest import write_manifest
from tunery.services.export import _exporting, export
from tunery.services.export._exporting import REPORT


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return livelier(tiny.folder(tmp_path_factory.mktemp("base")), 4.0)


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return adapter(base, tmp_path_factory.mktemp("adapters") / "plain")


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., None]], None]:
    return lambda function: monkeypatch.setattr(faults, "hook", function)


def run_folder(name: str, model: str, weights: Path | None, *, kind: str = "adapter") -> RunFolder:
    config = tiny.config(model={"name": model, "dtype": "fp32", "device": "cpu"})
    if kind == "model":
        config = tiny.config(model={"name": model}, adapter={"type": "full"})
    assert isinstance(config, Config)
    run = create(name, config, {"created": "2026-11-24T10:00:00+00:00"})
    if weights is not None:
        step = run.checkpoint_dir(3)
        step.mkdir()
        copy_folder(weights, step / kind)
        write_manifest(step, step=3, config_hash="c", data_hash="d", run=name, versions={})
    return run


def copy_folder(source: Path, target: Path) -> None:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_merged_model_is_equal_and_plain_transformers_opens_it(base, trained, tmp_path):
    done = export(str(trained), tmp_path / "out", to="merged", dtype="fp32")
    parity = done.report["parity"]
    assert parity["same_answers"] + parity["near_ties"] == parity["num_prompts"] == 20
    assert parity["mean_kl"] < 1e-6 < 1e-2 < parity["moved_kl"]
    assert json.loads((done.folder / REPORT).read_text())["parity"] == parity
    model = AutoModelForCausalLM.from_pretrained(done.folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    assert "base_model: " in (done.folder / "README.md").read_text()
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], add_generation_prompt=True, return_tensors="pt",
        return_dict=True,
    )["input_ids"]  # fmt: skip
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), trained).eval()
    with torch.inference_mode():
        assert torch.allclose(model(ids).logits, beside(ids).logits, atol=1e-3)
    assert {file["name"] for file in done.report["files"]} == set(left_in(done.folder)) - {REPORT}


def test_the_change_is_added_in_fp32_and_rounded_once(base, trained, tmp_path):
    done = export(str(trained), tmp_path / "out", to="merged", dtype="bf16")
    merged = load_file(done.folder / "model.safetensors")
    before = load_file(base / "model.safetensors")
    lora = load_file(trained / "adapter_model.safetensors")
    scale = 16 / 4
    changed = 0
    for name, weight in merged.items():
        assert weight.dtype == torch.bfloat16
        a = lora.get(f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight")
        expected = before[name].bfloat16()
        if a is not None:
            b = lora[f"base_model.model.{name.removesuffix('.weight')}.lora_B.weight"]
            expected = (expected.float() + (b @ a) * scale).bfloat16()
            changed += 1
        assert torch.equal(weight, expected), name
    assert changed == 14


def test_an_adapter_keeps_its_weights_and_names_a_base_that_others_find(base, trained, tmp_path):
    done = export(str(trained), tmp_path / "out", to="adapter")
    name = "adapter_model.safetensors"
    assert (done.folder / name).read_bytes() == (trained / name).read_bytes()
    assert done.report["parity"]["same_answers"] == 20
    assert done.report["parity"]["max_logit_difference"] == 0
    AutoPeftModelForCausalLM.from_pretrained(done.folder)
    assert AutoTokenizer.from_pretrained(done.folder).chat_template
    assert (done.folder / name).stat().st_mode & 0o777 == 0o666 & ~_umask()
    again = export(str(done.folder), tmp_path / "again", to="merged")
    assert again.report["base"] == str(base)


@pytest.mark.parametrize("targets", ["lm_head", "embed_tokens", "both"])
def test_a_tied_output_layer_that_the_adapter_changes_is_parted_from_the_embedding(
    targets, base, tmp_path
):
    folder = tmp_path / "tied"
    model = AutoModelForCausalLM.from_pretrained(base)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    names = ["lm_head", "embed_tokens"] if targets == "both" else [targets]
    made = adapter(folder, tmp_path / "adapter", target_modules=["q_proj", *names])
    done = export(str(made), tmp_path / "out", to="merged", dtype="fp32")
    assert done.report["parity"]["mean_kl"] < 1e-6
    config = json.loads((done.folder / "config.json").read_text())
    assert config["tie_word_embeddings"] is False


def test_tied_weights_that_stay_as_they_are_stay_tied(base, tmp_path):
    folder = tmp_path / "tied"
    model = AutoModelForCausalLM.from_pretrained(base)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    made = adapter(folder, tmp_path / "adapter")
    done = export(str(made), tmp_path / "out", to="merged", dtype="fp32")
    assert "lm_head.weight" not in load_file(done.folder / "model.safetensors")
    assert json.loads((done.folder / "config.json").read_text())["tie_word_embeddings"] is True


def test_a_run_is_exported_from_its_newest_checkpoint_with_its_own_template(
    base, trained, tmp_path, home
):
    run = run_folder("tuna", str(base), trained)
    config = tiny.config(model={"name": str(base), "dtype": "fp32", "template": "alpaca"})
    from tunery.config.frozen import write_frozen

    write_frozen(run.config_file, config, {})
    done = export("tuna@step-00000003", tmp_path / "out", to="merged")
    assert done.report["template"] == "alpaca"
    assert "step-00000003" in done.report["why"]
    assert "### Instruction" in AutoTokenizer.from_pretrained(done.folder).chat_template


def test_a_fully_trained_run_is_copied_and_has_no_adapter(base, tmp_path, home):
    run_folder("whole", str(base), base, kind="model")
    done = export("whole", tmp_path / "out", to="merged")
    name = "model.safetensors"
    assert (done.folder / name).read_bytes() == (base / name).read_bytes()
    assert done.report["parity"]["max_logit_difference"] == 0
    with pytest.raises(ExportError, match="no adapter"):
        export("whole", tmp_path / "other", to="adapter")
    assert left_in(tmp_path) == ["out", "tunery-home"]


def test_an_export_says_what_it_does_and_counts_the_prompts(trained, tmp_path):
    told: list[tuple[str, int, int]] = []
    export(str(trained), tmp_path / "out", to="merged", stage=lambda *said: told.append(said))
    words = list(dict.fromkeys(text for text, _, _ in told))
    assert words == [
        f"loading {trained}",
        "loading the trained model",
        "answering prompts with the trained model",
        "keeping the trained model's logits",
        "merging the adapter into the weights",
        "writing the model",
        "opening the export with transformers",
        "comparing logits with those of the trained model",
        "comparing answers with those of the trained model",
    ]
    for text in (words[2], words[3], words[7]):
        counted = [done for said, done, total in told if said == text and total == NUM_PROMPTS]
        assert counted == sorted(set(counted))
        assert len(counted) >= NUM_PROMPTS


def test_what_the_libraries_think_of_their_kernels_is_not_shown():
    script = "import tunery.services.export._exporting, tunery.export.trained"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_export_that_is_not_equal_is_not_done(trained, tmp_path, hook):
    def forget_the_adapter(where: str, values: dict[str, Any]) -> None:
        if where == "export" and values["stage"] == "weights":
            file = values["folder"] / "model.safetensors"
            tensors = load_file(file)
            tensors["model.layers.0.mlp.down_proj.weight"] *= 0.9
            save_file(tensors, file, metadata={"format": "pt"})

    hook(forget_the_adapter)
    with pytest.raises(ExportError, match="does not match") as caught:
        export(str(trained), tmp_path / "out", to="merged", dtype="fp32")
    assert caught.value.fix
    assert left_in(tmp_path) == ["tunery-home"] or left_in(tmp_path) == []


def test_a_weak_adapter_that_was_not_merged_is_noticed_too(base, tmp_path, hook):
    weak = adapter(base, tmp_path / "weak", lora_alpha=1)

    def forget_the_adapter(where: str, values: dict[str, Any]) -> None:
        if where == "export" and values["stage"] == "weights":
            tensors = load_file(base / "model.safetensors")
            save_file(
                {name: tensor.bfloat16() for name, tensor in tensors.items()},
                values["folder"] / "model.safetensors",
                metadata={"format": "pt"},
            )

    hook(forget_the_adapter)
    with pytest.raises(ExportError, match=r"training changed|differ"):
        export(str(weak), tmp_path / "out", to="merged", dtype="bf16")


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "no space"), (errno.EROFS, "[Rr]ead-only")]
)
@pytest.mark.parametrize("to", ["merged", "adapter"])
def test_a_disk_that_fails_half_way_leaves_nothing(to, code, words, trained, tmp_path, hook):
    def fail(where: str, values: dict[str, Any]) -> None:
        if where == "export" and values["stage"] == "weights":
            raise OSError(code, os.strerror(code))

    hook(fail)
    with pytest.raises(ExportError, match=words):
        export(str(trained), tmp_path / "a" / "out", to=to)
    assert left_in(tmp_path / "a") == []


def test_a_kill_anywhere_leaves_the_folder_absent_or_whole(trained, tmp_path):
    """SIGKILL at every disk operation of putting the export in place, and before."""
    outcomes = []
    for call in range(1, 60):
        out = tmp_path / f"out-{call}"
        status = _export_and_die(str(trained), out, call)
        if out.exists():
            report = json.loads((out / REPORT).read_text())
            sizes = {file["name"]: file["size"] for file in report["files"]}
            assert {p.name: p.stat().st_size for p in out.iterdir() if p.name != REPORT} == sizes
        outcomes.append((os.WIFSIGNALED(status), out.exists()))
        if not os.WIFSIGNALED(status):
            break
    assert outcomes[-1] == (False, True), "the export never came to its end"
    assert (True, False) in outcomes
    assert len(outcomes) > 4
    done = export(str(trained), tmp_path / "out-1", to="adapter")
    assert done.folder.is_dir()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".out-1.")], "not cleaned up"


def _export_and_die(source: str, out: Path, call: int) -> int:
    """Export in a forked child that kills itself at the ``call``-th change of the file system."""
    pid = os.fork()
    if pid == 0:
        try:
            count = 0

            def die(*_: Any) -> None:
                nonlocal count
                count += 1
                if count == call:
                    os.kill(os.getpid(), signal.SIGKILL)

            for name in ("rename", "mkdir", "fsync"):
                _before(os, name, die)
            # what is compared is tested elsewhere: here the files and their order count
            from tunery.export import adapter as written

            written.Trained.check_reopened = lambda self, folder: _Equal()  # type: ignore
            export(source, out, to="adapter")
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


class _Equal:
    def as_dict(self) -> dict[str, Any]:
        return {}

    def limits(self, _tolerance: Any) -> dict[str, Any]:
        return {}


def _before(module: Any, name: str, function: Callable[..., None]) -> None:
    original = getattr(module, name)

    def wrapped(*values: Any, **named: Any) -> Any:
        function()
        return original(*values, **named)

    setattr(module, name, wrapped)


def test_an_earlier_export_is_replaced_by_force_and_nothing_else_is(trained, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export(str(trained), out, to="adapter")
    with pytest.raises(ExportError, match="not empty") as caught:
        export(str(trained), out, to="adapter")
    assert "--force" in caught.value.fix
    (out / "old").write_text("x")
    export(str(trained), out, to="adapter", force=True)
    assert not (out / "old").exists()
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match=r"thesis\.txt"):
        export(str(trained), foreign, to="adapter", force=True)
    assert left_in(foreign) == ["thesis.txt"]


def test_what_a_killed_replacement_set_aside_comes_back(tmp_path):
    gone = 2**22 + 7  # above the largest pid of Linux
    (tmp_path / f".out.replaced-{gone}").mkdir()
    (tmp_path / f".out.replaced-{gone}" / "file").write_text("x")
    (tmp_path / f".out.exporting-{gone}").mkdir()
    _exporting.sweep(tmp_path)
    assert left_in(tmp_path) == ["out"]
    assert left_in(tmp_path / "out") == ["file"]


def test_wrong_requests_have_a_sentence_and_exit_2(base, trained, tmp_path, home, capsys):
    run_folder("empty", str(base), None)
    file = tmp_path / "file"
    file.write_text("x")
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("x")
    wrong = {
        ("nosuch", "--to", "merged", str(tmp_path / "o")): "nosuch",
        ("empty", "--to", "merged", str(tmp_path / "o")): "no weights yet",
        (str(trained), "--to", "merge", str(tmp_path / "o")): "Did you mean merged?",
        (str(trained), "--to", "merged", str(full)): "not empty",
        (str(trained), "--to", "merged", str(file)): "a file with this name exists",
        (str(trained), "--to", "merged", str(file / "o")): "cannot be written",
        (str(trained), "--to", "merged", "/proc/tunery/o"): "",
        (str(base), "--to", "merged", str(tmp_path / "o")): "nothing to export",
        (str(trained), "--to", "merged"): "FOLDER",
        (str(trained), str(tmp_path / "o")): "--to",
    }
    for words, sentence in wrong.items():
        assert main(["export", *words]) == 2, words
        told = capsys.readouterr().err
        assert sentence in " ".join(told.split()), told
        assert "Traceback" not in told
    assert not (tmp_path / "o").exists()


def test_a_disk_without_room_is_refused_before_the_work(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(env, "free_bytes", lambda path: 1000)
    with pytest.raises(ExportError, match="needs about"):
        export(str(trained), tmp_path / "out", to="merged")


def test_an_unknown_format_is_refused_first(tmp_path):
    with pytest.raises(UnknownName):
        export("whatever", tmp_path / "out", to="zip")


def test_a_damaged_checkpoint_is_not_exported(base, trained, tmp_path, home):
    run = run_folder("tuna", str(base), trained)
    file = run.checkpoint_dir(3) / "adapter" / "adapter_model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(TuneryError, match="damaged"):
        export("tuna@step-00000003", tmp_path / "out", to="merged")


def test_the_command_prints_json_alone(trained, tmp_path, capsys):
    assert main(["export", str(trained), "--to", "adapter", str(tmp_path / "o"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["folder"] == str(tmp_path / "o")
    assert told["parity"]["num_prompts"] == 20


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_export_says_how_far_it_is_from_the_quantized_base_of_the_training(
    base: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tunery.config.base import tag
    from tunery.config.quantization import QUANTIZATIONS

    quantization = {"type": tag(QUANTIZATIONS[1])}
    config = tiny.config(
        model={"name": str(base), "dtype": "fp32", "device": "cpu"}, quantization=quantization
    )
    run = create("quantized", config, {"created": "2026-11-24T10:00:00+00:00"})
    copy_folder(trained, run.adapter_dir)
    run.events_file.write_text("")
    assert main(["export", str(run.adapter_dir), "--to", "merged", str(tmp_path / "plain")]) == 0
    assert json.loads((tmp_path / "plain" / REPORT).read_text())["quantized_base"] is None
    assert "quantized to nf4" not in capsys.readouterr().out
    assert main(["export", "quantized", "--to", "merged", str(tmp_path / "out")]) == 0
    assert "The base was quantized to nf4" in capsys.readouterr().out.replace("\n", " ")
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert report["parity"]["mean_kl"] < 1e-4
    before = report["quantized_base"]
    assert before["quantization"] == quantization["type"]
    assert 1e-5 < before["mean_kl"] < 1.0
    assert before["num_prompts"] == report["parity"]["num_prompts"]
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    beside = load_file(tmp_path / "plain" / "model.safetensors")
    assert all(torch.equal(merged[name], value) for name, value in beside.items())
