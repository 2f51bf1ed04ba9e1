"""Our rendering beside LLaMA-Factory's own, and the reason of each difference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.families import family

from tunery.chat.template import ChatTemplate
from tunery.types import Conversation, Message, ToolCall

ORACLE = Path(__file__).parents[3] / "shared" / "oracles" / "llamafactory.json"
pytestmark = pytest.mark.skipif(not ORACLE.is_file(), reason="the oracle is not on this machine")

# ours -> the oracle's name
NAMES = {
    "chatml": "chatml",
    "qwen2.5": "qwen",
    "qwen3": "qwen3",
    "llama3": "llama3",
    "mistral": "mistral",
    "gemma": "gemma",
    "deepseek": "deepseek3",
    "glm4": "glm4",
    "alpaca": "alpaca",
}
TURNS = Conversation(
    (
        Message("user", "U1"),
        Message("assistant", "A1"),
        Message("user", "U2"),
        Message("assistant", "A2"),
    )
)
SYSTEM = Conversation((Message("system", "SYS"), *TURNS.messages))


def oracle(name: str) -> dict[str, Any]:
    return json.loads(ORACLE.read_text(encoding="utf-8"))["templates"][NAMES.get(name, name)]


def spelled(template: ChatTemplate, pairs: list[list[str]]) -> tuple[str, list[str]]:
    """The oracle's text with our spellings of BOS and EOS, and its trained answers."""
    tokenizer = template.tokenizer

    def real(text: str) -> str:
        return text.replace("<BOS>", tokenizer.bos_token or "").replace(
            "<EOS>", tokenizer.eos_token
        )

    return "".join(real(part) for pair in pairs for part in pair), [real(p[1]) for p in pairs]


def trained(template: ChatTemplate, conversation: Conversation, **settings: Any) -> list[str]:
    """Our trained stretches, as text."""
    row = template.render(conversation, **settings)[-1]
    stretches: list[list[int]] = []
    for place, token in enumerate(row.input_ids):
        if row.loss_mask[place]:
            if place == 0 or not row.loss_mask[place - 1]:
                stretches.append([])
            stretches[-1].append(token)
    return [template.tokenizer.decode(ids, clean_up_tokenization_spaces=False) for ids in stretches]


@pytest.mark.parametrize("name", ["chatml", "qwen2.5", "llama3", "gemma", "deepseek"])
@pytest.mark.parametrize("key", ["multi", "multi_system"])
def test_the_text_is_the_oracles_and_the_loss_stops_at_the_stop_token(name: str, key: str) -> None:
    template = ChatTemplate.load(family(name), name)
    conversation = TURNS if key == "multi" else SYSTEM
    text, answers = spelled(template, oracle(name)[key])
    rows = template.render(conversation)
    assert [row.text for row in rows] == [text]
    # Its loss reaches over the newline after the stop token, which nothing ever waits for.
    assert trained(template, conversation) == [answer.rstrip("\n") for answer in answers]


@pytest.mark.parametrize("key", ["multi", "multi_system"])
def test_mistral_differs_only_in_the_blanks_that_the_tokenizer_adds(key: str) -> None:
    template = ChatTemplate.load(family("mistral"), "mistral")
    conversation = TURNS if key == "multi" else SYSTEM
    text, answers = spelled(template, oracle("mistral")[key])
    assert template.render(conversation)[0].text == text
    found = trained(template, conversation)
    assert [answer.split() for answer in found] == [answer.split() for answer in answers]


@pytest.mark.parametrize("key", ["multi", "multi_system"])
def test_glm4_differs_only_in_the_stop_token_that_the_oracle_leaves_out(key: str) -> None:
    template = ChatTemplate.load(family("glm4"), "glm4")
    text, answers = spelled(template, oracle("glm4")[key])
    (row,) = template.render(TURNS if key == "multi" else SYSTEM)
    assert row.text == text + "<|user|>"
    found = trained(template, TURNS if key == "multi" else SYSTEM)
    assert found == [f"{answer}<|user|>" for answer in answers]


def test_alpaca_is_the_oracles_but_for_the_blank_line_it_forgets_after_a_system_message() -> None:
    template = ChatTemplate.load(family("alpaca"), "alpaca")
    text, _ = spelled(template, oracle("alpaca")["multi"])
    assert template.render(TURNS)[0].text == text
    text, _ = spelled(template, oracle("alpaca")["multi_system"])
    assert template.render(SYSTEM)[0].text == text.replace("SYS", "SYS\n\n")


@pytest.mark.parametrize(
    ("thinking", "key"),
    [
        ("keep", "cot_enable_True"),
        ("strip_history", "cot_enable_True_discard_history"),
        ("off", "cot_enable_False_discard_history"),
    ],
)
def test_qwen3_thinking_is_the_oracles_in_the_row_of_the_last_answer(
    thinking: str, key: str
) -> None:
    template = ChatTemplate.load(family("qwen3"), "qwen3")
    messages = (
        Message("user", "U1"),
        Message("assistant", "A1", thinking="R1"),
        Message("user", "U2"),
        Message("assistant", "A2", thinking="R2"),
    )
    text, answers = spelled(template, oracle("qwen3")[key])
    rows = template.render(Conversation(messages), thinking=thinking)  # type: ignore[arg-type]
    assert rows[-1].text == text
    assert trained(template, Conversation(messages), thinking=thinking)[-1] == answers[-1].rstrip()


@pytest.mark.parametrize("name", ["qwen2.5", "glm4"])
def test_tools_and_calls_are_the_oracles(name: str) -> None:
    template = ChatTemplate.load(family(name), name)
    found = json.loads(ORACLE.read_text(encoding="utf-8"))
    tools = tuple(json.loads(found["messages"]["tools"]))
    conversation = Conversation(
        (
            Message("user", "U1"),
            Message("assistant", "", tool_calls=(ToolCall("f", {"x": "1", "n": 2}),)),
            Message("tool", "O1"),
            Message("assistant", "A1"),
        ),
        tools,
    )
    text, _ = spelled(template, oracle(name)["tools"])
    ours = template.render(conversation)[0].text
    assert ours.removesuffix("<|user|>") == text


def test_a_row_of_the_demo_model_is_the_oracles_token_for_token(demo_model: Path) -> None:
    from tunery.models.load import load_tokenizer

    tokenizer = load_tokenizer(demo_model)
    found = json.loads(ORACLE.read_text(encoding="utf-8"))["processors_smollm2_tokenizer"]["sft"]
    template = ChatTemplate.load(tokenizer, "chatml")
    for ids, labels in zip(found["input_ids"], found["labels"], strict=True):
        messages = read_back(tokenizer.decode(ids))
        (row,) = template.render(Conversation(messages))
        assert row.input_ids == ids
        theirs = [label != -100 for label in labels]
        newline = tokenizer.encode("\n")[-1]
        # Theirs trains the newline behind each stop token too; nothing else differs.
        for place, mine in enumerate(row.loss_mask):
            after_stop = ids[place] == newline and ids[place - 1] in template.stop_ids
            assert mine == (theirs[place] and not after_stop)


def read_back(text: str) -> tuple[Message, ...]:
    """The messages of a ChatML text."""
    turns = [turn.split("<|im_end|>")[0] for turn in text.split("<|im_start|>")[1:]]
    return tuple(Message(*turn.split("\n", 1)) for turn in turns)  # type: ignore[arg-type]
