"""Compare: what differs, which result is best, and a link that can be shared."""

from __future__ import annotations

import pytest
from tests.web.test_runs_api import write_run

from tunery.errors import RunError
from tunery.runs.folder import open_run
from tunery.runs.status import derive
from tunery.services import runs
from tunery.train.tell import report
from tunery.workers.log import read_events


def test_the_page_puts_runs_beside_each_other(client) -> None:
    for name, steps in (("a", 10), ("b", 30), ("c", 20)):
        write_run(name, steps=steps)
    text = client.get("/compare", params={"ids": "a,b,c"}).text
    assert "All settings are the same." in text
    assert "I am Tuna." in text
    assert client.get("/compare", params={"ids": "a,b", "settings": "all"}).status_code == 200
    assert client.get("/compare", params={"ids": "a"}).status_code == 422


def test_only_a_result_that_looks_better_is_the_best(client) -> None:
    for name in ("a", "b"):
        write_run(name, steps=10)
    found = runs.compare(["a", "b"])
    assert all(line.best == [] for line in found.results)


def test_deltas_refer_to_the_baseline(client) -> None:
    write_run("a", steps=10)
    write_run("b", steps=30)
    runs.change_marks("b", baseline=True)
    found = runs.compare(["a", "b"])
    loss = next(line for line in found.results if line.key == "loss")
    assert loss.best == [1]
    assert loss.deltas[0] is not None
    assert loss.deltas[0] > 0
    assert loss.deltas[1] is None


def test_a_run_that_is_gone_is_named(client) -> None:
    write_run("a")
    with pytest.raises(RunError, match="not found in"):
        runs.compare(["a", "gone"])


def test_a_run_is_not_compared_with_itself(client) -> None:
    write_run("a")
    with pytest.raises(RunError, match="a is named 2 times"):
        runs.compare(["a", "a"])


def test_loss_and_time_are_those_of_the_run_s_page_and_its_report(client) -> None:
    for name in ("a", "b"):
        write_run(name, steps=10)
    found = runs.compare(["a", "b"])
    line = {line.key: line for line in found.results}
    state = derive(open_run("a"))
    assert (state.loss, state.at_step("loss")) == (0.2, 0.2)
    assert line["loss"].values[0] == state.loss  # not a mean of the last steps
    assert line["seconds"].values[0] == state.duration_seconds  # not the steps' alone
    events, _ = read_events(open_run("a").events_file)
    assert "<dt>Loss</dt><dd>0.2" in report.render("a", open_run("a").path, events)
