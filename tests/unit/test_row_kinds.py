"""Row kinds: pairs and labelled rows become groups that train only the judged answers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.families import family

from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.data.collate import collate, collate_groups
from tunery.data.groups import RowGroup, TokenRow
from tunery.data.kinds import ROW_KINDS, Tokenized, row_kind, row_kind_named
from tunery.data.token_rows import StoreWriter, TokenStore
from tunery.data.tokenize import tokenize, tokenize_all
from tunery.errors import DataError
from tunery.types import Conversation, Example, Labelled, Message, Pair, RowRef, Text, ToolCall

TOKENIZER = family("chatml")


@pytest.fixture(scope="module")
def template() -> ChatTemplate:
    return ChatTemplate.load(TOKENIZER, "chatml")


def chat(*texts: str, system: str = "") -> Conversation:
    lead = (Message("system", system),) if system else ()
    turns = tuple(
        Message("assistant" if place % 2 else "user", text) for place, text in enumerate(texts)
    )
    return Conversation(lead + turns)


def pair(*prompt: str, chosen: str = "good", rejected: str = "poor", **more: Any) -> Pair:
    better, worse = (Message("assistant", chosen),), (Message("assistant", rejected),)
    return Pair(chat(*prompt, system="SYS"), better, worse, **more)


def trained(done: Tokenized) -> list[str]:
    return [
        TOKENIZER.decode([t for t, on in zip(row.input_ids, row.loss_mask, strict=True) if on])
        for row in done.rows
    ]


TURNS = ("first question", "first answer", "second question", "second answer", "last question")


@pytest.mark.parametrize("loss_on", ["assistant", "last", "all"])
def test_a_pair_trains_its_two_answers_and_nothing_of_the_prompt(
    template: ChatTemplate, loss_on: Any
) -> None:
    done = tokenize(pair(*TURNS), template, TOKENIZER, DataConfig(loss_on=loss_on))
    (group,) = done.groups
    assert trained(done) == ["good<|im_end|>", "poor<|im_end|>"]
    assert group.facts == {}
    first, second = group.rows
    start = first.loss_mask.index(True)
    assert first.input_ids[:start] == second.input_ids[:start]
    assert "last question" in TOKENIZER.decode(first.input_ids[:start])


def test_margin_and_label_become_facts_of_the_group(template: ChatTemplate) -> None:
    done = tokenize(pair("q", margin=0.5), template, TOKENIZER, DataConfig())
    assert done.groups[0].facts == {"margin": 0.5}
    for label in (True, False):
        row = Labelled(chat("q", "earlier", "again", "judged"), label)
        done = tokenize(row, template, TOKENIZER, DataConfig(loss_on="all"))
        assert done.groups[0].facts == {"label": float(label)}
        assert trained(done) == ["judged<|im_end|>"]


def test_an_answer_with_a_tool_call_is_judged_whole() -> None:
    qwen = ChatTemplate.load(family("qwen2.5"), "qwen2.5")
    chosen = (
        Message("assistant", "", tool_calls=(ToolCall("add", {"a": 1}),)),
        Message("tool", "2"),
        Message("assistant", "two"),
    )
    row = Pair(chat("1+1?"), chosen, (Message("assistant", "three"),))
    done = tokenize(row, qwen, family("qwen2.5"), DataConfig())
    tokens = family("qwen2.5")
    first = [t for t, on in zip(done.rows[0].input_ids, done.rows[0].loss_mask, strict=True) if on]
    text = tokens.decode(first)
    assert "add" in text
    assert "two" in text
    assert "tool_response" not in text


def test_a_template_that_rewrites_history_refuses_an_answer_of_several_turns() -> None:
    tokens = family("qwen3")
    qwen = ChatTemplate.load(tokens, "qwen3")
    one = Pair(chat("q"), (Message("assistant", "yes"),), (Message("assistant", "no"),))
    assert len(tokenize(one, qwen, tokens, DataConfig()).rows) == 2
    several = Pair(
        chat("q"),
        (Message("assistant", "a"), Message("user", "more"), Message("assistant", "b")),
        (Message("assistant", "no"),),
        ref=RowRef("d", "d.jsonl", 3, 3),
    )
    with pytest.raises(DataError, match=r"d.jsonl record 3: The answer has several") as caught:
        tokenize(several, qwen, tokens, DataConfig())
    assert caught.value.code == "E419"


def length(example: Example, template: ChatTemplate) -> int:
    return tokenize(example, template, TOKENIZER, DataConfig()).full_length


def test_both_answers_lose_the_same_early_turns(template: ChatTemplate) -> None:
    row = pair(*TURNS, rejected="poor " * 8)
    whole = tokenize(row, template, TOKENIZER, DataConfig()).rows
    data = DataConfig(max_length=length(row, template) - 1)
    done = tokenize(row, template, TOKENIZER, data)
    for made, before in zip(done.rows, whole, strict=True):
        text = TOKENIZER.decode(made.input_ids)
        assert "SYS" in text
        assert "first" not in text
        assert "second answer" in text
        assert made.cut == len(before.input_ids) - len(made.input_ids)
    assert trained(done)[0] == "good<|im_end|>"
    # The shorter side alone would have fitted; it is cut all the same.
    assert len(whole[0].input_ids) <= data.max_length


def test_an_answer_that_is_cut_does_not_pretend_to_have_ended(template: ChatTemplate) -> None:
    row = pair("q", chosen="word " * 60, rejected="short")
    for how in ("turns", "truncate_right"):
        done = tokenize(row, template, TOKENIZER, DataConfig(max_length=50, too_long=how))
        assert not trained(done)[0].endswith("<|im_end|>")
        assert trained(done)[1] == "short<|im_end|>"


def test_answers_that_a_template_writes_alike_are_left_out(template: ChatTemplate) -> None:
    row = pair("q", chosen="same", rejected="same")
    thinking = replace(
        row, chosen=(replace(row.chosen[0], thinking="one way"),),
        rejected=(replace(row.rejected[0], thinking="another"),),
    )  # fmt: skip
    done = tokenize(thinking, template, TOKENIZER, DataConfig(thinking="off"))
    assert done.groups == []
    assert done.dropped_reason == "both answers are identical for the model"


@pytest.mark.parametrize(
    ("how", "row", "reason"),
    [
        ("drop", pair("q", chosen="word " * 60), "longer than max_length"),
        ("split", pair("q", chosen="word " * 60), "longer than max_length"),
        ("turns", pair("word " * 60), "longer than max_length, with no room for a trained token"),
        (
            "truncate_left",
            pair("q", chosen="word " * 60),
            "longer than max_length, with no room for a trained token",
        ),
        (
            "truncate_right",
            pair("q", chosen="word " * 60 + "end", rejected="word " * 60 + "stop"),
            "both answers are identical for the model",
        ),
    ],
)
def test_a_pair_is_dropped_whole_with_its_reason(
    template: ChatTemplate, how: Any, row: Pair, reason: str
) -> None:
    done = tokenize(row, template, TOKENIZER, DataConfig(max_length=40, too_long=how))
    assert done.groups == []
    assert done.dropped_reason == reason


def test_a_left_cut_takes_the_same_tokens_from_both_sides(template: ChatTemplate) -> None:
    row = pair("word " * 60, rejected="poor " * 5)
    whole = tokenize(row, template, TOKENIZER, DataConfig()).rows
    data = DataConfig(max_length=length(row, template) - 7, too_long="truncate_left")
    done = tokenize(row, template, TOKENIZER, data).rows
    for made, before in zip(done, whole, strict=True):
        assert made.input_ids == before.input_ids[7:]


def test_too_long_fail_names_the_longer_side(template: ChatTemplate) -> None:
    row = pair("q", chosen="word " * 60, ref=RowRef("d", "d.jsonl", 7, 7))
    with pytest.raises(DataError, match=r"record 7: The row has \d+ tokens"):
        tokenize(row, template, TOKENIZER, DataConfig(max_length=40, too_long="fail"))


def test_the_store_gives_groups_back(template: ChatTemplate, tmp_path: Path) -> None:
    examples: list[Example] = [
        chat("q", "a"),
        pair("q", margin=2.0),
        pair("other"),
        Text("plain"),
        Labelled(chat("q", "a"), False),
    ]
    store = tokenize_all(examples, template, TOKENIZER, DataConfig(), cache=tmp_path)
    assert len(store) == 5
    assert [len(store.group(i).rows) for i in range(5)] == [1, 2, 2, 1, 1]
    assert [dict(store.group(i).facts) for i in range(5)] == [
        {}, {"margin": 2.0}, {}, {}, {"label": 0.0},
    ]  # fmt: skip
    assert store.lengths.dtype == np.int64
    for i, example in enumerate(examples):
        group, made = store.group(i), tokenize(example, template, TOKENIZER, DataConfig())
        assert store.source(i) == i
        assert store.lengths[i] == group.num_tokens
        assert store.trained[i] == group.num_trained
        assert [row.input_ids.tolist() for row in group.rows] == [r.input_ids for r in made.rows]
    again = tokenize_all(examples, template, TOKENIZER, DataConfig(), cache=tmp_path)
    assert again.hash == store.hash
    assert again.folder == store.folder


def stream_group(*lengths: int, value: float = 0.0) -> RowGroup:
    rows = tuple(
        TokenRow(
            np.arange(n, dtype=np.int32),
            np.arange(n) > 0,
            {"ref_logprob": np.arange(n, dtype=np.float32) + value},
        )
        for n in lengths
    )
    return RowGroup(rows, {"margin": value})


def test_streams_and_facts_are_written_and_read_back(tmp_path: Path) -> None:
    writer = StoreWriter(tmp_path / "store")
    groups = [stream_group(3, 5, value=0.5), stream_group(4, value=1.5)]
    for number, group in enumerate(groups):
        writer.write(group, number)
    with pytest.raises(ValueError, match="same streams"):
        writer.write(RowGroup((TokenRow(np.arange(3, dtype=np.int32), np.ones(3, bool)),)), 2)
    store = writer.finish()
    for number, group in enumerate(groups):
        found = store.group(number)
        assert found.facts == group.facts
        for row, made in zip(found.rows, group.rows, strict=True):
            assert row.streams["ref_logprob"].tolist() == made.streams["ref_logprob"].tolist()
    (tmp_path / "store" / "streams" / "ref_logprob.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="sizes differ"):
        TokenStore(tmp_path / "store")


def test_a_batch_knows_the_row_and_group_of_each_trained_token() -> None:
    groups = [stream_group(3, 5, value=0.5), stream_group(4, value=1.5)]
    batch = collate_groups(groups, [7, 9])
    assert batch.rows == (7, 7, 9)
    assert batch.row_K.tolist() == [0] * 2 + [1] * 4 + [2] * 3
    assert batch.group_B.tolist() == [0, 0, 1]
    assert batch.facts["margin"].tolist() == [0.5, 1.5]
    # The value at a token belongs to it: it stands beside the token as a target.
    assert batch.streams["ref_logprob"].tolist() == [1.5, 2.5, 1.5, 2.5, 3.5, 4.5, 2.5, 3.5, 4.5]
    assert batch.streams["ref_logprob"].dtype == torch.float32
    moved = batch.to("cpu").apart()
    assert moved.streams["ref_logprob"].tolist() == batch.streams["ref_logprob"].tolist()
    singles = batch.one_by_one()
    assert [s.facts["margin"].tolist() for s in singles] == [[0.5], [0.5], [1.5]]
    joined = torch.cat([s.streams["ref_logprob"] for s in singles])
    assert joined.tolist() == batch.streams["ref_logprob"].tolist()
    assert all(set(s.row_K.tolist()) == {0} and s.group_B.tolist() == [0] for s in singles)


def test_a_fact_that_a_group_lacks_is_not_a_number() -> None:
    row = TokenRow(np.arange(3, dtype=np.int32), np.ones(3, bool))
    batch = collate_groups([RowGroup((row,), {"margin": 1.0}), RowGroup((row,))])
    assert batch.facts["margin"][0] == 1.0
    assert math.isnan(batch.facts["margin"][1])


def test_the_prompt_of_a_pair_is_computed_once(template: ChatTemplate) -> None:
    store = tokenize_all([pair(*TURNS)], template, TOKENIZER, DataConfig(), cache=None)
    batch = collate_groups([store.group(0)])
    assert batch.shared
    assert sum(batch.lengths) < 0.6 * batch.num_tokens


def test_groups_of_one_row_make_the_batch_that_rows_make() -> None:
    rows = [TokenRow(np.arange(n, dtype=np.int32), np.arange(n) > 1) for n in (4, 6, 3)]
    plain, grouped = (
        collate(rows, [3, 1, 2]),
        collate_groups([RowGroup((r,)) for r in rows], [3, 1, 2]),
    )
    assert plain.rows == grouped.rows
    for name in ("input_ids", "position_ids", "loss_mask", "segments", "trained_index_K",
                 "target_ids_K", "row_K", "group_B"):  # fmt: skip
        assert torch.equal(getattr(plain, name), getattr(grouped, name))


def test_every_kind_is_found_by_its_type_and_by_its_name() -> None:
    examples: list[Example] = [chat("q", "a"), Text("t"), pair("q"), Labelled(chat("q", "a"), True)]
    assert [row_kind(example) for example in examples] == list(ROW_KINDS)
    assert [row_kind_named(kind.name) for kind in ROW_KINDS] == list(ROW_KINDS)
