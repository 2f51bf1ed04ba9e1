"""Export: check the target, write atomically, and report what was written.

Light: the formats (tunery.export) are imported only after every check that can reject the request.
"""

from __future__ import annotations

import datetime
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunery import __version__, atomic, env
from tunery.config.base import tag
from tunery.config.exporters import ExporterKind, exporter
from tunery.errors import ExportError
from tunery.export.order import Order, Stage, silent
from tunery.i18n import t
from tunery.models import files, heads, hubcache
from tunery.models.ensure import ensure
from tunery.models.progress import Progress
from tunery.models.resolved import Resolved
from tunery.runs import manifest
from tunery.services.chat import trained_with
from tunery.workers.spinning import SPIN_SHORTLY, settle

if TYPE_CHECKING:
    from tunery.export.parity import Parity
    from tunery.export.trained import Trained

REPORT = "tunery_export.json"
SPARE_BYTES = 64 << 20
DTYPE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_STORED = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished export.

    Args:
        folder: Where it is.
        report: The content of ``tunery_export.json``.
    """

    folder: Path
    report: dict[str, Any]

    @property
    def size_bytes(self) -> int:
        """Total size of its files, in bytes."""
        return sum(file["size"] for file in self.report["files"])


def export(
    name: str,
    folder: Path,
    *,
    to: str,
    force: bool = False,
    dtype: str = "auto",
    device: str = "auto",
    progress: Progress | None = None,
    stage: Stage = silent,
) -> Exported:
    """Write the result of a run, checkpoint or adapter folder in a format for other tools.

    Args:
        name: The run, ``RUN@step-00000100``, checkpoint or adapter.
        folder: The target; absent or empty.
        to: The ``type`` of an exporter.
        force: Replace an earlier export at the target.
        dtype: Type of the numbers written, ``fp32`` or ``bf16``; ``auto`` for that of the training.
        device: Where the export is compared with the trained model.
        progress: Called with the progress of downloading the base model.
        stage: Called with what is being done, how many of its parts are done, and their number.

    Raises:
        UnknownName: No such format.
        ModelError: No such run, or it has no weights yet.
        ExportError: It cannot be written there, or what was written differs from what was trained.
    """
    kind = exporter(to)
    folder = env.expanded(folder).resolve()
    check_target(folder, force=force)
    found = ensure(name, progress=progress)
    order = make_order(found, kind, dtype=dtype, device=device)
    check_disk(folder, expected_bytes(found, order, kind))
    with staged(folder, force=force) as staging:
        stage(t("loading {name}", name=name), 0, 0)
        settle(SPIN_SHORTLY)
        from tunery.export.trained import Trained
        from tunery.models.load import quiet
        from tunery.storage import fsync_tree

        quiet()
        trained = Trained(order, stage)
        parity = kind.make(trained, staging)
        report = _report(found, order, kind, staging, parity, trained)
        text = json.dumps(report, ensure_ascii=False, indent=2) + "\n"
        (staging / REPORT).write_text(text, encoding="utf-8")
        _open_to_readers(staging)
        fsync_tree(staging)
    return Exported(folder, report)


def make_order(found: Resolved, kind: ExporterKind, *, dtype: str, device: str) -> Order:
    """Decide what an export is made of.

    Raises:
        ExportError: The name is a base model or a reward model, or the run has no adapter to write.
        RunError: A checkpoint's files are damaged.
    """
    if found.base is None and found.kind not in ("run", "checkpoint"):
        raise ExportError(
            t(
                "{name}: a full model that was not trained by a run here; there is nothing "
                "to export.",
                name=found.name,
            ),
            fix=t("Use a run, RUN@step-00000100, or an adapter folder: tunery runs list"),
        )
    if heads.scores(found):
        raise ExportError(
            t("{name}: a reward model is not exported: what training wrote is already in the "
              "form that transformers and PEFT load.", name=found.name),
            fix=t("Copy the folder: {folder}", folder=found.path),
        )  # fmt: skip
    kind.check(found.name, has_adapter=found.base is not None)
    if (found.path.parent / manifest.FILE_NAME).is_file():
        manifest.verify(found.path.parent)
    config = trained_with(found)
    base = found.base or found
    base_name, revision = _public_name(base) if found.base else (_base_of_full(found), "")
    if found.base is None:
        dtype = _stored_dtype(base.path)
    elif dtype == "auto":
        dtype = config.model.dtype if config else _stored_dtype(base.path)
    return Order(
        name=found.name,
        folder=base.path,
        adapter=found.path if found.base is not None else None,
        base_name=base_name,
        base_revision=revision,
        template=config.model.template if config else None,
        dtype=dtype,
        device=device,
        quantization=config.quantization
        if config is not None and found.base is not None and config.quantization.quantizes
        else None,
    )


def expected_bytes(found: Resolved, order: Order, kind: ExporterKind) -> int:
    """Estimate the size of an export in bytes, slightly on the high side."""
    width = DTYPE_BYTES.get(order.dtype, 4)
    whole = (found.base.num_parameters or 0) * width if found.base else found.size_bytes
    return kind.size_bytes(found.size_bytes, whole) + SPARE_BYTES


def check_target(folder: Path, *, force: bool) -> None:
    """Reject a target that must not be overwritten.

    Raises:
        ExportError: It is a file, a non-empty folder, or a place that cannot be read.
    """
    try:
        taken = folder.is_symlink() or folder.exists()
        if taken and not folder.is_dir():
            raise ExportError(
                t("{path}: a file with this name exists.", path=folder),
                fix=t("Use a new or empty folder."),
                path=folder,
            )
        held = sorted(path.name for path in folder.iterdir()) if taken else []
    except OSError as error:
        raise unwritable(folder, error) from error
    if held and force and REPORT in held:
        return
    if held and force:
        raise ExportError(
            t(
                "{path}: contains {file} and other files not written by an export; --force "
                "only replaces earlier exports.",
                path=folder,
                file=held[0],
            ),
            fix=t("Use another folder, or empty this one yourself."),
            path=folder,
        )
    if held:
        raise ExportError(
            t(
                "{path}: the folder is not empty (it contains {file} ...).",
                path=folder,
                file=held[0],
            ),
            fix=t("Use another folder; --force replaces an earlier export.")
            if REPORT in held
            else t("Use another folder, or empty this one yourself."),
            path=folder,
        )


def check_disk(folder: Path, needed: int) -> None:
    """Reject the export up front if the disk does not have enough space.

    Raises:
        ExportError: There is not enough free space.
    """
    free = env.free_bytes(folder)
    if free < needed:
        raise ExportError(
            t("{path}: the export needs about {needed}, but only {free} is free on that disk.",
              path=folder, needed=env.human_bytes(needed), free=env.human_bytes(free)),
            fix=t("Free some space, or use a folder on another disk."),
            path=folder,
        )  # fmt: skip


@contextmanager
def staged(folder: Path, *, force: bool) -> Generator[Path]:
    """Yield a sibling folder to write to; rename it to ``folder`` on success, else remove it.

    A kill at any moment leaves ``folder`` complete or absent; what a killed export left beside it
    is removed by the next export to the same parent folder.

    Raises:
        ExportError: The target cannot be written, or was filled in the meantime.
    """
    staging = folder.with_name(f".{folder.name}.exporting-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep(folder.parent)
        staging.mkdir()  # proves that the target can be written
        staging.rmdir()
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield staging
        _place(staging, folder, force=force)
    except OSError as error:
        if error.errno not in _DISK:
            raise
        raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def unwritable(folder: Path, error: OSError) -> ExportError:
    """Make the error for a target that cannot be written, based on the system's error."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ExportError(
            t("{path}: no space left on that disk; nothing was written.", path=folder),
            fix=t("Free some space, or use a folder on another disk."),
            path=folder,
        )
    return ExportError(
        t("{path}: cannot be written: {reason}.", path=folder,
          reason=error.strerror or str(error)),
        fix=t("Use a folder that user id {uid} can write to.", uid=os.geteuid()),
        path=folder,
    )  # fmt: skip


def _place(staging: Path, folder: Path, *, force: bool) -> None:
    old = folder.with_name(f".{folder.name}.replaced-{os.getpid()}")
    if force and folder.exists():
        folder.rename(old)
    try:
        # rename(2) succeeds onto an absent or empty folder only.
        staging.rename(folder)
    except OSError as error:
        if old.exists():
            old.rename(folder)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            check_target(folder, force=False)
        raise
    atomic.flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


_LEFT = re.compile(r"\.(.+)\.(exporting|replaced)-(\d+)")


def sweep(parent: Path) -> None:
    """Remove what killed exports left in a folder, and put back what one of them had set aside."""
    for path in parent.iterdir():
        found = _LEFT.fullmatch(path.name)
        if found is None or path.is_symlink() or _is_alive(int(found[3])):
            continue
        target = path.with_name(found[1])
        if found[2] == "replaced" and not target.exists():
            path.rename(target)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _public_name(base: Resolved) -> tuple[str, str]:
    """The public name of a base model: its hub id and commit, else its path."""
    repo = hubcache.repo_of(base.path.parent.parent)
    if base.path.parent.name == "snapshots" and repo:
        return repo, base.path.name
    return str(base.path), ""


def _base_of_full(found: Resolved) -> str:
    config = trained_with(found)
    return config.model.name if config else found.name


def _stored_dtype(folder: Path) -> str:
    config = files.read_json(folder / files.CONFIG)
    stored = str(config.get("dtype") or config.get("torch_dtype") or "")
    return _STORED.get(stored, "auto")


def _open_to_readers(staging: Path) -> None:
    """Give files that a library made private the permissions of any other new file."""
    mask = os.umask(0)
    os.umask(mask)
    for path in staging.rglob("*"):
        if path.is_file():
            path.chmod(0o666 & ~mask)


def _report(
    found: Resolved,
    order: Order,
    kind: ExporterKind,
    staging: Path,
    parity: Parity,
    trained: Trained,
) -> dict[str, Any]:
    listed = [
        {"name": path.relative_to(staging).as_posix(), **_facts(path)}
        for path in sorted(staging.rglob("*"))
        if path.is_file()
    ]
    return {
        "format": tag(type(kind)),
        "source": found.name,
        "why": found.why,
        "base": order.base_name,
        "base_revision": order.base_revision or None,
        "dtype": str(trained.dtype).removeprefix("torch."),
        "template": trained.template.name,
        "files": listed,
        "parity": parity.as_dict(),
        "limits": parity.limits(trained.tolerance),
        "quantized_base": _quantized(order, trained),
        "tunery": __version__,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _quantized(order: Order, trained: Any) -> dict[str, Any] | None:
    """The trained model compared with itself on the quantized base that it was trained on."""
    if order.quantization is None:
        return None
    return {"quantization": tag(type(order.quantization)), **trained.quantized.as_dict()}


def _facts(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": path.stat().st_size, "sha256": digest}
