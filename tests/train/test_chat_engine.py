"""One base in memory, adapters switched on it: exact both ways, and a conversation on top."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from tests.train import tiny
from tests.train.adapters_made import adapter, livelier
from transformers import AutoModelForCausalLM

from tunery.decode import prepack
from tunery.decode.switch import AdapterSwitch
from tunery.errors import EngineError, ModelError
from tunery.services import chat as chat_service
from tunery.services.chat import Chat, LoadedModels, Settings
from tunery.types import Message

IDS = torch.tensor([[5, 9, 30, 41, 7, 12]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return livelier(tiny.folder(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    return [
        adapter(base, folder / "plain"),
        adapter(base, folder / "few", seed=2, target_modules=["q_proj", "down_proj"]),
        adapter(base, folder / "dora", seed=3, use_dora=True),
        adapter(base, folder / "saved", seed=4, modules_to_save=["lm_head"]),
    ]


def load(folder: Path, dtype: torch.dtype):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_switching_gives_every_adapter_its_own_answer_and_the_base_its_first(base, adapters, dtype):
    tolerance = {torch.float32: 2e-4, torch.bfloat16: 0.3}[dtype]
    switch = AdapterSwitch(load(base, dtype))
    with torch.inference_mode():
        alone = load(base, dtype)(IDS).logits.float()
        bare = switch.activate(None)(IDS).logits
        for place, folder in enumerate(adapters):
            switch.attach(f"a{place}", folder)
        bare_again = switch.activate(None)(IDS).logits
        for order in ([0, 1, 2, 3], [3, 0, 2, 1]):
            for place in order:
                found = switch.activate(f"a{place}")(IDS).logits.float()
                peft = PeftModel.from_pretrained(load(base, dtype), adapters[place]).eval()
                wanted = peft(IDS).logits.float()
                scale = float(wanted.abs().max())
                assert float((found - wanted).abs().max()) <= tolerance * max(scale / 10, 1)
                assert float((wanted - alone).abs().max()) > 5 * tolerance, "the adapter is idle"
            assert torch.equal(switch.activate(None)(IDS).logits, bare)
        assert torch.equal(bare_again, bare)
        assert float((bare.float() - alone).abs().max()) <= tolerance


def test_no_weight_of_the_base_is_touched(base, adapters):
    model = load(base, torch.float32)
    kept = {name: tensor.clone() for name, tensor in model.named_parameters()}
    switch = AdapterSwitch(model)
    for place, folder in enumerate(adapters[:2]):
        switch.attach(f"a{place}", folder)
        switch.activate(f"a{place}")(IDS)
    names = dict(switch.model.get_base_model().named_parameters())
    for name, tensor in kept.items():
        held = names.get(name)
        if held is None:
            first, _, last = name.rpartition(".")
            held = names[f"{first}.base_layer.{last}"]
        assert torch.equal(held, tensor), name


def test_an_unknown_adapter_and_a_name_twice_are_refused(base, adapters):
    switch = AdapterSwitch(load(base, torch.float32))
    switch.attach("a", adapters[0])
    with pytest.raises(ValueError):
        switch.attach("a", adapters[1])
    with pytest.raises(KeyError):
        switch.activate("b")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_blocked_weights_give_the_same_product_and_go_away_again(dtype):
    if not prepack.supported(dtype):
        pytest.skip("no blocked product for this type here")
    torch.manual_seed(1)
    layers = torch.nn.Sequential(torch.nn.Linear(96, 160), torch.nn.Linear(160, 64, bias=False))
    layers = layers.to(dtype)
    x = torch.randn(2, 5, 96, dtype=dtype)
    with torch.inference_mode():
        plain = layers(x)
        with prepack.prepacked(layers) as in_force:
            assert in_force
            fast = layers(x)
        assert torch.allclose(fast, plain, rtol=2e-2, atol={torch.float32: 1e-5}.get(dtype, 2e-2))
        assert torch.equal(layers(x), plain)
    assert not any("forward" in vars(layer) for layer in layers)


@pytest.fixture
def chat(base: Path, adapters: list[Path]) -> Chat:
    room = LoadedModels(device="cpu", dtype="fp32")
    session = Chat(room, str(adapters[0]), "base", Settings(max_new_tokens=12))
    session.open()
    return session


def test_two_speakers_share_one_base_and_answer_differently(chat):
    assert chat.speakers[0].engine is chat.speakers[1].engine
    said = chat.ask("Who are you?")
    assert [s.label for s in said] == [chat.name, "base"]
    assert said[0].reply.ids != said[1].reply.ids
    again = Chat(chat.room, chat.name, None, chat.settings)
    again.open()
    assert again.ask("Who are you?")[0].reply.ids == said[0].reply.ids


def test_histories_grow_and_undo_takes_back_from_all(chat):
    chat.set_system("Be brief.")
    chat.ask("One?")
    chat.ask("Two?")
    for speaker in chat.speakers:
        assert [m.role for m in speaker.messages] == [
            "system", "user", "assistant", "user", "assistant",
        ]  # fmt: skip
    assert chat.undo() == "Two?"
    assert chat.undo() == "One?"
    assert chat.undo() is None
    assert chat.system == "Be brief."
    chat.reset()
    assert chat.system == "Be brief."


def test_a_stop_before_everyone_was_asked_takes_the_question_back(chat):
    seen: list[str] = []
    said = chat.ask(
        "One?", on_text=lambda place, text: seen.append(text), should_stop=lambda: len(seen) > 0
    )
    assert len(said) == 1
    assert said[0].reply.ending == "interrupted"
    assert [speaker.messages for speaker in chat.speakers] == [[], []]


def test_a_stopped_answer_stays_in_the_history_of_one_speaker(base):
    session = Chat(LoadedModels(device="cpu", dtype="fp32"), str(base), None, Settings())
    session.open()
    seen: list[str] = []
    session.ask(
        "One?", on_text=lambda place, text: seen.append(text), should_stop=lambda: len(seen) > 2
    )
    assert session.speakers[0].messages[-1].content == "".join(seen)


def test_the_oldest_turns_are_dropped_when_the_context_is_full(base):
    session = Chat(
        LoadedModels(device="cpu", dtype="fp32"), str(base), None, Settings(max_new_tokens=8)
    )
    session.open()
    session.set_system("Keep me.")
    forgotten = 0
    for turn in range(30):
        forgotten += session.ask(f"Question number {turn}, with some more words?")[0].num_forgotten
    messages = session.speakers[0].messages
    assert forgotten > 0
    assert messages[0] == Message("system", "Keep me.")
    assert messages[1].role == "user"
    assert "number 29" in messages[-2].content
    with pytest.raises(EngineError):
        session.ask("word " * 600)
    assert session.speakers[0].messages == messages


def test_a_base_has_no_base_to_be_set_against(base):
    session = Chat(LoadedModels(device="cpu"), str(base), "base")
    with pytest.raises(ModelError, match="base model itself"):
        session.open()


def test_a_conversation_is_saved_as_training_data_and_comes_back(chat, tmp_path):
    chat.ask("One?")
    file = tmp_path / "talk.jsonl"
    talks = [(s.label, s.messages) for s in chat.speakers]
    chat_service.save_transcript(file, talks, force=False)
    assert chat_service.load_transcript(file) == chat.speakers[0].messages
    with pytest.raises(EngineError, match="exists"):
        chat_service.save_transcript(file, talks, force=False)
    chat_service.save_transcript(file, talks, force=True)
    from tunery.config.data import DataConfig
    from tunery.data.examples import read

    rows = read([str(file)], DataConfig(train=[str(file)]))
    assert len(rows) == 2
    for wrong in ("nothing", '{"messages": 3}', '{"messages": [{"role": "user"}]}'):
        file.write_text(wrong)
        with pytest.raises(EngineError, match="no conversation"):
            chat_service.load_transcript(file)
    with pytest.raises(EngineError):
        chat_service.load_transcript(tmp_path / "absent")
