"""The first batch that a run writes down is the one that it trained."""

from __future__ import annotations

import json

from tests.train import tiny

from tunery.runs.folder import RunFolder


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
