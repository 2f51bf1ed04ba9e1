"""Write report.html and loss.png of a run: its results on one page.

The page is self-contained (inline SVG and CSS, no script, no other host) and is built from the
run's events alone, so it can be rebuilt at any time. All text from data or models is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path

from tunery import atomic
from tunery.i18n import joined, language, t
from tunery.measures import LOSS, Declared, Measure, within
from tunery.runs.curves import RunLog
from tunery.runs.diagnosis import diagnose, smooth
from tunery.runs.events import measured
from tunery.runs.folder import RunFolder
from tunery.workers.log import Event, number

WIDTH, HEIGHT, PAD = 760, 230, 56
MAX_POINTS = 2000
STEP_FIGURES = ("learning_rate", "grad_norm", "tokens_per_second")
PLAIN = Measure("", "")
TEAL, ORANGE, FAINT = "#0a6c6a", "#c2571a", "#9ccfcb"


def write(folder: RunFolder) -> None:
    """Write ``report.html`` and ``loss.png`` into the run folder, each atomically."""
    events = RunLog(folder.events_file).refresh().thinned()
    atomic.write(folder.report_file, render(folder.path.name, folder.path, events).encode())
    atomic.write(folder.loss_image_file, loss_png(events))


def render(name: str, path: Path, events: Sequence[Event]) -> str:
    """Build the report page.

    Args:
        name: The run's name.
        path: The run folder, shown on the page.
        events: All events of the run.
    """
    finding = diagnose(events)
    parts = [
        f"<h1>{html.escape(name)}</h1>",
        f"<p class=lead>{html.escape(finding.words)}</p>",
        f"<p>{html.escape(finding.advice)}</p>",
        _facts(events, path),
        _answers(events),
        _curves(events),
        _evaluations(events),
        _warnings(events),
    ]
    title = html.escape(t("Tunery run {name}", name=name))
    return (
        f'<!doctype html><html lang="{language()}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        f"<title>{title}</title><style>{_CSS}</style></head><body><main>"
        + "\n".join(parts)
        + "</main></body></html>\n"
    )


def loss_png(events: Sequence[Event]) -> bytes:
    """Plot the curves of the loss and of the run's own measures as a PNG image."""
    return curves_image(events, "png")


def curves_image(events: Sequence[Event], kind: str) -> bytes:
    """Plot the curves of the loss and of the run's own measures.

    Args:
        events: All events of the run.
        kind: ``png`` or ``svg``.
    """
    import io

    from matplotlib.figure import Figure

    charted = [measure for measure in _declared(events).measures if measure.chart]
    figure = Figure(figsize=(7.6, 1.2 + 2.4 * len(charted)), dpi=120, layout="constrained")
    for place, measure in enumerate(charted, 1):
        axes = figure.add_subplot(len(charted), 1, place)
        for label, points, color, style in _measure_series(events, measure):
            xs, ys = zip(*points, strict=True) if points else ((), ())
            axes.plot(xs, ys, style, color=color, label=label, markersize=4)
        axes.set_ylabel(within(measure.label))
        axes.grid(alpha=0.25)
        if axes.lines and place == 1:
            axes.legend(frameon=False)
        if place == len(charted):
            axes.set_xlabel("step")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind)
    return buffer.getvalue()


Point = tuple[float, float]


def _declared(events: Sequence[Event]) -> Declared:
    return Declared.of(next((e for e in reversed(events) if e["type"] == "plan"), None))


def _measure_series(
    events: Sequence[Event], measure: Measure
) -> list[tuple[str, list[Point], str, str]]:
    """(label, points, colour, style) of a measure; the labels of the image are English."""
    raw = _points(events, "step", measure.name)
    smoothed = list(zip([x for x, _ in raw], smooth([y for _, y in raw]), strict=True))
    series = [("training", raw, FAINT, "-"), ("smoothed", smoothed, TEAL, "-")]
    held_out = _points(events, "eval", measure.name)
    if held_out:
        series.append(("validation", held_out, ORANGE, "o"))
    return series


def _points(events: Sequence[Event], kind: str, name: str) -> list[Point]:
    """(step, value) pairs of a measure, or of a number that every step has."""
    points: list[Point] = []
    for event in (e for e in events if e["type"] == kind):
        value = number(event.get(name)) if name in STEP_FIGURES else measured(event, name)
        if value is not None and math.isfinite(value):
            points.append((float(event["step"]), value))
    stride = max(1, math.ceil(len(points) / MAX_POINTS))
    return points[::stride]


def _curves(events: Sequence[Event]) -> str:
    labels = {"training": t("training"), "smoothed": t("smoothed"), "validation": t("validation")}
    charts: list[str] = []
    for measure in _declared(events).measures:
        if measure.chart:
            lines = [(labels[n], p, c, s) for n, p, c, s in _measure_series(events, measure)]
            charts.append(_chart(measure.title, lines, measure))
    titles = (t("Learning rate"), t("Gradient norm"), t("Tokens per second"))
    for field, title in zip(STEP_FIGURES, titles, strict=True):
        charts.append(_chart(title, [(title, _points(events, "step", field), TEAL, "-")]))
    return "".join(charts)


def _chart(
    title: str,
    series: Sequence[tuple[str, list[Point], str, str]],
    measure: Measure = PLAIN,
) -> str:
    points = [point for _, line, _, _ in series for point in line]
    if not points:
        return ""
    x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
    y0, y1 = min(0.0, *(y for _, y in points)), max(y for _, y in points)
    x1, y1 = (x1 if x1 > x0 else x0 + 1), (y1 if y1 > y0 else y0 + 1)

    def place(x: float, y: float) -> str:
        left = PAD + (x - x0) / (x1 - x0) * (WIDTH - 2 * PAD)
        top = HEIGHT - PAD / 2 - (y - y0) / (y1 - y0) * (HEIGHT - PAD)
        return f"{left:.1f},{top:.1f}"

    drawn = []
    for label, line, color, style in series:
        if style == "o":
            drawn += [
                f'<circle cx="{place(x, y).split(",")[0]}" cy="{place(x, y).split(",")[1]}" r="4" '
                f'fill="{color}"><title>'
                f"{html.escape(f'{label} {x:g}: {measure.shown(y)}')}</title></circle>"
                for x, y in line
            ]
        elif line:
            path = " ".join(place(x, y) for x, y in line)
            drawn.append(
                f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.8"/>'
            )
    legend = " ".join(
        f'<span><i style="background:{color}"></i>{html.escape(label)}</span>'
        for label, line, color, _ in series
        if line and len(series) > 1
    )
    grid = "".join(
        f'<line x1="{PAD}" x2="{WIDTH - PAD}" y1="{_top(y)}" y2="{_top(y)}" class=grid />'
        f'<text x="{PAD - 6}" y="{_top(y) + 4}" text-anchor="end">'
        f"{html.escape(measure.shown(float(f'{y0 + y * (y1 - y0):.3g}')))}</text>"
        for y in (0, 0.25, 0.5, 0.75, 1)
    )
    ends = (
        f'<text x="{PAD}" y="{HEIGHT}">{x0:g}</text>'
        f'<text x="{WIDTH - PAD}" y="{HEIGHT}" text-anchor="end">{x1:g}</text>'
    )
    summary = html.escape(
        f"{title}: {measure.shown(points[0][1])} → {measure.shown(points[-1][1])}"
    )
    return (
        f"<figure><figcaption>{html.escape(title)} <small>{legend}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 4}" role="img" aria-label="{summary}">'
        f"{grid}{ends}{''.join(drawn)}</svg></figure>"
    )


def _top(share: float) -> float:
    return HEIGHT - PAD / 2 - share * (HEIGHT - PAD)


def _facts(events: Sequence[Event], path: Path) -> str:
    rows = next((e for e in reversed(events) if e["type"] == "rows"), {})
    plan = next((e for e in reversed(events) if e["type"] == "plan"), {})
    steps = [e for e in events if e["type"] == "step"]
    best = next((e for e in reversed(events) if e["type"] == "eval" and e.get("best")), None)
    facts = [(t("Run folder"), str(path))]
    if rows:
        filtered = rows.get("filtered") or {}
        said = t(
            "{read} read = {used} used + {set_aside} set aside + {filtered} filtered",
            read=rows.get("read", 0),
            used=rows.get("used", 0),
            set_aside=rows.get("quarantined", 0),
            filtered=sum(filtered.values()) if isinstance(filtered, dict) else filtered,
        )
        if repeated := rows.get("repeated"):
            again = t("repeated to {rows:,} per epoch", rows=rows.get("used", 0) + repeated)
            said = joined(said, again, between="; ")
        facts.append((t("Rows"), said))
    if plan.get("trained_parameters"):
        facts.append(
            (
                t("Trained"),
                t(
                    "{trained:,} of {total:,} parameters",
                    trained=plan["trained_parameters"],
                    total=plan.get("total_parameters", 0),
                ),
            )
        )
    if steps:
        tokens = sum(e.get("tokens") or 0 for e in steps)
        seconds = sum(e.get("seconds") or 0.0 for e in steps)
        facts.append((t("Steps"), f"{steps[-1]['step']}"))
        if seconds > 0:
            facts.append((t("Tokens per second"), f"{tokens / seconds:,.0f}"))
    facts += [(measure.title, value) for measure, value in _final(events, steps)]
    if best is not None:
        facts.append((t("Best checkpoint"), t("step {step}", step=best["step"])))
    cells = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts
    )
    return f"<dl>{cells}</dl>"


def _final(events: Sequence[Event], steps: Sequence[Event]) -> list[tuple[Measure, str]]:
    """The last value of the loss and of the main measures, each with its held-out value."""
    declared, found = _declared(events), list[tuple[Measure, str]]()
    evals = [e for e in events if e["type"] == "eval"]
    for measure in dict.fromkeys((LOSS, *declared.main)):
        now = measured(steps[-1], measure.name) if steps else None
        held_out = [v for e in evals if (v := measured(e, measure.name)) is not None]
        told = [measure.shown(now)] if now is not None else []
        if held_out:
            told.append(t("{value} on held-out rows", value=measure.shown(held_out[-1])))
        if told:
            found.append((measure, ", ".join(told)))
    return found


def _answers(events: Sequence[Event]) -> str:
    samples = [e for e in events if e["type"] == "sample"]
    prompts = list(dict.fromkeys(e["prompt"] for e in samples))
    if not prompts:
        return ""
    body = []
    for prompt in prompts:
        before = [e["answer"] for e in samples if e["prompt"] == prompt and e["stage"] == "before"]
        after = [e["answer"] for e in samples if e["prompt"] == prompt and e["stage"] != "before"]
        cells = [prompt, before[-1] if before else "", after[-1] if after else ""]
        body.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = "".join(
        f"<th>{html.escape(head)}</th>" for head in (t("Prompt"), t("Before"), t("After"))
    )
    return (
        f"<h2>{html.escape(t('Before and after'))}</h2><div class=wide><table>"
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _evaluations(events: Sequence[Event]) -> str:
    """A table of the measurements on held-out rows, for a method with its own measures."""
    declared = _declared(events)
    evals = [e for e in events if e["type"] == "eval"]
    there = [m for m in declared.measures if any(measured(e, m.name) is not None for e in evals)]
    if not declared.own or not there:
        return ""
    heads = "".join(
        f"<th>{html.escape(head)}</th>" for head in (t("Step"), *(m.title for m in there))
    )
    body = ""
    for event in evals:
        cells = [f"{event['step']}", *(m.shown(measured(event, m.name)) for m in there)]
        body += "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"
    return (
        f"<h2>{html.escape(t('Evaluations'))}</h2><div class=wide><table class=numbers>"
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _warnings(events: Sequence[Event]) -> str:
    texts = [str(e.get("text", "")) for e in events if e["type"] == "warning"]
    if not texts:
        return ""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in dict.fromkeys(texts))
    return f"<h2>{html.escape(t('Notices'))}</h2><ul>{items}</ul>"


_CSS = """
:root{color-scheme:light dark;--paper:#faf8f4;--card:#fff;--ink:#1d2524;--soft:#5a6665;
--line:#e2ded6;--teal:#0a6c6a}
@media (prefers-color-scheme:dark){:root{--paper:#141817;--card:#1c2221;--ink:#e6ebea;
--soft:#9aa6a5;--line:#2c3433;--teal:#53c7bb}}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif}
main{max-width:820px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:22px;font-weight:600}h2{font-size:17px;font-weight:600;margin-top:32px}
.lead{font-size:16px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;background:var(--card);
border:1px solid var(--line);border-radius:10px;padding:14px 18px}
dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
figure{margin:18px 0 0;background:var(--card);border:1px solid var(--line);border-radius:10px;
padding:12px 14px}figcaption{font-weight:600}figcaption small{font-weight:400;margin-left:8px}
figcaption i{display:inline-block;width:10px;height:10px;border-radius:3px;margin:0 5px 0 10px}
svg{width:100%;height:auto;display:block}svg text{font-size:11px;fill:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}.wide{overflow-x:auto}
.numbers td,.numbers th{white-space:nowrap;word-break:normal;overflow-wrap:normal}
table{border-collapse:collapse;width:100%;background:var(--card);border:1px solid var(--line)}
th,td{text-align:left;vertical-align:top;padding:8px 12px;border-top:1px solid var(--line);
white-space:pre-wrap;overflow-wrap:anywhere}th{color:var(--soft);font-weight:600}
"""
