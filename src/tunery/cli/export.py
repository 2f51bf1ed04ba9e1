"""`tunery export`: write a run's result as an adapter or a merged model, and verify it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from rich.status import Status
from rich.text import Text

from tunery.cli.console import err, out, print_json
from tunery.cli.progress import model_progress
from tunery.cli.wrapping import prose
from tunery.commands import command
from tunery.env import human_bytes
from tunery.i18n import t
from tunery.services import export as export_service

app = App(name="export", help=t("Export the result of a run as an adapter or a merged model."))


@app.default
def export(
    run: str,
    folder: Path,
    /,
    *,
    to: str,
    force: Annotated[bool, Parameter(negative="")] = False,
    dtype: Literal["auto", "fp32", "bf16"] = "auto",
    device: str = "auto",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Write a run's result: tunery export RUN_OR_CHECKPOINT --to adapter|merged FOLDER.

    What was written is opened again by plain transformers, and its logits and greedy answers are
    compared with what was trained. The folder appears whole, or not at all.

    Args:
        run: A run, RUN@step-00000100, a checkpoint, or an adapter folder.
        folder: Target folder; new or empty.
        to: adapter (PEFT) or merged (a full model).
        force: Replace an earlier export in that folder.
        dtype: Number format of a merged model: fp32, bf16, or auto as in training.
        device: Device for the comparison: auto, cpu, cuda or cuda:N.
        json: Print what was written and the result of the comparison as JSON.
    """
    quiet = json or not err.is_terminal
    status = nullcontext() if quiet else err.status(t("checking {name} ...", name=run))
    with model_progress(as_json=False) as progress, status as shown:

        def stage(text: str, done: int, total: int) -> None:
            if isinstance(shown, Status):
                counted = t("{what}: {done} of {n}", what=text, done=done, n=total)
                shown.update(Text(f"{counted if total else text} ..."))
            elif not json and done == 0:
                prose(err, Text(f"{text} ..."))

        done = export_service.export(
            run,
            folder,
            to=to,
            force=force,
            dtype=dtype,
            device=device,
            progress=progress,
            stage=stage,
        )
    if json:
        print_json({"folder": str(done.folder), "size_bytes": done.size_bytes, **done.report})
    else:
        _show(done)
    return 0


def _show(done: export_service.Exported) -> None:
    parity = done.report["parity"]
    prose(out, Text.assemble(
            (str(done.folder), "bold"), f"  {human_bytes(done.size_bytes)}",
            f"  {done.report['format']}, {done.report['dtype']}",
        ))  # fmt: skip
    prose(
        out,
        Text(
            t(
                "The export matches within rounding: {same} of {count} answers are identical, "
                "{ties} diverge where two tokens were almost equally likely.",
                same=parity["same_answers"],
                count=parity["num_prompts"],
                ties=parity["near_ties"],
            )
            if parity["near_ties"]
            else t(
                "The export matches: {same} of {count} answers are identical.",
                same=parity["same_answers"],
                count=parity["num_prompts"],
            ),
            style="green",
        ),
    )
    limits = done.report["limits"]
    prose(
        out,
        Text(
            t(
                "Largest logit difference {logit} (allowed: {most}); KL divergence {kl} nats on "
                "average (allowed: {most_kl}).",
                logit=f"{parity['max_logit_difference']:.2g}",
                most=f"{limits['max_logit_difference']:.2g}",
                kl=f"{parity['mean_kl']:.2g}",
                most_kl=f"{limits['mean_kl']:.2g}",
            ),
            style="dim",
        ),
    )
    quantized = done.report.get("quantized_base")  # exports from before there was one
    if quantized is not None:
        prose(
            out,
            Text(
                t(
                    "The base was quantized to {quantization} in training and is unquantized here: "
                    "{same} of {count} answers are identical, and the next-token distribution "
                    "differs by {kl} nats on average.",
                    quantization=quantized["quantization"],
                    same=quantized["same_answers"],
                    count=quantized["num_prompts"],
                    kl=f"{quantized['mean_kl']:.2g}",
                )
            ),
        )
    prose(out, Text(f"  {command('chat', done.folder)}", style="cyan"))
