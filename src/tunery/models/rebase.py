"""Set the base model of an adapter, after it was moved or its weights were replaced."""

from __future__ import annotations

from tunery import env
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import bases, files
from tunery.models.resolve import is_path, resolve
from tunery.models.resolved import Resolved
from tunery.runs import folder as run_folder


def name_base(name: str, base: str) -> Resolved:
    """Set the base model of a run or an adapter.

    Args:
        name: A run, or an adapter's folder.
        base: Any name of a full model on this machine.

    Returns:
        ``name``, resolved with the new base.

    Raises:
        ModelError: ``name`` is neither a run nor an adapter, or ``base`` is not a full model.
    """
    path = env.expanded(name)
    if not is_path(name) and name in run_folder.names():
        path = env.runs_dir() / name
    elif not (path / files.ADAPTER_CONFIG).is_file():
        raise ModelError(
            t("{name}: neither a run nor an adapter folder.", name=name),
            fix=t("Use a run (tunery runs list) or a folder with adapter_config.json."),
        )
    found = resolve(base)
    if found.base is not None:
        raise ModelError(
            t("{name}: this is an adapter itself, with the base {base}.", name=base,
              base=found.base.name),
            fix=t("Use the full model."),
        )  # fmt: skip
    by_path = is_path(base) or found.kind in ("folder", "snapshot")
    bases.name(path, str(found.path) if by_path else base, found.path)
    return resolve(name)
