"""Numbers and times of a run as text; used by every view of a run."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable

from tunery.env import percent
from tunery.i18n import joined, retold, t
from tunery.measures import LOSS, Declared, Measure, within
from tunery.runs.events import measured
from tunery.runs.status import RunStatus, why
from tunery.workers.log import Event, number

DATA_CODE = re.compile(r"[A-Z]\d{3}")

STATUS_STYLES = {
    "queued": "yellow",
    "running": "cyan",
    "stopping": "yellow",
    "paused": "yellow",
    "stopped": "blue",
    "finished": "green",
    "failed": "red",
    "interrupted": "red",
}


def status(name: str) -> str:
    """The status, translated."""
    return {
        "queued": t("queued"),
        "running": t("running"),
        "stopping": t("stopping"),
        "paused": t("paused"),
        "stopped": t("stopped"),
        "finished": t("finished"),
        "failed": t("failed"),
        "interrupted": t("interrupted"),
    }.get(name, name)


def phase(name: str) -> str:
    """The phase of a run, translated."""
    return {
        "data": t("reading data"),
        "tokenize": t("tokenizing"),
        "model": t("loading model"),
        "replay": t("generating replay answers"),
        "reference": t("computing reference"),
        "others": t("loading other models"),
        "teacher": t("computing the teacher's predictions"),
        "before": t("measuring before training"),
        "train": t("training"),
        "after": t("measuring after training"),
        "final": t("writing weights"),
        "report": t("writing report"),
    }.get(name, name)


def doing(event: Event) -> str:
    """What a run does within its phase, translated; see ``RunContext.doing``."""
    count, done = event.get("count"), event.get("done")
    if count and done:
        if event["doing"] == "answers":
            return t("answering prompts: {done} of {n}", done=f"{done:,}", n=f"{count:,}")
        if event["doing"] == "evaluation":
            return t("evaluating rows: {done} of {n}", done=f"{done:,}", n=f"{count:,}")
        if event["doing"] == "forgetting":
            return t("measuring forgetting: {done} of {n} rows", done=f"{done:,}", n=f"{count:,}")
    if event["doing"] == "answers":
        return t("answering 1 prompt") if count == 1 else t("answering {n} prompts", n=count)
    if event["doing"] == "evaluation":
        return t("evaluating 1 row") if count == 1 else t("evaluating {n} rows", n=count)
    if event["doing"] == "forgetting":
        return t("measuring forgetting")
    return t("saving") if event["doing"] == "save" else ""


def seconds(value: float | None) -> str:
    """A duration: ``8 s``, ``3m 20s``, ``2h 05m``; empty for None."""
    if value is None or not math.isfinite(value):
        return ""
    whole = max(0, round(value))
    if whole < 60:
        return f"{value:.1f} s" if value < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02}m"


def ago(moment: float | None) -> str:
    """How long ago a point in wall-clock time was, roughly."""
    if moment is None:
        return ""
    past = max(0.0, time.time() - moment)
    if past < 60:
        return t("just now")
    if past < 3600:
        return t("{count} min ago", count=int(past // 60))
    if past < 86400:
        return t("{count} h ago", count=int(past // 3600))
    return time.strftime("%Y-%m-%d", time.localtime(moment))


def validation(measure: Measure) -> str:
    """The name of a measure taken on held-out rows."""
    return t("Validation {measure}", measure=measure.inside)


def best_validation(measure: Measure) -> str:
    """The name of the best value of a measure on held-out rows."""
    return t("Best validation {measure}", measure=measure.inside)


def last_values(state: RunStatus) -> list[str]:
    """The loss and main measures of a run, named: ``loss 0.25``, ``validation loss 0.3``."""
    wanted = dict.fromkeys((LOSS, *state.declared.main))
    return [f"{name} {value}" for name, value in last_measures(state, wanted) if value != "–"]


def last_measures(state: RunStatus, wanted: Iterable[Measure] = ()) -> list[tuple[str, str]]:
    """Measures of a run by name and value, each followed by its held-out value; all by default."""
    told: list[tuple[str, str]] = []
    for measure in wanted or state.declared.measures:
        now, held_out = state.at_step(measure.name), state.at_eval(measure.name)
        if now is not None or measure == LOSS:
            told.append((measure.inside, measure.shown(now)))
        if held_out is not None:
            told.append((within(validation(measure)), measure.shown(held_out)))
    return told


def step_line(event: Event, num_steps: int | None, declared: Declared) -> str:
    """One step as a plain line."""
    parts = [
        t("step {step}/{all}", step=event["step"], all=num_steps or "?"),
        t("epoch {epoch:.2f}", epoch=number(event.get("epoch")) or 0.0),
        *measures(event, declared),
    ]
    left = seconds(number(event.get("eta_seconds")))
    if left and event["step"] != num_steps:
        parts.append(t("{time} left", time=left))
    return "  ".join(parts)


def measures(event: Event, declared: Declared) -> list[str]:
    """Loss, main measures, learning rate and speed of a step."""
    parts = _values(event, dict.fromkeys((LOSS, *declared.main)))
    rate, speed = number(event.get("learning_rate")), number(event.get("tokens_per_second"))
    if rate is not None:
        parts.append(t("lr {rate:.2e}", rate=rate))
    if speed:
        parts.append(t("{speed:,.0f} tokens/s", speed=speed))
    return parts


def _values(event: Event, wanted: Iterable[Measure]) -> list[str]:
    found = [(measure, measured(event, measure.name)) for measure in wanted]
    return [f"{m.inside} {m.shown(v)}" for m, v in found if v is not None]


def eval_line(event: Event, declared: Declared) -> str:
    """One evaluation as a plain line."""
    parts = [t("evaluation at step {step}", step=event["step"])]
    parts += _values(event, declared.measures)
    forgetting = number(event.get("forgetting"))
    if forgetting is not None:
        parts.append(t("forgetting {value}", value=signed(forgetting)))
    if event.get("best"):
        parts.append(t("best so far"))
    return "  ".join(parts)


def signed(value: float) -> str:
    """A difference with its sign and two decimals; no sign where it rounds to nothing."""
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text


def plan_line(event: Event) -> str:
    """What the worker is about to do, from its plan event."""
    share = percent(event["trained_parameters"] / max(1, event["total_parameters"]))
    parts = [
        t("{steps:,} steps", steps=event["num_steps"]),
        t("{trained:,} of {total:,} parameters ({share})",
          trained=event["trained_parameters"], total=event["total_parameters"], share=share),
    ]  # fmt: skip
    if event.get("tokens"):
        whole = event["num_steps"] % max(1, event.get("steps_per_epoch") or 1) == 0
        parts.append(
            t("{tokens:,} tokens", tokens=event["tokens"])
            if whole
            else t("about {tokens:,} tokens", tokens=event["tokens"])
        )
    if event.get("device"):
        parts.append(f"{event['device']} {event.get('dtype', '')}".strip())
    return " · ".join(parts)


def rows_line(event: Event) -> str:
    """The row counts, from a rows event."""
    filtered: dict[str, int] = event["filtered"]
    rules = ", ".join(f"{rule} {count:,}" for rule, count in filtered.items() if count)
    line = t("{read:,} rows read = {used:,} used + {aside:,} set aside + {left:,} filtered",
             read=event["read"], used=event["used"], aside=event["quarantined"],
             left=sum(filtered.values()))  # fmt: skip
    if rules:
        line = t("{line} ({more})", line=line, more=rules)
    again = held = ""
    if repeated := event.get("repeated"):
        again = t("repeated to {rows:,} per epoch", rows=event["used"] + repeated)
    if event.get("held_out"):
        held = t("{train:,} training, {held:,} held out",
                 train=event.get("train", 0), held=event["held_out"])  # fmt: skip
    return joined(line, again, held, between="; ")


def event_line(event: Event, declared: Declared, *, checked: bool) -> str | None:
    """An event as a sentence for either view; None for what is drawn or not worth a line."""
    match event["type"]:
        case "status" if event["status"] in ("queued", "paused", "stopping"):
            reason = why(event)
            return f"{status(event['status'])}: {reason}" if reason else None
        case "phase" if event["state"] == "end":
            took = seconds(number(event.get("seconds")))
            return f"✓ {phase(event['phase'])}  {took}".rstrip()
        case "rows" if (
            event.get("held_out") or event["read"] != event["used"] or (event.get("repeated"))
        ):
            return rows_line(event)
        case "eval":
            return eval_line(event, declared)
        case "sample" if event["stage"] in ("before", "eval"):
            return f"  {event['prompt']}  →  {' '.join(str(event['answer']).split())}"
        case "checkpoint":
            return t("saved step {step}", step=event["step"])
        case "resumed":
            return t("resuming from the checkpoint of step {step}", step=event["step"])
        case "warning" if not (checked and DATA_CODE.fullmatch(event["code"])):
            return f"! {retold(event, 'text')}"
        case "anomaly":
            if math.isfinite(number(event.get("loss")) or 0.0):
                return t("! step {step}: the gradient is not finite; the step was skipped",
                         step=event["step"])  # fmt: skip
            return t("! step {step}: the loss is {loss}, not a finite number; the step was skipped",
                     step=event["step"], loss=LOSS.shown(measured(event, LOSS.name)))  # fmt: skip
        case _:
            return None
