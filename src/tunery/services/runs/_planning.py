"""What a run would do and need, before it starts: rows, tokens, steps, memory, disk, time.

Tokens are counted by a child process that tokenizes the rows (into the cache that the run will
use); memory is estimated from the model's config.json, or measured on request.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunery import env
from tunery.config import settings
from tunery.config.adapters import ADAPTERS
from tunery.config.base import tag
from tunery.config.config import Config
from tunery.config.load import Loaded, write_frozen
from tunery.errors import RunFailed, rebuilt
from tunery.i18n import Phrase, joined, retold, t
from tunery.models.architectures import supports_checkpointing
from tunery.models.memory import estimate, fitting_micro_batch
from tunery.runs import store
from tunery.runs.folder import RunFolder, open_run, require_free
from tunery.services.runs._metrics import run_log
from tunery.services.runs._preparing import Checked, Listener, check
from tunery.shape import ModelShape
from tunery.workers.environment import worker_env

USABLE_SHARE = 0.8
"""Share of the free memory that a run may fill; the same as the worker's own."""


@dataclass(frozen=True)
class Plan:
    """The plan, all in plain numbers.

    Args:
        rows: The row ledger with ``train`` and ``held_out``.
        tokens: Tokens in all epochs: ``all``, ``trained``, ``epoch``, ``longest``, ``mean``;
            ``estimated`` where replay answers, which are not written yet, are among them.
        steps: ``all``, ``epoch``, ``batch_size``, ``micro_batch_tokens``.
        parameters: ``trained``, ``all``.
        memory: Bytes by part, ``total``, ``available``.
        disk: Bytes by part, ``total``, ``free``.
        seconds: Time of the training steps; None if nothing is known about the speed.
        speed: ``tokens_per_second`` and where it is ``from``.
        device: Device and number format.
        fits: Whether memory and disk space suffice.
        advice: What to change if they do not, or how to find out more.
        remedy: The settings that ``advice`` names, by path.
    """

    rows: dict[str, Any]
    tokens: dict[str, Any]
    steps: dict[str, Any]
    parameters: dict[str, int]
    memory: dict[str, Any]
    disk: dict[str, int]
    seconds: float | None
    speed: dict[str, Any]
    device: dict[str, str]
    fits: bool
    advice: str
    remedy: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return dict(vars(self))


Trial = Callable[[RunFolder, bool], dict[str, Any]]
"""Counts (and with True also measures) what a temporary run folder would do."""


def plan(
    loaded: Loaded,
    *,
    name: str | None = None,
    measure: bool = False,
    to: Listener | None = None,
    trial: Trial | None = None,
) -> Plan:
    """Plan a run; nothing is started.

    Args:
        loaded: The settings.
        name: The name that the run is to have, if it was chosen.
        measure: Take a few real steps and evaluate, to measure memory and time.
        to: Listener for rows, warnings and downloads.
        trial: Counts the rows; by default in a new process.

    Raises:
        TuneryError: Whatever is wrong with the request.
    """
    to = to or Listener()
    if name is not None:
        require_free(name)
    checked = check(loaded, to=to, room=False)
    to.doing(
        t("taking a few steps to measure memory and time") if measure else t("counting tokens")
    )
    found = _trial(checked, measure=measure, trial=trial or in_new_process)
    config, counted = checked.config, found["parameters"]
    shape = replace(
        checked.shape,
        total_parameters=counted["all"],
        trained=counted["trained"],
        counted=tuple(counted["linear"]) if config.quantization.quantizes else None,
    )
    for text in (*(retold(event, "text") for event in found["warnings"]), *_rough(shape)):
        to.warn(text)
    measured: dict[str, Any] = found.get("measured") or {}
    tokens = _tokens(config, found)
    available = int(found["available_bytes"] * USABLE_SHARE)
    width = "fp32" if found["dtype"] == "float32" else "bf16"
    others = sum((each.base or each).num_parameters or 0 for each in checked.others)
    micro = _micro_batch(config, shape, width, available, found, others)
    memory = _memory(config, shape, width, micro, measured, others) | {"available": available}
    free = env.free_bytes(env.runs_dir())
    disk = _disk(checked, found)
    speed = _speed(config, measured)
    rate = speed.get("tokens_per_second")
    fits_memory, fits_disk = memory["total"] <= available, disk["total"] <= free
    advice, remedy = "", {}
    if not fits_memory:
        kind = (checked.model.base or checked.model).architecture
        advice, remedy = _advice(config, shape, width, found, available, kind, others)
    return Plan(
        rows={**checked.rows, **found["rows_event"], "replay": found["replay_rows"]},
        tokens=tokens,
        steps={
            "all": found["num_steps"],
            "epoch": found["steps_per_epoch"],
            "batch_size": config.train.batch_size,
            "micro_batch_tokens": micro,
        },
        parameters={
            "trained": measured.get("trained_parameters") or counted["trained"],
            "all": counted["all"],
        },
        memory=memory,
        disk={**disk, "free": free},
        seconds=_seconds(tokens["all"], found["pauses"], speed) if rate else None,
        speed=speed,
        device={"name": found["device"], "dtype": found["dtype"]},
        fits=fits_memory and fits_disk,
        advice=advice if not fits_memory else _disk_advice(fits_disk),
        remedy=remedy,
    )


def _rough(shape: ModelShape) -> Iterator[str]:
    if shape.guessed:
        yield t(
            "The memory estimate is rough because config.json lacks {names}; --measure runs "
            "a few steps and measures.",
            names=", ".join(shape.guessed),
        )


def _trial(checked: Checked, *, measure: bool, trial: Trial) -> dict[str, Any]:
    """Count on a temporary run folder."""
    env.cache_dir().mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="plan-", dir=env.cache_dir()))
    try:
        folder = RunFolder(place)
        folder.control_dir.mkdir()
        write_frozen(folder.config_file, checked.config, {})
        return trial(folder, measure)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def in_new_process(folder: RunFolder, measure: bool) -> dict[str, Any]:
    """Count in a separate process, without network access and secrets."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tunery.train.trial", str(folder.path)]
        + (["--measure"] if measure else []),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=worker_env(),
        check=False,
    )
    try:
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise RunFailed(
            t("The plan's child process exited with status {code}: {text}",
              code=done.returncode, text=last),
            fix=_after_status(done.returncode, measure=measure),
        ) from error  # fmt: skip
    if "error" in found:
        raise rebuilt({k: v for k, v in found.items() if k != "exit_status"})
    return found


def _after_status(status: int, *, measure: bool) -> str:
    """What to do after a child process ended with a status and without an answer."""
    if status != -signal.SIGKILL:
        return t("Report this as a bug, with the settings of the plan.")
    if measure:
        return t("The system ends a process that takes too much memory: try without --measure.")
    return t("The system ends a process that takes too much memory: use a smaller model.")


def _tokens(config: Config, found: dict[str, Any]) -> dict[str, Any]:
    answers = found["replay_rows"] * config.data.replay.max_new_tokens / 2
    epoch = int(found["tokens"] + found["replay_rows"] * found["mean"] / 2 + answers)
    epochs = found["num_steps"] / max(1, found["steps_per_epoch"])
    return {
        "all": int(epoch * epochs),
        "trained": int((found["trained_tokens"] + answers) * epochs),
        "estimated": found["replay_rows"] > 0,
        "epoch": epoch,
        "longest": found["longest"],
        "mean": found["mean"],
    }


def _disk(checked: Checked, found: dict[str, Any]) -> dict[str, int]:
    """Bytes on the disk by part, with what the method stores before the first step."""
    trained = found["trained_tokens"] + found["held_out_trained_tokens"]
    stored = checked.config.method.stored_bytes(trained, checked.config)
    return checked.disk | {"stored": stored, "total": checked.disk["total"] + stored}


def _micro_batch(
    config: Config,
    shape: ModelShape,
    dtype: str,
    available: int,
    found: dict[str, Any],
    others: int,
) -> int:
    longest = max(1, found["longest"])
    fits = fitting_micro_batch(
        shape,
        config,
        dtype=dtype,
        available_bytes=available,
        longest_row=longest,
        others=others,
    )
    # A step has no more tokens than its rows, however much memory there is.
    return min(
        config.train.micro_batch_tokens or fits or longest, config.train.batch_size * longest
    )


def _memory(
    config: Config,
    shape: ModelShape,
    dtype: str,
    micro: int,
    measured: dict[str, Any],
    others: int,
) -> dict[str, Any]:
    need = estimate(shape, config, dtype=dtype, micro_batch_tokens=micro, others=others)
    total = measured.get("peak_bytes") or need.total
    return {**need.as_dict(), "total": total, "measured": bool(measured)}


def _seconds(tokens: int, counts: Mapping[str, int], speed: Mapping[str, Any]) -> float:
    """Seconds of the whole run: start, steps, and the pauses between them."""
    pauses: Mapping[str, float] = speed["pauses"]
    beside = sum(count * pauses.get(kind, 0.0) for kind, count in counts.items())
    return round(tokens / speed["tokens_per_second"] + beside, 1)


def _speed(config: Config, measured: dict[str, Any]) -> dict[str, Any]:
    """Speed and pauses: measured now, else those of the newest run of the same kind."""
    if measured:
        return {
            "tokens_per_second": measured["tokens_per_second"],
            "pauses": measured["pauses"],
            "from": "measured",
        }
    quantization = config.quantization.type if config.quantization.quantizes else None
    wanted = (config.model.name, config.method.type, config.adapter.type, quantization)
    for run in store.list_runs():
        same = (run.model, run.method, run.adapter, run.quantization) == wanted
        if same and run.status == "finished" and run.tokens_per_second:
            log = run_log(open_run(run.name))
            results = [event for event in log.events if event["type"] == "result"]
            result = results[-1] if results else {}
            return {
                # That of the whole run, where a list shows the speed of the newest steps.
                "tokens_per_second": result.get("tokens_per_second") or run.tokens_per_second,
                "pauses": result.get("pauses", {}),
                "from": run.name,
            }
    return {"tokens_per_second": None, "pauses": {}, "from": None}


def _advice(
    config: Config,
    shape: ModelShape,
    dtype: str,
    found: dict[str, Any],
    available: int,
    kind: str,
    others: int,
) -> tuple[str, dict[str, Any]]:
    """The first smaller setting that fits, least impact first: a sentence, and the settings."""
    longest = max(1, found["longest"])
    shorter = [n for n in (4096, 2048, 1024, 512, 256) if n < longest]
    bf16: dict[str, Any] = {"model.dtype": "bf16"}
    can_recompute = supports_checkpointing(kind) is not False
    recompute: dict[str, Any] = {"train.gradient_checkpointing": True} if can_recompute else {}
    tries: list[tuple[dict[str, Any], int]] = [
        (recompute, longest), (bf16, longest), (bf16 | recompute, longest),
    ]  # fmt: skip
    if config.adapter.writes == "model":
        beside: dict[str, Any] = {"adapter.type": tag(ADAPTERS[0])}
        tries += [(beside, longest), (beside | bf16, longest)]
    tries += [(bf16 | recompute | {"data.max_length": n}, n) for n in shorter]
    for changes, length in tries:
        if not changes:
            continue
        recomputed = "train.gradient_checkpointing" in changes
        trained = config.train.model_copy(update={"gradient_checkpointing": recomputed})
        other = "adapter.type" in changes
        adapter = ADAPTERS[0]() if other else config.adapter
        need = estimate(
            replace(shape, trained=None) if other else shape,
            config.model_copy(update={"adapter": adapter, "train": trained}),
            dtype=changes.get("model.dtype", dtype),
            micro_batch_tokens=length,
            others=others,
        ).total
        if need <= available:
            flags = joined(
                *(Phrase(f"--{path} {settings.show(to)}") for path, to in changes.items())
            )
            return t("Not enough memory. Try {flags} (about {size}).",
                     flags=flags, size=env.human_bytes(need)), changes  # fmt: skip
    return t("Not enough memory with any of the settings tried: use a smaller model."), {}


def _disk_advice(fits: bool) -> str:
    if fits:
        return ""
    return t("The disk is too small: free some space, lower checkpoint.keep, or set TUNERY_HOME.")
