"""report.html and loss.png of a run: everything a person wants to see afterwards, in one file.

The page is self-contained (inline SVG and CSS, no script, no other host) and is drawn from the
run's events alone, so it can be made again at any time. All text from data or models is escaped.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunery.i18n import language, t
from tunery.runs.diagnosis import diagnose, smooth
from tunery.runs.folder import RunFolder
from tunery.workers.log import read_events

WIDTH, HEIGHT, PAD = 760, 230, 56
MAX_POINTS = 2000
TEAL, ORANGE, FAINT = "#0a6c6a", "#c2571a", "#9ccfcb"


def write(folder: RunFolder) -> None:
    """Write ``report.html`` and ``loss.png`` into the run folder, each whole or not at all."""
    events, _ = read_events(folder.events_file)
    _replace(folder.report_file, render(folder.path.name, folder.path, events).encode())
    _replace(folder.loss_image_file, loss_png(events))


def render(name: str, path: Path, events: Sequence[dict[str, Any]]) -> str:
    """Draw the report page.

    Args:
        name: The run's name.
        path: The run folder, shown so that it can be found.
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


def loss_png(events: Sequence[dict[str, Any]]) -> bytes:
    """Draw the loss curves as a PNG picture."""
    import io

    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 3.6), dpi=120, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for label, points, color, style in _loss_series(events):
        xs, ys = zip(*points, strict=True) if points else ((), ())
        axes.plot(xs, ys, style, color=color, label=label, markersize=4)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.25)
    if axes.lines:
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


Point = tuple[float, float]


def _loss_series(events: Sequence[dict[str, Any]]) -> list[tuple[str, list[Point], str, str]]:
    """(label, points, colour, style) of the loss chart; labels are English for the picture."""
    raw = _points(events, "step", "loss")
    smoothed = list(zip([x for x, _ in raw], smooth([y for _, y in raw]), strict=True))
    series = [("loss", raw, FAINT, "-"), ("smoothed", smoothed, TEAL, "-")]
    held_out = _points(events, "eval", "loss")
    if held_out:
        series.append(("evaluation", held_out, ORANGE, "o"))
    return series


def _points(events: Sequence[dict[str, Any]], kind: str, field: str) -> list[Point]:
    points = [
        (float(e["step"]), float(e[field]))
        for e in events
        if e["type"] == kind and e.get(field) is not None and math.isfinite(float(e[field]))
    ]
    stride = max(1, math.ceil(len(points) / MAX_POINTS))
    return points[::stride]


def _curves(events: Sequence[dict[str, Any]]) -> str:
    labels = {"loss": t("loss"), "smoothed": t("smoothed"), "evaluation": t("evaluation")}
    loss = [(labels[name], p, c, s) for name, p, c, s in _loss_series(events)]
    charts = [_chart(t("Loss"), loss)]
    for field, title in (
        ("learning_rate", t("Learning rate")),
        ("grad_norm", t("Gradient norm")),
        ("tokens_per_second", t("Tokens a second")),
    ):
        charts.append(_chart(title, [(title, _points(events, "step", field), TEAL, "-")]))
    return "".join(charts)


def _chart(title: str, series: Sequence[tuple[str, list[Point], str, str]]) -> str:
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
                f'fill="{color}"><title>{html.escape(label)} {x:g}: {y:.4g}</title></circle>'
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
        f"{y0 + y * (y1 - y0):.3g}</text>"
        for y in (0, 0.25, 0.5, 0.75, 1)
    )
    ends = (
        f'<text x="{PAD}" y="{HEIGHT}">{x0:g}</text>'
        f'<text x="{WIDTH - PAD}" y="{HEIGHT}" text-anchor="end">{x1:g}</text>'
    )
    summary = html.escape(f"{title}: {points[0][1]:.4g} → {points[-1][1]:.4g}")
    return (
        f"<figure><figcaption>{html.escape(title)} <small>{legend}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 4}" role="img" aria-label="{summary}">'
        f"{grid}{ends}{''.join(drawn)}</svg></figure>"
    )


def _top(share: float) -> float:
    return HEIGHT - PAD / 2 - share * (HEIGHT - PAD)


def _facts(events: Sequence[dict[str, Any]], path: Path) -> str:
    rows = next((e for e in reversed(events) if e["type"] == "rows"), {})
    plan = next((e for e in reversed(events) if e["type"] == "plan"), {})
    steps = [e for e in events if e["type"] == "step"]
    best = next((e for e in reversed(events) if e["type"] == "eval" and e.get("best")), None)
    facts = [(t("Run folder"), str(path))]
    if rows:
        filtered = rows.get("filtered") or {}
        facts.append(
            (
                t("Rows"),
                t(
                    "{read} read = {used} used + {set_aside} set aside + {filtered} filtered",
                    read=rows.get("read", 0),
                    used=rows.get("used", 0),
                    set_aside=rows.get("quarantined", 0),
                    filtered=sum(filtered.values()) if isinstance(filtered, dict) else filtered,
                ),
            )
        )
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
            facts.append((t("Tokens a second"), f"{tokens / seconds:,.0f}"))
    if best is not None:
        facts.append((t("Best checkpoint"), t("step {step}", step=best["step"])))
    cells = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in facts
    )
    return f"<dl>{cells}</dl>"


def _answers(events: Sequence[dict[str, Any]]) -> str:
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


def _warnings(events: Sequence[dict[str, Any]]) -> str:
    texts = [str(e.get("text", "")) for e in events if e["type"] == "warning"]
    if not texts:
        return ""
    items = "".join(f"<li>{html.escape(text)}</li>" for text in dict.fromkeys(texts))
    return f"<h2>{html.escape(t('Worth knowing'))}</h2><ul>{items}</ul>"


def _replace(file: Path, content: bytes) -> None:
    staging = file.with_name(f".{file.name}.{os.getpid()}")
    staging.write_bytes(content)
    staging.replace(file)


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
table{border-collapse:collapse;width:100%;background:var(--card);border:1px solid var(--line)}
th,td{text-align:left;vertical-align:top;padding:8px 12px;border-top:1px solid var(--line);
white-space:pre-wrap;overflow-wrap:anywhere}th{color:var(--soft);font-weight:600}
"""
