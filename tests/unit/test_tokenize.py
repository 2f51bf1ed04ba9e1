"""Examples become token rows: cut by rule, cached by what decides them, nothing lost unsaid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.families import family

from tunery.chat.template import ChatTemplate
from tunery.config.data import DataConfig
from tunery.data.statistics import statistics
from tunery.data.tokenize import Tokenized, tokenize, tokenize_all
from tunery.errors import DataError
from tunery.types import Conversation, Example, Message, RowRef, Text

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


def rows_of(done: Tokenized) -> list[str]:
    return [TOKENIZER.decode(row.input_ids) for row in done.rows]


LONG = chat("first question", "first answer", "second question", "second answer", system="SYS")


def test_early_turns_are_dropped_whole_and_system_and_last_answer_stay(
    template: ChatTemplate,
) -> None:
    whole = tokenize(LONG, template, TOKENIZER, DataConfig()).rows[0]
    limit = len(whole.input_ids) - 1
    done = tokenize(LONG, template, TOKENIZER, DataConfig(max_length=limit))
    (text,) = rows_of(done)
    assert "SYS" in text
    assert "first" not in text
    assert text.endswith("second answer<|im_end|>\n")
    assert done.rows[0].cut == len(whole.input_ids) - len(done.rows[0].input_ids)
    assert "earliest turns dropped to fit max_length" in done.rows[0].notes


def test_only_as_many_turns_are_dropped_as_needed(template: ChatTemplate) -> None:
    texts = [f"{kind} {n}" for n in range(20) for kind in ("question", "answer")]
    whole = tokenize(chat(*texts), template, TOKENIZER, DataConfig()).rows[0]
    lengths = {}
    for dropped in (1, 5, 19):
        part = tokenize(chat(*texts[2 * dropped :]), template, TOKENIZER, DataConfig()).rows[0]
        lengths[dropped] = len(part.input_ids)
    for dropped, length in lengths.items():
        done = tokenize(chat(*texts), template, TOKENIZER, DataConfig(max_length=length))
        assert rows_of(done)[0].startswith(f"<|im_start|>user\nquestion {dropped}<")
        assert done.rows[0].cut == len(whole.input_ids) - length


def test_an_answer_that_does_not_fit_is_cut_and_does_not_pretend_to_have_ended(
    template: ChatTemplate,
) -> None:
    done = tokenize(chat("q", "word " * 50), template, TOKENIZER, DataConfig(max_length=40))
    (row,) = done.rows
    assert len(row.input_ids) == 40
    assert row.loss_mask[-1]
    assert not any(
        on and token in template.stop_ids
        for token, on in zip(row.input_ids, row.loss_mask, strict=True)
    )


def test_a_prompt_without_room_for_its_answer_is_filtered_with_a_reason(
    template: ChatTemplate,
) -> None:
    done = tokenize(chat("word " * 50, "a"), template, TOKENIZER, DataConfig(max_length=20))
    assert done.rows == []
    assert done.dropped_reason == "longer than max_length, with no room for a trained token"


@pytest.mark.parametrize("rule", ["drop", "truncate_left", "truncate_right", "split"])
def test_each_rule_for_long_rows_says_what_it_did(template: ChatTemplate, rule: Any) -> None:
    whole = tokenize(LONG, template, TOKENIZER, DataConfig()).rows[0].input_ids
    limit = len(whole) * 2 // 3
    done = tokenize(LONG, template, TOKENIZER, DataConfig(max_length=limit, too_long=rule))
    match rule:
        case "drop":
            assert done.dropped_reason == "longer than max_length"
        case "truncate_left":
            assert done.rows[0].input_ids == whole[-limit:]
            assert done.rows[0].cut == len(whole) - limit
        case "truncate_right":
            assert done.rows[0].input_ids == whole[:limit]
        case "split":
            assert [t for row in done.rows for t in row.input_ids] == whole
            assert done.rows[0].parts == 2


def test_too_long_fail_names_the_row_and_the_length_that_would_do(template: ChatTemplate) -> None:
    row = Conversation(LONG.messages, ref=RowRef("d", "d.jsonl", 7, 7))
    with pytest.raises(DataError, match=r"d.jsonl record 7: The row has \d+ tokens") as caught:
        tokenize(row, template, TOKENIZER, DataConfig(max_length=20, too_long="fail"))
    assert f"data.max_length to {caught.value.fields['tokens']} " in caught.value.fix


def test_a_left_cut_keeps_bos_in_front() -> None:
    tokenizer = family("llama3")
    llama = ChatTemplate.load(tokenizer, "llama3")
    data = DataConfig(max_length=20, too_long="truncate_left")
    (row,) = tokenize(chat("q", "word " * 30), llama, tokenizer, data).rows
    assert row.input_ids[0] == tokenizer.bos_token_id
    assert len(row.input_ids) == 20


def test_rows_of_their_own_are_shortened_each_on_its_own() -> None:
    tokenizer = family("qwen3")
    qwen = ChatTemplate.load(tokenizer, "qwen3")
    whole = tokenize(LONG, qwen, tokenizer, DataConfig()).rows
    limit = len(whole[1].input_ids) - 1
    done = tokenize(LONG, qwen, tokenizer, DataConfig(max_length=limit)).rows
    assert done[0].input_ids == whole[0].input_ids
    assert "second answer" in tokenizer.decode(done[1].input_ids)
    assert "first" not in tokenizer.decode(done[1].input_ids)
    assert [sum(row.loss_mask) for row in done] == [sum(row.loss_mask) for row in whole]


def test_a_second_run_starts_from_the_cache(template: ChatTemplate, tmp_path: Path) -> None:
    examples: list[Example] = [LONG, chat("q", "a"), Text("plain text")] * 100
    seen: list[tuple[int, int]] = []

    def run(data: DataConfig) -> Any:
        return tokenize_all(
            examples,
            template,
            TOKENIZER,
            data,
            cache=tmp_path,
            progress=lambda done, total: seen.append((done, total)),
        )

    first = run(DataConfig())
    assert seen[-1] == (300, 300)
    assert len(seen) > 1
    seen.clear()
    again = run(DataConfig())
    assert seen == [(300, 300)]
    assert again.hash == first.hash
    assert again.folder == first.folder
    other = run(DataConfig(max_length=40))
    assert other.hash != first.hash
    assert {path.name for path in tmp_path.iterdir()} == {first.folder.name, other.folder.name}
    assert other.truncated == 100
    assert other.keeps_99 == first.lengths.max()


def test_rows_come_back_as_they_went_in(template: ChatTemplate) -> None:
    examples: list[Example] = [LONG, Text("plain"), chat("q", "a")]
    rows = tokenize_all(examples, template, TOKENIZER, DataConfig(), cache=None)
    for place, example in enumerate(examples):
        made = tokenize(example, template, TOKENIZER, DataConfig()).rows[0]
        row = rows.group(place).rows[0]
        ids, mask = row.input_ids, row.loss_mask
        assert ids.dtype == np.int32
        assert mask.dtype == bool
        assert ids.tolist() == made.input_ids
        assert mask.tolist() == made.loss_mask
        assert rows.source(place) == place
        assert rows.lengths[place] == len(made.input_ids)
        assert rows.trained[place] == sum(made.loss_mask[1:])
    with pytest.raises(IndexError):
        rows.group(3)


def test_a_torn_cache_is_made_again(template: ChatTemplate, tmp_path: Path) -> None:
    made = tokenize_all([LONG], template, TOKENIZER, DataConfig(), cache=tmp_path)
    file = made.folder / "ids.bin"
    file.write_bytes(file.read_bytes()[:-4])
    again = tokenize_all([LONG], template, TOKENIZER, DataConfig(), cache=tmp_path)
    assert again.hash == made.hash
    assert (
        again.group(0).rows[0].input_ids.tolist()
        == tokenize(LONG, template, TOKENIZER, DataConfig()).rows[0].input_ids
    )


def test_every_refused_row_is_counted_and_five_are_shown(tmp_path: Path) -> None:
    gemma = ChatTemplate.load(family("gemma"), "gemma")
    bad = [
        Conversation((Message("assistant", "a"),), ref=RowRef("d", "d.jsonl", n, n))
        for n in range(1, 9)
    ]
    good = [chat("q", "a")] * 92
    with pytest.raises(DataError, match="8 of 100 rows cannot be used") as caught:
        tokenize_all([*bad, *good], gemma, family("gemma"), DataConfig(), cache=tmp_path)
    assert caught.value.message.count("take turns") == 5
    assert "d.jsonl record 5" in caught.value.message
    assert list(tmp_path.iterdir()) == []
    data = DataConfig(on_bad_rows="quarantine", max_bad_share=0.1)
    rows = tokenize_all([*bad, *good], gemma, family("gemma"), data, cache=tmp_path)
    assert rows.filtered == {"rejected by the chat template": 8}
    assert len(rows) == 92
    with pytest.raises(DataError, match="8 of 100"):
        strict = data.model_copy(update={"max_bad_share": 0.01})
        tokenize_all([*bad, *good], gemma, family("gemma"), strict, cache=tmp_path)


def test_rows_that_train_nothing_are_filtered_and_none_left_is_an_error(
    template: ChatTemplate,
) -> None:
    silent = Conversation((Message("user", "q"), Message("assistant", "a", train=False)))
    rows = tokenize_all([silent, LONG], template, TOKENIZER, DataConfig(), cache=None)
    assert rows.filtered == {"no trained tokens": 1}
    assert rows.source(0) == 1
    with pytest.raises(DataError, match="No rows are left to train on"):
        tokenize_all([silent], template, TOKENIZER, DataConfig(), cache=None)


def test_an_interrupted_run_leaves_nothing_behind(template: ChatTemplate, tmp_path: Path) -> None:
    class Torn(Sequence[Example]):
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, index: Any) -> Any:
            if index > 600:
                raise KeyboardInterrupt
            return LONG

        hash = "torn"

    with pytest.raises(KeyboardInterrupt):
        tokenize_all(Torn(), template, TOKENIZER, DataConfig(), cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_statistics_add_up(template: ChatTemplate) -> None:
    examples: list[Example] = [chat("q", "a " * n) for n in range(1, 41)]
    rows = tokenize_all(examples, template, TOKENIZER, DataConfig(max_length=40), cache=None)
    found = statistics(rows, max_length=40, batch_size=16)
    assert found["rows"] == len(rows)
    assert found["tokens"] == int(rows.lengths.sum())
    assert sum(each["rows"] for each in found["histogram"]) == len(rows)
    assert found["length"]["max"] == rows.lengths.max() <= 40
    assert found["steps_per_epoch"] == -(-len(rows) // 16)
    assert 0 < found["packing"]["saved_share"] < 1
    assert found["packing"]["sequences"] >= found["tokens"] / 40
    assert found["truncated"] == rows.truncated > 0
