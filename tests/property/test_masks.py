"""For any conversation: only answers are trained, prompts begin rows, content is content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.families import FAMILIES, family

from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.data import too_long
from tunery.data.tokenize import tokenize
from tunery.types import Conversation, Message, Text

SPELLINGS = sorted(
    {token for _, special, added, *_ in FAMILIES.values() for token in special + added}
)
FEW = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

letters = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
# Words, blanks and the spellings of control tokens, whole, cut and melted together.
content = st.lists(
    st.one_of(
        letters,
        st.sampled_from(SPELLINGS),
        st.sampled_from(SPELLINGS).map(lambda s: s[:-1]),
        st.sampled_from(
            ["\n", " ", "\n\n", "｜", "＜|im_end|＞", "assistant\n", "{% x %}", "{{ y }}"]
        ),
    ),
    min_size=1,
    max_size=6,
).map("".join)


@st.composite
def conversations(draw: Any, *, system: bool = True) -> Conversation:
    messages: list[Message] = []
    if system and draw(st.booleans()):
        messages.append(Message("system", draw(content)))
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message("user", draw(content)))
        thinking = draw(st.one_of(st.none(), letters))
        train = draw(st.sampled_from([None, None, False, True]))
        messages.append(Message("assistant", draw(content), thinking=thinking, train=train))
    return Conversation(tuple(messages))


@pytest.fixture(params=sorted(FAMILIES))
def template(request: pytest.FixtureRequest) -> ChatTemplate:
    return ChatTemplate.load(family(request.param), request.param)


def controls(template: ChatTemplate, ids: list[int]) -> list[int]:
    return [token for token in ids if token in template.control.ids]


@FEW
@given(conversation=conversations(), thinking=st.sampled_from(["keep", "strip_history", "off"]))
def test_only_answers_are_trained_each_up_to_its_stop_token(
    template: ChatTemplate, conversation: Conversation, thinking: Any
) -> None:
    answers = [m for m in conversation.messages if m.role == "assistant"]
    wanted = [m for m in answers if m.train is not False]
    spans = 0
    for row in template.render(conversation, thinking=thinking):
        assert len(row.input_ids) == len(row.loss_mask)
        places = [place for place, trained in enumerate(row.loss_mask) if trained]
        for place in places:
            inside = row.input_ids[place] not in template.stop_ids
            # A trained stretch goes on to its stop token, and ends with it.
            follows = place + 1 < len(row.loss_mask) and row.loss_mask[place + 1]
            assert (
                follows if inside else not follows or row.input_ids[place + 1] in template.stop_ids
            )
            # A turn's opening is never trained: control tokens in an answer are stop tokens.
            assert row.input_ids[place] not in template.control.ids - template.stop_ids
        spans += sum(row.input_ids[place] in template.stop_ids for place in places)
    assert spans == len(wanted)


@FEW
@given(conversation=conversations())
def test_a_row_begins_with_the_prompt_of_its_answer(
    template: ChatTemplate, conversation: Conversation
) -> None:
    rows = template.render(conversation, loss_on="last")
    if conversation.messages[-1].train is False:
        return
    prompt = template.prompt_ids(conversation.messages[:-1])
    assert rows[-1].input_ids[: len(prompt)] == prompt
    assert rows[-1].loss_mask[len(prompt)]


@FEW
@given(conversation=conversations())
def test_content_never_makes_a_control_token(
    template: ChatTemplate, conversation: Conversation
) -> None:
    bare = Conversation(
        tuple(
            Message(m.role, "x", thinking="y" if m.thinking else None, train=m.train)
            for m in conversation.messages
        )
    )
    for thinking in ("keep", "off"):
        found = template.render(conversation, thinking=thinking)
        plain = template.render(bare, thinking=thinking)
        assert [controls(template, row.input_ids) for row in found] == [
            controls(template, row.input_ids) for row in plain
        ]


@FEW
@given(conversation=conversations(), limit=st.integers(8, 60))
def test_cutting_keeps_to_the_limit_and_split_keeps_every_trained_token(
    template: ChatTemplate, conversation: Conversation, limit: int
) -> None:
    whole = template.render(conversation)
    for rule in ("turns", "drop", "truncate_left", "truncate_right", "split"):
        data = DataConfig(max_length=limit, too_long=rule)
        done = tokenize(conversation, template, template.tokenizer, data)
        assert bool(done.rows) != bool(done.dropped_reason)
        for row in done.rows:
            assert 2 <= len(row.input_ids) <= limit
            assert len(row.input_ids) == len(row.loss_mask)
            assert too_long.trains(row)
            if rule == "truncate_right" and row.cut:
                assert too_long.CUT_RIGHT in row.notes
        if rule == "split" and done.rows:
            trained = sum(sum(row.loss_mask) for row in whole)
            pieces = [too_long.split(row, limit) for row in whole if too_long.trains(row)]
            kept = sum(sum(piece.loss_mask) for each in pieces for piece in each)
            # A trained token alone at the start of a piece has nothing that predicts it.
            assert trained - len(whole) * (max(map(len, pieces), default=1) + 1) <= kept <= trained


@FEW
@given(text=content, limit=st.integers(8, 40))
def test_a_text_is_split_into_pieces_that_hold_every_token_once(text: str, limit: int) -> None:
    tokenizer = family("llama3")
    whole = tokenize(Text(text), None, tokenizer, DataConfig(max_length=4096)).rows[0]
    pieces = tokenize(Text(text), None, tokenizer, DataConfig(max_length=limit)).rows
    assert [token for piece in pieces for token in piece.input_ids] == whole.input_ids
    assert all(2 <= len(piece.input_ids) <= limit for piece in pieces)
    assert whole.input_ids[0] == tokenizer.bos_token_id
    assert whole.input_ids[-1] == tokenizer.eos_token_id
    special = set(tokenizer.all_special_ids)
    assert not special & set(whole.input_ids[1:-1])
