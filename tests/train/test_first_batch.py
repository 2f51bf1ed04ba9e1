"""The first batch that a run writes down is the one that it trained."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chat_model import make_chat_model
from tests.train import tiny
from tests.waiting import until

from tunery.runs.folder import RunFolder
from tunery.services import runs
from tunery.workers import local


def test_the_written_row_is_one_of_the_data_and_what_the_batch_trained(tmp_path) -> None:
    tiny.run(tmp_path, tiny.config(train={"num_epochs": 1}))
    file = RunFolder(tmp_path).first_batch_file
    told = json.loads(file.read_text())
    row = tiny.rows()[told["row"]]
    ids, mask = row.input_ids, row.loss_mask
    assert told["input_ids"] == ids.tolist()
    assert told["loss_mask"] == mask.tolist()
    trained = [i for i, flag in zip(ids.tolist()[1:], mask.tolist()[1:], strict=True) if flag]
    assert told["trained_ids"] == trained
    assert told["tokens"][0] == f"w{ids[0]}"
    assert (told["dataset"], told["record"]) == ("rows", told["row"] + 1)


def test_a_resumed_run_keeps_what_it_wrote_first(tmp_path) -> None:
    tiny.run(tmp_path, tiny.config(train={"num_epochs": 1}))
    before = RunFolder(tmp_path).first_batch_file.read_bytes()
    tiny.run(tmp_path, tiny.config(train={"num_epochs": 2}))
    assert RunFolder(tmp_path).first_batch_file.read_bytes() == before


def test_the_first_batch_of_a_chinese_row_has_whole_characters(home: Path) -> None:
    model = make_chat_model(home / "models" / "tiny")  # three tokens for each character
    said = "龘靐齉，蒹葭苍苍。🦙"
    turn = [{"role": "user", "content": said}, {"role": "assistant", "content": said}]
    data = home / "zh.jsonl"
    data.write_text((json.dumps({"messages": turn}, ensure_ascii=False) + "\n") * 4, "utf-8")
    folder = tiny.prepared(
        "zh", model, data, train={"num_epochs": 1}, evaluate={"every": "never", "split": 0}
    )
    runs.start(folder)
    until(lambda: runs.first_batch("zh"))
    told = runs.first_batch("zh")
    text = "".join(piece["text"] for piece in told["pieces"])
    assert text.count(said) == 2
    assert "<0x" not in text
    assert "\ufffd" not in text
    assert [token for piece in told["pieces"] for token in piece["ids"]] == told["input_ids"]
    trained = "".join(piece["text"] for piece in told["pieces"] if piece["trained"])
    assert trained.startswith(said)
    local.wait_until_gone(folder, 120)
