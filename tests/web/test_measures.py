"""A method's own measures reach every view of a run by being declared, and in no other way."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from tests.web.test_runs_api import write_run
from tests.web.toy import ToyMethod, toys  # noqa: F401

from tunery import i18n
from tunery.cli.live import LiveView, PlainView
from tunery.cli.main import main
from tunery.config.config import Config
from tunery.runs.diagnosis import diagnose
from tunery.runs.events import EventWriter
from tunery.runs.folder import RunFolder, create
from tunery.runs.status import derive
from tunery.services import notify, runs
from tunery.train.tell import report
from tunery.workers.log import read_events

pytestmark = pytest.mark.usefixtures("toys")
LAUGHTER = (0.25, 0.75, 0.5)
"""On held-out rows, after 4, 8 and 12 steps."""


def play(name: str = "toy", laughter: tuple[float, ...] = LAUGHTER) -> RunFolder:
    """A run of the toy method, as the worker would have written it."""
    kind = ToyMethod()
    folder = create(name, Config.model_validate({"method": {"type": "play"}}), {"tunery": "0"})
    with EventWriter(folder.events_file) as writer:
        writer.write("status", status="running", pid=1)
        writer.write("plan", num_steps=12, trained_parameters=1, total_parameters=2,
                     measures=[each.as_dict() for each in kind.measures],
                     best=kind.best, loss_per=kind.unit)  # fmt: skip
        writer.write("phase", phase="train", state="begin")
        for step in range(1, 13):
            writer.write("step", step=step, epoch=step / 10, loss=0.7 - step / 100, tokens=10,
                         learning_rate=1e-3, grad_norm=1.0, seconds=0.1,
                         measures={"laughter": step / 20, "bruises": 12.0 - step})  # fmt: skip
            if step % 4 == 0:
                value = laughter[step // 4 - 1]
                told = {"laughter": value, "bruises": 3.5}
                writer.write("eval", step=step, loss=0.6 + step / 100, measures=told,
                             best=step == 8)  # fmt: skip
        writer.write("phase", phase="train", state="end", seconds=1.2)
        writer.write("status", status="finished", reason="", fix="")
    return folder


def drawn(view: type[PlainView] | type[LiveView], folder: RunFolder) -> str:
    written = io.StringIO()
    made = view(Console(file=written, width=160, force_terminal=view is LiveView))
    made.show(read_events(folder.events_file)[0])
    made.close()
    return written.getvalue()


def test_the_curves_have_a_series_for_each_and_the_evaluations_a_value(client) -> None:
    play()
    told = client.get("/api/v1/runs/toy/metrics").json()
    assert [m["name"] for m in told["measures"]] == ["loss", "laughter", "bruises"]
    assert told["series"]["laughter"]["value"][-1] == 0.6
    assert told["series"]["bruises"]["value"][0] == 11
    assert told["evals"][1]["measures"] == {"laughter": 0.75, "bruises": 3.5}
    only = client.get("/api/v1/runs/toy/metrics", params={"keys": "laughter"}).json()
    assert list(only["series"]) == ["laughter"]
    wrong = client.get("/api/v1/runs/toy/metrics", params={"keys": "laughter,none"})
    assert (wrong.status_code, "keys" in wrong.text) == (422, True)


def test_the_live_channel_carries_them_as_columns(home) -> None:
    play()
    messages, _ = runs.RunTopic().read("toy", "")
    columns = next(m for m in messages if m["kind"] == "steps")
    assert columns["laughter"][-1] == 0.6
    assert {"loss", "laughter", "bruises"} <= set(columns["keys"])


def test_a_run_without_a_list_has_the_loss_alone(client) -> None:
    write_run("old")
    told = client.get("/api/v1/runs/old/metrics").json()
    assert [m["name"] for m in told["measures"]] == ["loss"]
    assert "Evaluations" not in client.get("/runs/old").text


def test_the_best_evaluation_is_the_one_that_the_method_says(client) -> None:
    play("calm", (0.2, 0.3, 0.4))
    play("merry")
    found = client.get("/api/v1/runs", params={"sort": "best"}).json()["runs"]
    assert [(r["name"], r["best_value"], r["best_step"]) for r in found] == [
        ("merry", 0.75, 8), ("calm", 0.4, 12),
    ]  # fmt: skip
    assert found[0]["best_measure"] == "laughter"
    client.patch("/api/v1/runs/calm", json={"baseline": True})
    table = client.get("/runs").text
    assert 'title="Laughter">75.0 %' in table
    assert '<span class="delta good">+35.0 %</span>' in table


@pytest.mark.parametrize(("language", "held_out"), [("en", "Validation laughter"),
                                                    ("zh", "验证laughter")])  # fmt: skip
def test_the_page_of_the_run_shows_figures_and_a_table(client, language, held_out) -> None:
    play()
    client.cookies.set("tunery_lang", language)
    text = client.get("/runs/toy").text
    assert held_out in text
    assert "50.0 %" in text
    assert '<td class="r nowrap">75.0 %</td><td class="r nowrap">3.5 knees</td>' in text


def test_compare_has_lines_for_each_with_its_direction(client) -> None:
    play("calm", (0.2, 0.3, 0.4))
    play("merry")
    write_run("other")
    runs.change_marks("calm", baseline=True)
    found = runs.compare(["calm", "merry", "other"])
    lines = {line.key: line for line in found.results}
    assert lines["best_laughter"].values == [0.4, 0.75, None]
    assert lines["best_laughter"].best == [1]
    assert lines["best_laughter"].delta(1) == ("+35.0 %", "good")
    assert lines["bruises"].best == []
    text = client.get("/compare", params={"ids": "calm,merry,other"}).text
    assert '<option value="eval:laughter">Validation laughter</option>' in text
    assert "Final bruises" in text
    answer = client.get("/api/v1/runs/compare", params={"ids": "calm,other"}).json()
    assert {"laughter", "val_bruises"} <= {line["key"] for line in answer["results"]}


def test_the_terminal_shows_them_while_it_runs_and_afterwards(home, capsys) -> None:
    folder = play()
    for view in (PlainView, LiveView):
        text = drawn(view, folder)
        assert "laughter 60.0 %" in text
        assert "laughter 75.0 %  bruises 3.5 knees  best so far" in text
    assert main(["runs", "list"]) == 0
    assert "laughter 50.0 %" in capsys.readouterr().out
    assert main(["runs", "show", "toy"]) == 0
    shown = capsys.readouterr().out
    assert "validation bruises" in shown
    assert "3.5 knees" in shown


def test_the_report_draws_charts_and_a_table(home) -> None:
    events, _ = read_events(play().events_file)
    text = report.render("toy", home, events)
    assert "Laughter: 5.0 % → 50.0 %" in text
    assert "<td>75.0 %</td><td>3.5 knees</td>" in text
    assert "Bruises:" not in text  # it asked for no chart
    plain = [e for e in events if e["type"] != "plan"]
    assert len(report.loss_png(events)) > len(report.loss_png(plain))


def test_the_judgement_rests_on_the_measure_that_decides(home) -> None:
    events, _ = read_events(play().events_file)
    finding = diagnose(events)
    assert (finding.kind, finding.best_step) == ("past best", 8)
    assert "laughter was best at step 8 (75.0 %) and ended at 50.0 %" in finding.words
    with i18n.speaking("zh"):
        assert "验证laughter在第 8 步最好（75.0 %）" in diagnose(events).words
    # the evaluation loss rose all the time; the method does not go by it
    rising, _ = read_events(play("rising", (0.25, 0.5, 0.75)).events_file)
    assert diagnose(rising).kind == "healthy"


def test_a_message_at_the_end_names_them(home) -> None:
    told = notify.message(derive(play()))
    assert told["measures"] == {"laughter": 0.6, "bruises": 0.0}
    assert told["eval_measures"] == {"laughter": 0.5, "bruises": 3.5}
    assert "laughter 60.0 %, validation laughter 50.0 %" in told["text"]


def test_json_of_a_run_says_what_its_values_are(home) -> None:
    told = runs.outcome(play()).as_dict()
    assert [m["unit"] for m in told["declared"]] == ["", "%", "knees"]
    assert told["eval_measures"]["laughter"] == 0.5
