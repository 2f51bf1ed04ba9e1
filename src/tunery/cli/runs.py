"""`tunery runs`: list, show, compare, follow, stop, resume, delete and verify runs."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tunery.cli import runs_compare
from tunery.cli.columns import Column, listed
from tunery.cli.console import out, print_json, print_warning
from tunery.cli.live import print_line
from tunery.cli.watch import conclude, state_line, watch
from tunery.cli.watch import show as show_outcome
from tunery.cli.wrapping import prose
from tunery.commands import command
from tunery.env import human_bytes
from tunery.i18n import t
from tunery.measures import LOSS
from tunery.runs import store
from tunery.runs.folder import open_run
from tunery.runs.status import RunStatus, derive
from tunery.services import notify, words
from tunery.services import runs as run_service

app = App(name="runs", help=t("List, follow, stop, resume, verify and delete runs."))

Json = Annotated[bool, Parameter(negative="")]
NUM_RECENT = 20


@app.command(name="list")
def list_runs(
    *,
    best: str | None = None,
    all: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """List the runs, newest first.

    Args:
        best: List those with the best value of a measure first, such as loss or eval_loss.
        all: Show every run, not only the first 20.
        json: Print a JSON list of all runs.
    """
    if best is not None:
        _ranking(run_service.ranked(best), count=sys.maxsize if all else NUM_RECENT, as_json=json)
        return
    if json:
        print_json([run.as_dict() for run in store.list_runs()])
        return
    shown, total = store.newest_runs(sys.maxsize if all else NUM_RECENT)
    if not shown:
        prose(out, t("No runs yet. A first run takes a few minutes:"))
        prose(out, Text('  tunery train --preset identity --data.variables.name "Tuna" '
                       '--data.variables.author "Tunery Labs"', style="cyan"))  # fmt: skip
        return
    out.print(_table(shown), crop=False, soft_wrap=True)
    if total > len(shown):
        prose(out, t("{count} older runs: tunery runs list --all", count=total - len(shown)))


@app.command
def show(name: str, *, plot: str | None = None, csv: str | None = None, json: Json = False) -> None:
    """Show a run: its status, settings, answers and file locations.

    Args:
        name: A run or the path of its folder.
        plot: Also write the curves of its measures to this .png or .svg file.
        csv: Also write every step and evaluation to this .csv file.
        json: Print one JSON object.
    """
    folder = open_run(name)
    written = run_service.write_curves(folder, plot=plot, csv=csv)
    came = run_service.outcome(folder)
    if json:
        print_json({**came.as_dict(), "written": [str(path) for path in written]})
        return
    _facts(came)
    here = command("runs", "show", folder.name)
    show_outcome(replace(came, commands=[each for each in came.commands if each != here]))
    for each in came.trackers:
        if each.warning:
            print_warning(each.warning)
    for path in written:
        prose(out, t("Written: {path}", path=path))


@app.command
def compare(*names: str, json: Json = False) -> None:
    """Show two to six runs side by side: settings that differ, results, curves of the loss.

    Args:
        names: The runs.
        json: Print one JSON object.
    """
    runs_compare.compare(names, as_json=json)


@app.command
def follow(name: str, *, json: Json = False) -> int:
    """Follow a run; Ctrl-C stops following, not the run.

    Args:
        name: The run.
        json: Print events as JSON lines; the last one is the outcome.
    """
    folder = open_run(name)
    if not json:
        prose(out, Text(state_line(folder)))
    if not derive(folder).is_live:
        return conclude(folder, as_json=json)
    return watch(folder, as_json=json, own=False)


@app.command
def stop(
    name: str,
    *,
    grace: Annotated[float | None, Parameter(name="--grace")] = None,
    json: Json = False,
) -> int:
    """Save and stop a run; it is killed if the grace period runs out.

    Args:
        name: The run.
        grace: Seconds allowed for saving; defaults to the run's train.stop_grace_seconds.
        json: Print one JSON object.
    """
    state = run_service.stop(name, grace_seconds=grace)
    if json:
        print_json(state.as_dict())
    else:
        prose(out, Text(f"{state.name}: {words.status(state.status)}"))
        if state.reason:
            prose(out, Text(state.reason, style="dim"))
        if state.status != "finished":
            prose(out, Text(f"  {command('runs', 'resume', state.name)}", style="cyan"))
    return 0 if state.status in ("stopped", "finished") else 1


@app.command
def resume(
    name: str,
    *,
    allow_drift: Annotated[list[str] | None, Parameter(negative="")] = None,
    detach: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Resume a run exactly from its newest valid checkpoint.

    Args:
        name: The run.
        allow_drift: A change to accept, such as data_hash; may be repeated.
        detach: Resume in the background and return immediately.
        json: Print events as JSON lines; the last one is the outcome.
    """
    resumed = run_service.resume(name, allow_drift=allow_drift or ())
    folder = resumed.folder
    if json and not detach:
        print_line({"type": "prepared", "name": folder.name, "folder": str(folder.path),
                    "step": resumed.step})  # fmt: skip
    elif not json:
        for bad in resumed.rejected:
            print_warning(bad.reason)
        if resumed.allowed:
            print_warning(t("Accepted changes: {fields}", fields=", ".join(resumed.allowed)))
        prose(out, t("{run} resumes from step {step}.", run=folder.name, step=resumed.step))
    if detach:
        if json:
            print_json(derive(folder).as_dict())
        return 0
    return watch(folder, offset=resumed.offset, as_json=json)


@app.command
def delete(name: str, *, json: Json = False) -> None:
    """Delete a run with its checkpoints and result.

    Args:
        name: The run.
        json: Print one JSON object.
    """
    size = store.delete(name)
    if json:
        print_json({"deleted": name, "bytes": size})
    else:
        prose(out, t("{run} was deleted; {size} freed.", run=name, size=human_bytes(size)))


@app.command
def track(name: str, *, json: Json = False) -> None:
    """Restart the trackers of a run; each shows the run from its first step.

    Args:
        name: The run.
        json: Print one JSON object.
    """
    found = run_service.track_again(name)
    if json:
        print_json({"run": name, "trackers": [vars(each) for each in found]})
        return
    for each in found:
        prose(out, Text(f"{each.label}  {each.where}".rstrip()))


@app.command(name="keep-on")
def keep_on(*, json: Json = False) -> None:
    """Cancel a pending power-off.

    Args:
        json: Print one JSON object.
    """
    cancelled = notify.keep_on()
    if json:
        print_json({"run": cancelled.run, "seconds_left": round(cancelled.seconds_left, 1)})
    else:
        out.print(t("Power-off cancelled."))


@app.command(name="notify")
def set_notify(
    *,
    webhook: str | None = None,
    email: str | None = None,
    power_off: str | None = None,
    countdown: float | None = None,
    off: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Show or set what happens when a run ends; default: nothing.

    Args:
        webhook: URL that receives a JSON message; empty turns it off.
        email: Command that receives the message on standard input; {subject} is filled in.
        power_off: Command that powers off this machine when no runs are active or queued.
        countdown: Seconds during which the power-off can be cancelled.
        off: Turn everything off; commands and URL are kept.
        json: Print one JSON object.
    """
    chosen = notify.read()
    if webhook is not None:
        chosen = replace(chosen, webhook=webhook, webhook_on=bool(webhook))
    if email is not None:
        chosen = replace(chosen, email=tuple(shlex.split(email)), email_on=bool(email))
    if power_off is not None:
        words_ = tuple(shlex.split(power_off))
        chosen = replace(chosen, power_off=words_, power_off_on=bool(words_))
    if countdown is not None:
        chosen = replace(chosen, countdown_seconds=countdown)
    if off:
        chosen = replace(chosen, webhook_on=False, email_on=False, power_off_on=False)
    if chosen != notify.read():
        notify.save(chosen)
    if json:
        print_json(chosen.public())
        return
    for label, is_on, value in (
        (t("Webhook"), chosen.webhook_on, notify.hidden(chosen.webhook)),
        (t("E-mail command"), chosen.email_on, shlex.join(chosen.email)),
        (t("Power-off command"), chosen.power_off_on, shlex.join(chosen.power_off)),
    ):
        state = t("on") if is_on else t("off")
        prose(out, Text(f"{label}: {state}  {value}".rstrip()))


@app.command
def verify(name: str, *, json: Json = False) -> int:
    """Check a run: checkpoints complete, rows accounted for, nothing left running, same base model.

    Exits with 1 if a check fails.

    Args:
        name: The run.
        json: Print one JSON object.
    """
    folder = open_run(name)
    findings = []
    for finding in run_service.verify(folder):
        findings.append(finding)
        if not json:
            mark = ("✓ ", "green") if finding.ok else ("✗ ", "red")
            prose(out, Text.assemble(mark, (f"{finding.id} ", "dim"), finding.text))
    good = all(finding.ok for finding in findings)
    if json:
        print_json({"run": folder.name, "ok": good, "findings": [f.as_dict() for f in findings]})
    return 0 if good else 1


def _table(runs: list[RunStatus]) -> RenderableType:
    columns = [
        Column(t("run")),
        Column(t("status")),
        Column(t("step"), right=True),
        Column(t("loss"), right=True),
        Column(t("validation"), gives_way=1, right=True),
        Column(t("model"), gives_way=4, shortens=True),
        Column(t("started"), gives_way=2),
        Column(t("duration"), gives_way=3, right=True),
    ]
    rows = [
        [
            Text(run.name),
            Text(words.status(run.status), style=words.STATUS_STYLES.get(run.status, "")),
            Text(f"{run.step}/{run.num_steps}" if run.num_steps else ""),
            Text(LOSS.shown(run.loss)),
            Text(_validation(run)),
            Text(run.model or ""),
            Text(words.ago(run.started)),
            Text(words.seconds(run.duration_seconds)),
        ]
        for run in runs
    ]
    return listed(out, columns, rows)


def _ranking(found: run_service.Ranked, *, count: int, as_json: bool) -> None:
    if as_json:
        pairs = zip(found.rows, found.values, strict=True)
        print_json([{**row.state.as_dict(), "value": value} for row, value in pairs])
        return
    if not found.rows:
        prose(out, t("No run has a value of {measure} yet.", measure=found.measure.inside))
        return
    inside = found.measure.inside
    head = t("validation {measure}", measure=inside) if found.held_out else inside
    columns = [
        Column(t("run")),
        Column(head, right=True),
        Column(t("status"), gives_way=1),
        Column(t("step"), gives_way=2, right=True),
        Column(t("method"), gives_way=3),
        Column(t("model"), gives_way=4, shortens=True),
    ]
    rows = [
        [
            Text(row.state.name),
            Text(found.measure.shown(value)),
            Text(words.status(row.state.status)),
            Text(f"{row.state.step}/{row.state.num_steps}" if row.state.num_steps else ""),
            Text(row.state.method or ""),
            Text(row.state.model or ""),
        ]
        for row, value in zip(found.rows[:count], found.values, strict=False)
    ]
    out.print(listed(out, columns, rows), crop=False, soft_wrap=True)
    if found.without:
        prose(out, Text(t("{count} runs have no such value.", count=found.without), style="dim"))


def _validation(run: RunStatus) -> str:
    """The deciding measure at the last evaluation."""
    best = run.declared.best
    value = best.shown(run.at_eval(best.name))
    return value if best == LOSS else f"{best.inside} {value}"


def _facts(came: run_service.Outcome) -> None:
    state, rows = came.state, came.rows
    table = Table.grid(padding=(0, 2))
    trained = " · ".join(part for part in (state.method, state.adapter) if part)
    facts = {
        t("model"): state.model or "",
        t("method"): trained,
        t("data"): ", ".join(state.data),
        t("rows"): words.rows_line(rows) if rows else "",
        t("step"): f"{state.step}/{state.num_steps or '?'}",
        **dict(words.last_measures(state)),
        t("checkpoint"): "" if state.checkpoint_step is None else str(state.checkpoint_step),
        t("reason"): state.reason,
        **{each.label: each.where for each in came.trackers},
    }
    for label, value in facts.items():
        if value:
            table.add_row(Text(label, style="dim"), Text(str(value), overflow="fold"))
    out.print(table)
