"""A tokenizer larger than its model, and an adapter trained after a resize of its base."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tests.chat_model import make_chat_model
from transformers import AutoModelForCausalLM

from tunery.cli.main import main
from tunery.config.load import from_tokens
from tunery.decode.switch import AdapterSwitch
from tunery.errors import ModelError
from tunery.models import vocabulary
from tunery.services.questions import plan


def with_token(folder: Path, spelling: str) -> int:
    """Teach the tokenizer of a folder one more special token; returns its id."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    number = max(each["id"] for each in tokenizer["added_tokens"]) + 1
    token = {**tokenizer["added_tokens"][-1], "id": number, "content": spelling}
    tokenizer["added_tokens"].append(token)
    file.write_text(json.dumps(tokenizer))
    return number


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"instruction": "hi", "output": "yes"}\n{"instruction": "no", "output": "ja"}')
    return file


def words(model: Path, rows: Path, *more: str) -> list[str]:
    return [f"--model.name={model}", f"--data.train={rows}", *more]


def test_a_tokenizer_beyond_the_embedding_is_refused_and_its_remedy_works(
    tmp_path: Path, rows: Path
) -> None:
    model = make_chat_model(tmp_path / "model")
    number = with_token(model, "<|new|>")
    with pytest.raises(ModelError, match=rf"token {number} \(<\|new\|>\)") as caught:
        plan(words(model, rows))
    command = shlex.split(caught.value.fix.partition(": ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True)
    assert plan(words(model, rows))["rows"]["train"] == 2
    assert json.loads((model / "config.json").read_text())["vocab_size"] == number + 1


def test_a_placeholder_for_pictures_beyond_the_embedding_is_no_obstacle(
    tmp_path: Path, rows: Path
) -> None:
    model = make_chat_model(tmp_path / "model")
    with_token(model, "<image_soft_token>")
    assert plan(words(model, rows))["rows"]["train"] == 2


def test_rows_with_such_a_token_are_refused_all_the_same(tmp_path: Path, rows: Path) -> None:
    model = make_chat_model(tmp_path / "model")
    number = with_token(model, "<|image|>")
    template = model / "chat_template.jinja"
    template.write_text("<|image|>" + template.read_text())
    with pytest.raises(ModelError, match=rf"token {number} \(<\|image\|>\)"):
        plan(words(model, rows))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_chat_model(tmp_path / "base", tie_word_embeddings=False)


def resized_adapter(base: Path, folder: Path, rows: int, **more: Any) -> Path:
    """As other tools make one: the base's vocabulary is resized, then LoRA is attached."""
    torch.manual_seed(11)
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(rows)
    made: Any = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", **more)
    )
    for name, weight in made.named_parameters():
        if "lora_B" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.2)
    made.save_pretrained(folder, save_embedding_layers=True)
    return folder


@pytest.mark.parametrize("saved", [None, ["embed_tokens", "lm_head"]], ids=["lora", "saved"])
def test_an_adapter_after_a_resize_is_merged_as_peft_does(
    tmp_path: Path, base: Path, saved: list[str] | None
) -> None:
    adapter = resized_adapter(base, tmp_path / "adapter", 280, modules_to_save=saved)
    into = tmp_path / "merged"
    asked = ["export", str(adapter), "--to", "merged", str(into), "--dtype", "fp32"]
    assert main(asked) == 0
    whole: Any = AutoModelForCausalLM.from_pretrained(base)
    whole.resize_token_embeddings(280)
    expected = PeftModel.from_pretrained(whole, str(adapter)).merge_and_unload().state_dict()
    found = AutoModelForCausalLM.from_pretrained(into).state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_an_adapter_after_a_resize_is_not_worn_by_a_base_that_others_share(
    tmp_path: Path, base: Path
) -> None:
    adapter = resized_adapter(base, tmp_path / "adapter", 280)
    model = AutoModelForCausalLM.from_pretrained(base)
    size = model.config.vocab_size
    with pytest.raises(ModelError, match=f"280 rows, its base has {size}") as caught:
        AdapterSwitch(model).attach("a", adapter)
    assert f"tunery export {adapter} --to merged" in caught.value.fix


def test_a_lora_run_that_would_go_on_from_it_is_refused_before_it_starts(
    tmp_path: Path, base: Path, rows: Path
) -> None:
    adapter = resized_adapter(base, tmp_path / "adapter", 280)
    with pytest.raises(ModelError, match="280 rows, its base has"):
        plan(words(adapter, rows))
    assert from_tokens(words(adapter, rows)).config.adapter.writes == "adapter"
    assert plan(words(adapter, rows, "--adapter.type=full"))["rows"]["train"] == 2


def test_a_unigram_vocabulary_is_counted_by_its_order(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 2}')
    model = {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.0]]}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": model}))
    with pytest.raises(ModelError, match=r"token 2 \(b\)"):
        vocabulary.check_folder(tmp_path)


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"model": 3}', '{"added_tokens": [1]}'])
def test_an_odd_tokenizer_file_is_left_to_its_loader(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text('{"vocab_size": 2}')
    (tmp_path / "tokenizer.json").write_text(text)
    vocabulary.check_folder(tmp_path)
