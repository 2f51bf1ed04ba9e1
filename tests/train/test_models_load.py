"""The one loader: safetensors only, no code, whole and finite, or an error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from tests.chat_model import make_chat_model
from tests.waiting import PATIENCE_SECONDS
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from tunery.errors import ModelError
from tunery.kernels import attention
from tunery.models import attach, consent, load
from tunery.models.ensure import ensure
from tunery.models.gguf import read_header
from tunery.models.importing import import_gguf, read_record
from tunery.models.resolve import resolve


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    base = load.load_model(tiny, dtype=torch.float32, device="cpu")
    lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(base, lora).save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def fails(folder: Path) -> str:
    with pytest.raises(ModelError) as error:
        load.load_model(folder, dtype=torch.float32, device="cpu")
    assert error.value.fix
    return error.value.message


def test_the_weights_are_those_of_the_file(tiny: Path) -> None:
    stored = load_file(tiny / "model.safetensors")
    for dtype in (torch.float32, torch.bfloat16):
        model = load.load_model(tiny, dtype=dtype, device="cpu")
        assert model.dtype == dtype
        assert model.config._attn_implementation == "sdpa"
        assert not model.training
        for name, value in model.named_parameters():
            assert torch.equal(value, stored[name].to(dtype)), name


def test_an_architecture_without_sdpa_is_loaded_with_plain_attention(tmp_path: Path) -> None:
    folder = make_chat_model(tmp_path / "gemma", kind="Gemma2")
    model = load.load_model(folder, dtype=torch.float32, device="cpu")
    assert model.config._attn_implementation == "eager"
    assert attention.install(model)
    attention.uninstall(model)
    assert model.config._attn_implementation == "eager"


def test_training_in_place_never_reaches_the_file(copy: Path) -> None:
    before = (copy / "model.safetensors").read_bytes()
    model = load.load_model(copy, dtype=torch.bfloat16, device="cpu")
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1.0)
    assert (copy / "model.safetensors").read_bytes() == before


def test_a_weight_that_is_missing_is_not_made_up(copy: Path) -> None:
    stored = load_file(copy / "model.safetensors")
    del stored["model.layers.1.mlp.up_proj.weight"]
    save_file(stored, copy / "model.safetensors", metadata={"format": "pt"})
    message = fails(copy)
    assert "1 weight is missing and 0 do not have the shape" in message
    assert "model.layers.1.mlp.up_proj.weight" in message


def test_a_weight_of_another_shape_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))
    message = fails(copy)
    assert "do not have the shape given in config.json" in message or "cannot be loaded" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_found(copy: Path, value: float) -> None:
    stored = load_file(copy / "model.safetensors")
    stored["model.layers.0.self_attn.q_proj.weight"][3, 5] = value
    save_file(stored, copy / "model.safetensors", metadata={"format": "pt"})
    assert "model.layers.0.self_attn.q_proj.weight contains non-finite values" in fails(copy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_finiteness_is_judged_for_every_type(dtype: torch.dtype) -> None:
    good = torch.linspace(-3, 3, 1001).to(dtype)
    assert load.is_finite(good)
    assert load.is_finite(torch.empty(0, dtype=dtype))
    for value in ("nan", "inf", "-inf"):
        bad = good.clone()
        bad[1000] = float(value)
        assert not load.is_finite(bad), value


def test_a_quantized_checkpoint_is_explained(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (copy / "config.json").write_text(json.dumps(config))
    assert "the weights are quantized (gptq)" in fails(copy)


CANARY = """
from pathlib import Path
Path({canary!r}).write_text("ran")
from transformers import LlamaConfig, LlamaForCausalLM
class MineConfig(LlamaConfig):
    model_type = "mine"
class Mine(LlamaForCausalLM):
    config_class = MineConfig
"""


def test_broken_files_are_sentences(copy: Path) -> None:
    with pytest.raises(ModelError, match="the tokenizer is missing"):
        load.load_tokenizer(copy)
    for text in ("{", '{"version": "1.0"}', '{"version": "1.0", "model": {"type": "Odd"}}'):
        (copy / "tokenizer.json").write_text(text)
        with pytest.raises(ModelError, match="the tokenizer cannot be loaded"):
            load.load_tokenizer(copy)
    config = json.loads((copy / "config.json").read_text())
    for change, said in (
        ({"hidden_size": 17}, "hidden_size 17 is not a multiple of num_attention_heads 2"),
        ({"hidden_act": "odd"}, "cannot be loaded"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers"),
    ):
        (copy / "config.json").write_text(json.dumps(config | change))
        assert said in fails(copy)


def test_code_of_a_model_runs_only_with_consent(copy: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (copy / "modeling.py").write_text(CANARY.format(canary=str(canary)))
    config = json.loads((copy / "config.json").read_text())
    auto = {"AutoConfig": "modeling.MineConfig", "AutoModelForCausalLM": "modeling.Mine"}
    config |= {"model_type": "mine", "auto_map": auto, "trust_remote_code": True}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["modeling.Tok", None]}})
    )
    assert "which is not run without your consent" in fails(copy)
    with pytest.raises(ModelError, match="the tokenizer needs the model's own code") as caught:
        load.load_tokenizer(copy)
    assert f"tunery models allow-code {copy}" in caught.value.fix
    assert not canary.exists()
    consent.allow(copy)
    os.environ["HF_MODULES_CACHE"] = str(tmp_path / "modules")
    model = load.load_model(copy, dtype=torch.float32, device="cpu")
    assert type(model).__name__ == "Mine"
    assert canary.read_text() == "ran"


def test_code_of_a_known_architecture_is_left_alone(copy: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (copy / "modeling.py").write_text(CANARY.format(canary=str(canary)))
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "modeling.MineConfig"}
    (copy / "config.json").write_text(json.dumps(config))
    load.load_model(copy, dtype=torch.float32, device="cpu")
    assert not canary.exists()


class TestAdapters:
    def test_an_adapter_comes_back_as_it_was_saved(self, tiny: Path, adapter: Path) -> None:
        base = load.load_model(tiny, dtype=torch.float32, device="cpu")
        ids = torch.arange(1, 20)[None]
        before = base(ids).logits
        model = attach.load_adapter(base, adapter)
        assert not torch.allclose(model(ids).logits, before)
        assert not any(p.requires_grad for p in model.parameters())
        with model.disable_adapter():
            assert torch.equal(model(ids).logits, before)

    def test_two_adapters_share_one_base(self, tiny: Path, adapter: Path) -> None:
        base = load.load_model(tiny, dtype=torch.float32, device="cpu")
        model = attach.load_adapter(base, adapter, "one")
        again = attach.load_adapter(model, adapter, "two", trainable=True)
        assert again is model
        assert set(model.peft_config) == {"one", "two"}
        model.set_adapter("two")
        assert any(p.requires_grad for p in model.parameters())

    def test_an_adapter_for_another_base_is_refused(
        self, copy: Path, adapter: Path, tmp_path: Path
    ) -> None:
        config = LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1,
        )  # fmt: skip
        other = LlamaForCausalLM(config)
        with pytest.raises(ModelError, match="does not fit the base model"):
            attach.load_adapter(other, adapter)
        config.num_hidden_layers = 1
        config.hidden_size = 16
        with pytest.raises(ModelError, match=r"are unexpected|does not fit"):
            attach.load_adapter(LlamaForCausalLM(config), adapter)

    def test_a_half_adapter_is_refused(self, tiny: Path, adapter: Path, tmp_path: Path) -> None:
        folder = Path(shutil.copytree(adapter, tmp_path / "half"))
        stored = load_file(folder / "adapter_model.safetensors")
        del stored[sorted(stored)[0]]
        save_file(stored, folder / "adapter_model.safetensors")
        base = load.load_model(tiny, dtype=torch.float32, device="cpu")
        with pytest.raises(ModelError, match="1 are missing, 0 are unexpected"):
            attach.load_adapter(base, folder)

    def test_an_adapter_with_a_nan_is_refused(
        self, tiny: Path, adapter: Path, tmp_path: Path
    ) -> None:
        folder = Path(shutil.copytree(adapter, tmp_path / "nan"))
        stored = load_file(folder / "adapter_model.safetensors")
        stored[sorted(stored)[0]][0, 0] = float("nan")
        save_file(stored, folder / "adapter_model.safetensors")
        base = load.load_model(tiny, dtype=torch.float32, device="cpu")
        with pytest.raises(ModelError, match="non-finite"):
            attach.load_adapter(base, folder)

    def test_a_pickled_adapter_is_never_opened(self, tiny: Path, tmp_path: Path) -> None:
        folder = tmp_path / "pickled"
        folder.mkdir()
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
        base = load.load_model(tiny, dtype=torch.float32, device="cpu")
        with pytest.raises(ModelError, match="pickle file"):
            attach.load_adapter(base, folder)


def test_devices_and_types_are_picked_or_refused() -> None:
    assert load.pick_device("cpu") == "cpu"
    assert load.pick_dtype("fp32", "cpu") == torch.float32
    assert load.pick_dtype("bf16", "cpu") == torch.bfloat16
    assert load.pick_dtype("auto", "cpu") in (torch.float32, torch.bfloat16)
    for device in ("cuda:99", "tpu", "cuda:x"):
        with pytest.raises(ModelError, match=f"model.device: device {device} not found"):
            load.pick_device(device)


def write_gguf(path: Path, tiny: Path) -> Path:
    """The tiny model as a real GGUF file, with a byte-level tokenizer."""
    from gguf import GGUFWriter

    stored = load_file(tiny / "model.safetensors")
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    for name, value in (
        ("context_length", 128), ("embedding_length", 16), ("block_count", 2),
        ("feed_forward_length", 32), ("head_count", 2), ("head_count_kv", 1), ("vocab_size", 64),
    ):  # fmt: skip
        getattr(writer, f"add_{name}")(value)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    tokens = ["<|end|>", *(chr(c) for c in range(33, 94)), "AB", "Ġ"]
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * 63)
    writer.add_token_merges(["A B"])
    writer.add_eos_token_id(0)
    names = {
        "embed_tokens": "token_embd", "input_layernorm": "attn_norm", "q_proj": "attn_q",
        "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
        "post_attention_layernorm": "ffn_norm", "gate_proj": "ffn_gate", "up_proj": "ffn_up",
        "down_proj": "ffn_down",
    }  # fmt: skip
    for name, value in stored.items():
        parts = name.split(".")
        short = "output_norm" if name == "model.norm.weight" else names[parts[-2]]
        block = f"blk.{parts[2]}." if "layers" in parts else ""
        data = value.float()
        heads = {"q_proj": 2, "k_proj": 1}.get(parts[-2])
        if heads:  # llama.cpp interleaves the two halves of each head
            data = data.reshape(heads, 2, -1, data.shape[-1]).swapaxes(1, 2).reshape(data.shape)
        writer.add_tensor(f"{block}{short}.weight", data.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


IMPORT = """
import sys
from pathlib import Path
from tunery.models.importing import import_gguf
told = []
path = import_gguf(Path(sys.argv[1]), name="x", progress=told.append)
print(len(told), path)
"""


def test_any_gguf_file_is_imported_once_by_two_processes(tiny: Path, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "My tiny.gguf", tiny)
    assert read_header(file).architecture == "llama"
    argv = [sys.executable, "-c", IMPORT, str(file)]
    children = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(child.communicate(timeout=PATIENCE_SECONDS)[0] for child in children)
    found = ensure(str(file))
    counts = [int(line.split(" ", 1)[0]) for line in said]
    assert {line.split(" ", 1)[1] for line in said} == {f"{found.path}\n"}
    assert min(counts) == 0 < max(counts)  # one converted and told how far it was
    assert found.kind == "gguf"
    assert found.why == f"imported from {file}"
    assert any("chat template" in note for note in found.notes)
    stamp = found.path.stat().st_mtime_ns
    assert ensure(str(file)).path == found.path
    assert import_gguf(file, name="x") == found.path
    assert found.path.stat().st_mtime_ns == stamp
    assert resolve(found.path.name).path == found.path
    record = read_record(found.path)
    assert record is not None
    assert set(record["files"]) >= {"model.safetensors", "config.json", "tokenizer.json"}
    ids = torch.arange(1, 20)[None]
    theirs = load.load_model(tiny, dtype=torch.float32, device="cpu")(ids).logits
    ours = load.load_model(found.path, dtype=torch.float32, device="cpu")(ids).logits
    assert torch.equal(ours, theirs)
    tokenizer = load.load_tokenizer(found.path)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    assert tokenizer.convert_tokens_to_ids("<|end|>") == 0


def test_a_conversion_that_fails_leaves_nothing_and_says_why(tiny: Path, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "bad.gguf", tiny)
    data = file.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_xx.weight")
    file.write_bytes(data)
    with pytest.raises(ModelError, match="could not be converted") as error:
        import_gguf(file, name="bad")
    assert "lacks 1 weights" in error.value.message
    models = Path(os.environ["TUNERY_HOME"]) / "models"
    assert [path.name for path in models.iterdir()] == [".locks"]
