"""Print a plan: the figures of a run that has not started, section by section."""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from tunery.cli.console import out, print_warning
from tunery.cli.wrapping import prose, wrapped
from tunery.env import human_bytes, percent
from tunery.i18n import joined, t
from tunery.services import words
from tunery.services.runs import Plan


def show(plan: Plan) -> None:
    """Print a plan."""
    table = Table.grid(padding=(0, 2))
    lines = _lines(plan)
    width = out.width - max(cell_len(label) for label, _ in lines) - 4
    for label, value in lines:
        text = Text(value, overflow="fold")
        table.add_row(Text(label, style="dim"), wrapped(text, width) if out.is_terminal else text)
    out.print(table)
    if plan.fits:
        prose(out, Text(t("It fits on this machine."), style="green"))
    if plan.advice:
        print_warning(plan.advice)


def _lines(plan: Plan) -> list[tuple[str, str]]:
    tokens, steps, share = plan.tokens, plan.steps, plan.parameters
    lines = [
        (t("rows"), words.rows_line(plan.rows)),
        (
            t("tokens"),
            _tokens(tokens),
        ),
        (
            t("steps"),
            t(
                "{all:,} ({epoch:,} per epoch, {batch:,} rows each, {micro:,} tokens per "
                "micro batch)",
                all=steps["all"],
                epoch=steps["epoch"],
                batch=steps["batch_size"],
                micro=steps["micro_batch_tokens"],
            ),
        ),
        (
            t("parameters"),
            t(
                "{trained:,} of {all:,} trainable ({share})",
                trained=share["trained"],
                all=share["all"],
                share=percent(share["trained"] / max(1, share["all"])),
            ),
        ),
        (t("device"), f"{plan.device['name']} {plan.device['dtype']}"),
        (t("memory"), _memory(plan)),
        (t("disk"), _disk(plan)),
        (t("time"), _time(plan)),
    ]
    if plan.rows.get("replay"):
        count = plan.rows["replay"]
        lines.insert(1, (t("replay"), t("{count} general prompts, answered by the base model",
                                        count=count)))  # fmt: skip
    return lines


def _tokens(tokens: dict[str, Any]) -> str:
    rows = t("{mean:g} per row on average, {longest:,} at most",
             mean=tokens["mean"], longest=tokens["longest"])  # fmt: skip
    said = t("{all:,} in all epochs, {trained:,} trained on",
             all=tokens["all"], trained=tokens["trained"])  # fmt: skip
    if tokens["estimated"]:
        said = t(
            "about {all:,} in all epochs, {trained:,} trained on (replay answers are estimated)",
            all=tokens["all"],
            trained=tokens["trained"],
        )
    return joined(said, rows, between="; ")


def _memory(plan: Plan) -> str:
    memory = plan.memory
    names = {
        "weights": t("weights"),
        "trained": t("trained weights"),
        "gradients": t("gradients"),
        "optimizer": t("optimizer"),
        "activations": t("activations"),
        "logits": t("logits"),
        "others": t("other models"),
        "interpreter": t("program"),
    }
    parts = " + ".join(f"{label} {human_bytes(memory[name])}" for name, label in names.items()
                       if memory[name] or name != "others")  # fmt: skip
    head = t("about {need} of {there} usable", need=human_bytes(memory["total"]),
             there=human_bytes(memory["available"]))  # fmt: skip
    if memory["measured"]:
        head = t("{need} measured, of {there} usable", need=human_bytes(memory["total"]),
                 there=human_bytes(memory["available"]))  # fmt: skip
    return t("{head}\n({parts})", head=head, parts=parts)


def _disk(plan: Plan) -> str:
    disk = plan.disk
    need, free = human_bytes(disk["total"]), human_bytes(disk["free"])
    if disk["stored"]:
        return t("{need} for checkpoints, the result and {stored} of stored predictions, "
                 "{free} free",
                 need=need, stored=human_bytes(disk["stored"]), free=free)  # fmt: skip
    return t("{need} for checkpoints and the result, {free} free", need=need, free=free)


def _time(plan: Plan) -> str:
    if plan.seconds is None:
        return t("unknown until measured: tunery plan ... --measure")
    speed = t("{speed:,.0f} tokens/s", speed=plan.speed["tokens_per_second"])
    source = plan.speed["from"]
    where = t("measured") if source == "measured" else t("as in run {run}", run=source)
    return t("about {time} in all ({speed}, {where})",
             time=words.seconds(plan.seconds), speed=speed, where=where)  # fmt: skip
