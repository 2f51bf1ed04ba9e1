"""Row kinds over generated examples: texts come back, and no group is ever divided."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tunery.data.content import example_key
from tunery.data.groups import RowGroup, TokenRow
from tunery.data.kinds import ROW_KINDS, row_kind
from tunery.data.packing import micro_batches
from tunery.data.rows import Rows
from tunery.types import Conversation, Example, Labelled, Message, Pair, Text, ToolCall

words = st.text(alphabet="ab {}你\n", max_size=8)
arguments = st.dictionaries(
    st.text("kl", min_size=1, max_size=2),
    st.one_of(words, st.integers(), st.lists(words, max_size=2)),
    max_size=2,
)
messages = st.builds(
    Message,
    st.sampled_from(["user", "assistant"]),
    words,
    thinking=st.one_of(st.none(), words),
    tool_calls=st.lists(st.builds(ToolCall, st.just("f"), arguments), max_size=1).map(tuple),
)
several: Any = st.lists(messages, min_size=1, max_size=3).map(tuple)
conversations = st.builds(Conversation, several)
examples: st.SearchStrategy[Example] = st.one_of(
    conversations,
    st.builds(Text, words),
    st.builds(Pair, conversations, several, several, st.one_of(st.none(), st.floats(-1, 1))),
    st.builds(Labelled, conversations, st.booleans()),
)


@given(examples)
def test_texts_that_do_not_change_leave_the_example_as_it_is(example: Example) -> None:
    assert row_kind(example).with_texts(example, lambda text: text) is example


@given(examples)
def test_every_text_is_changed_and_changes_back(example: Example) -> None:
    kind = row_kind(example)
    changed = kind.with_texts(example, lambda text: f"<{text}>")
    before = list(kind.texts(example))
    assert list(kind.texts(changed)) == [f"<{text}>" for text in before]
    assert kind.with_texts(changed, lambda text: text[1:-1]) == example


@given(examples, examples)
def test_two_examples_say_the_same_only_where_they_are_the_same(a: Example, b: Example) -> None:
    assert (example_key(a) == example_key(a)) is True
    if type(a) is type(b) and row_kind(a).content(a) != row_kind(b).content(b):
        assert example_key(a) != example_key(b)


@given(examples)
def test_what_is_rendered_holds_every_message_and_only_judged_answers_train(
    example: Example,
) -> None:
    kind = row_kind(example)
    assert kind in ROW_KINDS
    for rendered in kind.conversations(example):
        assert set(kind.texts(example)) >= {m.content for m in rendered.messages}
    if isinstance(example, Pair):
        for rendered, side in zip(
            kind.conversations(example), (example.chosen, example.rejected), strict=True
        ):
            count = len(example.prompt.messages)
            assert all(message.train is False for message in rendered.messages[:count])
            assert rendered.messages[count:] == side


@given(
    st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=3), min_size=1, max_size=12),
    st.integers(1, 80),
    st.booleans(),
)
def test_a_group_is_never_divided_between_micro_batches(
    lengths: list[list[int]], capacity: int, packing: bool
) -> None:
    groups = [
        RowGroup(
            tuple(TokenRow(np.zeros(n, dtype=np.int32), np.ones(n, dtype=bool)) for n in group)
        )
        for group in lengths
    ]
    rows = Rows.of_groups(groups)
    made = micro_batches(range(len(rows)), rows.lengths, capacity, packing=packing)
    assert sorted(n for members in made for n in members) == list(range(len(rows)))
    for members in made:
        tokens = sum(rows.group(n).num_tokens for n in members)
        assert tokens == int(rows.lengths[members].sum())
        assert tokens <= capacity or len(members) == 1
