"""Checks before a run: everything that can be known to be wrong is reported now, not in an hour.

Settings, name, data, model, template, disk space: in this order, so that nothing is downloaded for
rows that cannot be trained on. The result is a run folder with its frozen config.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunery import env, memory
from tunery.config import rules
from tunery.config.config import Config
from tunery.config.load import Loaded
from tunery.errors import ConfigError, LaunchError
from tunery.i18n import t
from tunery.models.progress import Progress, silent
from tunery.runs.folder import RunFolder, create, require_free
from tunery.shape import BYTES, ModelShape
from tunery.workers.folder import read_json

if TYPE_CHECKING:
    from tunery.data.examples import ExampleSet
    from tunery.models.resolve import Resolved

PACKAGES = ("tunery", "torch", "transformers", "peft", "tokenizers", "numpy", "safetensors")
LOG_ROOM_BYTES = 64 * 2**20
"""Space for events, report, logs and the token cache of a typical run."""


def quiet(_said: Any) -> None:
    """Do nothing: the default listener."""


@dataclass(frozen=True)
class Listener:
    """Callbacks while a run is prepared: the row ledger, warnings, downloads, what is done now."""

    rows: Callable[[dict[str, Any]], None] = quiet
    warn: Callable[[str], None] = quiet
    progress: Progress = silent
    doing: Callable[[str], None] = quiet


@dataclass(frozen=True)
class Checked:
    """A request that passed every check.

    Args:
        config: The settings, with paths made absolute.
        model: The resolved base model.
        shape: The dimensions of its architecture.
        rows: The row ledger: read, used, quarantined, filtered.
        held_out: Rows of ``evaluate.datasets``.
        data_hash: Hash of the training rows.
        disk: Bytes that the run will need, by part.
        others: Further models that the method reads.
        warnings: Warnings, already passed to the listener.
    """

    config: Config
    model: Resolved
    shape: ModelShape
    rows: dict[str, Any]
    held_out: int
    data_hash: str
    disk: dict[str, int]
    others: tuple[Resolved, ...] = ()
    warnings: list[str] = field(default_factory=list[str])


def prepare(loaded: Loaded, name: str | None = None, *, to: Listener | None = None) -> RunFolder:
    """Check a request and make its run folder; nothing is started.

    Args:
        loaded: The settings and their origins.
        name: The run's name; by default made from the day, the subject and the method.
        to: Listener for rows, warnings and downloads.

    Raises:
        TuneryError: Whatever is wrong with the request, the data, the model or the disk.
    """
    if name is not None:
        require_free(name)
    checked = check(loaded, to=to)
    return create(name, checked.config, meta(checked))


def check(loaded: Loaded, *, to: Listener | None = None, room: bool = True) -> Checked:
    """Check a request as far as that is possible without heavy imports.

    Args:
        loaded: The settings.
        to: Listener for rows, warnings and downloads.
        room: Whether too little disk space is an error.

    Raises:
        TuneryError: Whatever is wrong with the request, the data, the model or the disk.
    """
    from tunery.models import dimensions, heads
    from tunery.models.beside import ensure_others
    from tunery.models.causal import check_config
    from tunery.models.context import indexed, lowered, within_context
    from tunery.models.stored import check_unquantized

    to = to or Listener()
    rules.check(loaded.config)
    config = with_absolute_paths(loaded.config)
    _check_packages()
    for kind in config.kinds():
        kind.check_installed()
    _check_device(config)
    _check_template(config)
    _check_writable()
    warnings = list(loaded.warnings)
    to.doing(t("reading and checking the rows"))
    rows, held_out = read_rows(config)
    to.rows(rows.ledger.as_dict())
    warnings += [problem.sentence for problem in rows.warnings]
    if held_out is not None:
        said = [problem.sentence for problem in held_out.warnings]
        warnings += [sentence for sentence in said if sentence not in warnings]
    to.doing(t("looking at the model"))
    model = ensure_model(config, to.progress)
    check_config(model.model_folder)
    check_unquantized(model.model_folder)
    dimensions.check_folder(model.model_folder)
    heads.check_start(model, produces=config.method.produces, writes=config.adapter.writes)
    _check_vocabulary(config, model)
    _check_tokenizer(model)
    _check_recomputes(config, model)
    others = ensure_others(config.method, model, to.progress)
    config = _with_found_others(_with_found_model(config, model), others)
    if model.base is not None:
        config.method.check_continued()
        config = _continued(config, loaded.origins, model.path)
    shorter = config
    for each in (model, *others.values()):
        shorter = within_context(shorter, each)
    if shorter is not config and loaded.origins.get("data.max_length", "default") != "default":
        warnings.append(lowered(config, shorter))
    config = shorter
    warnings += filter(None, [indexed(config, model)])
    for text in warnings:
        to.warn(text)
    shape = shape_of(model)
    disk = disk_bytes(config, shape)
    if room:
        _check_disk(disk)
    return Checked(
        config=config,
        model=model,
        shape=shape,
        rows=rows.ledger.as_dict(),
        held_out=len(held_out) if held_out is not None else 0,
        data_hash=rows.hash,
        disk=disk,
        others=tuple(others.values()),
        warnings=warnings,
    )


def _continued(config: Config, origins: Mapping[str, str], adapter: Path) -> Config:
    """The settings with the shape of the adapter to continue from, where none was set."""
    chosen = {
        path.removeprefix("adapter.")
        for path, origin in origins.items()
        if path.startswith("adapter.") and origin != "default" and not origin.startswith("preset ")
    }
    return config.model_copy(update={"adapter": config.adapter.continued(adapter, chosen)})


def meta(checked: Checked) -> dict[str, Any]:
    """What config.yaml contains besides the settings: versions, hashes, hardware."""
    return {
        "created": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": versions(),
        "python": platform.python_version(),
        "data_hash": checked.data_hash,
        "rows": checked.rows,
        "model": checked.model.as_dict(),
        "seed": checked.config.train.seed,
        "hardware": {
            "platform": platform.platform(),
            "cores": env.cores(),
            "memory_bytes": memory.total_bytes(),
        },
    }


def versions() -> dict[str, str]:
    """Versions of the packages that affect a run's numbers."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def with_absolute_paths(config: Config) -> Config:
    """Make file and folder paths absolute, so that the run can be resumed from anywhere."""
    data = config.data.model_copy(
        update={
            "train": [_absolute(name) for name in config.data.train],
            "catalog": config.data.catalog and env.expanded(config.data.catalog).absolute(),
        }
    )
    evaluate = config.evaluate.model_copy(
        update={"datasets": [_absolute(name) for name in config.evaluate.datasets]}
    )
    model = config.model.model_copy(
        update={
            "name": _absolute(config.model.name),
            "template": config.model.template and _absolute(config.model.template),
        }
    )
    track = config.track.model_copy(
        update={name: kind.with_absolute_paths() for name, kind in config.track.chosen().items()}
    )
    named = {
        path.rpartition(".")[2]: _absolute(name)
        for path, name in config.method.other_models().items()
    }
    method = config.method.model_copy(update=named)
    parts = {"data": data, "evaluate": evaluate, "model": model, "track": track, "method": method}
    return config.model_copy(update=parts)


def _with_found_model(config: Config, model: Resolved) -> Config:
    """Make the path of a model that was found in the working folder (``my-model``) absolute."""
    named = config.model.model_copy(update={"name": _found(config.model.name, model)})
    return config.model_copy(update={"model": named})


def _with_found_others(config: Config, others: Mapping[str, Resolved]) -> Config:
    """The same for further models, by the path of their setting."""
    found = {path.rpartition(".")[2]: _found(each.name, each) for path, each in others.items()}
    return config.model_copy(update={"method": config.method.model_copy(update=found)})


def _found(name: str, model: Resolved) -> str:
    near = Path(name)
    if near.is_absolute() or not near.exists() or model.kind in ("demo", "hub", "run"):
        return name
    return str(near.absolute())


def _absolute(name: str) -> str:
    """The name itself, unless it can only be a path on this machine."""
    head, star, times = name.rpartition("*")
    if star and times.isdigit():
        return f"{_absolute(head)}*{times}"
    looks_like_path = "/" in name or "\\" in name or name.startswith(("~", "."))
    path = env.expanded(name)
    if (looks_like_path or path.suffix) and path.exists():
        return str(path.absolute())
    folder, colon, split = name.rpartition(":")
    if colon and env.expanded(folder).is_dir():
        return f"{env.expanded(folder).absolute()}:{split}"
    return name


def read_rows(config: Config) -> tuple[ExampleSet, ExampleSet | None]:
    """Read and check all rows of a run: those to train on, and those to evaluate on."""
    from tunery.data import examples

    wanted = config.method.rows
    rows = examples.read(config.data.train, config.data, wanted=wanted)
    if not config.evaluate.datasets:
        return rows, None
    held_out = examples.read(
        config.evaluate.datasets, config.data, purpose="evaluate", wanted=wanted
    )
    return rows, held_out


def ensure_model(config: Config, progress: Progress) -> Resolved:
    """Find the base model; download or convert it first if it is not on this machine yet."""
    from tunery.models.ensure import ensure

    return ensure(config.model.name, progress=progress)


def _check_vocabulary(config: Config, model: Resolved) -> None:
    """Check that all tokens have embeddings; a continued adapter needs those it was trained on."""
    from tunery.models import vocabulary

    if model.base is None or not (model.path / vocabulary.TOKENIZER).is_file():
        vocabulary.check_folder(model.model_folder)
    if model.base is not None and config.adapter.writes == "adapter":
        vocabulary.check_adapter(model.path, model.base.path)


def _check_tokenizer(model: Resolved) -> None:
    """Refuse a tokenizer that the run could not load; an adapter may have its own."""
    from tunery.models.loadable import require_tokenizer

    own = (model.path / "tokenizer.json").is_file()
    require_tokenizer(model.path if own else model.model_folder)


def _check_recomputes(config: Config, model: Resolved) -> None:
    from tunery.models.architectures import no_checkpointing, supports_checkpointing

    kind = (model.base or model).architecture
    if config.train.gradient_checkpointing and supports_checkpointing(kind) is False:
        raise no_checkpointing(kind)


def shape_of(model: Resolved) -> ModelShape:
    """Read the dimensions of a model's architecture from its config.json."""
    root = model.base or model
    return ModelShape.from_config_json(
        read_json(root.path / "config.json"), total_parameters=root.num_parameters
    )


def disk_bytes(config: Config, shape: ModelShape) -> dict[str, int]:
    """How much disk space a run needs: kept checkpoints, one being staged, the final weights.

    A checkpoint holds the weights in their own format and, in fp32, the trained parameters with
    the optimizer's state.
    """
    trained = config.adapter.weights(shape)
    if config.adapter.writes == "adapter":
        weights = (trained.count + config.adapter.frozen_parameters(shape)) * 4
    else:
        weights = shape.total_parameters * BYTES.get(config.model.dtype, 4)
    one = weights + trained.count * 4 + config.optim.state_bytes(trained)
    kept = config.checkpoint.keep + (1 if config.evaluate.every != "never" else 0)
    return {
        "checkpoint": one,
        "checkpoints": one * kept,
        "staging": one,
        "final": weights,
        "logs": LOG_ROOM_BYTES,
        "total": one * (kept + 1) + weights + LOG_ROOM_BYTES,
    }


def _check_disk(disk: dict[str, int]) -> None:
    runs = env.runs_dir()
    free = env.free_bytes(runs)
    if disk["total"] > free:
        raise LaunchError(
            t("{path}: the run needs about {need} of disk space, but only {free} is free.",
              path=runs, need=env.human_bytes(disk["total"]), free=env.human_bytes(free)),
            fix=t("Free some space, lower checkpoint.keep, or set TUNERY_HOME to a larger disk."),
            path=runs,
        )  # fmt: skip


def _check_writable() -> None:
    """Reject a runs folder that cannot be written; the error names its path and the user id."""
    runs = env.runs_dir()
    parent = env.existing_parent(runs)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise LaunchError(
            t("User ID {user} cannot write to {path}.", path=parent, user=_user_id()),
            fix=t("Make it writable, or set TUNERY_HOME to another folder."),
            path=parent,
        )


def _user_id() -> int | str:
    return os.geteuid() if hasattr(os, "geteuid") else "?"


def _check_packages() -> None:
    missing = [n for n in ("torch", "transformers", "peft") if importlib.util.find_spec(n) is None]
    if missing:
        raise LaunchError(
            t("Training needs packages that are not installed: {names}.", names=", ".join(missing)),
            fix='pip install "tunery[train]"',
        )


def _check_device(config: Config) -> None:
    device = config.model.device
    if device.startswith("cuda") and sys.platform == "linux":
        marks = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
        if not any(Path(mark).exists() for mark in marks) and not shutil.which("nvidia-smi"):
            raise ConfigError(
                t("model.device={device}: no GPU found on this machine.",
                  device=device),
                fix=t("Use --model.device auto or cpu. In a container: start it with --gpus all."),
            )  # fmt: skip


def _check_template(config: Config) -> None:
    if config.model.template:
        from tunery.chat import builtin

        builtin.find(config.model.template)
