"""A model by any name, downloaded or imported first if it is not on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.errors import ModelError
from tunery.models.progress import Progress, silent
from tunery.models.resolve import Resolved, resolve

if TYPE_CHECKING:  # an HTTP client takes a while to import, and most models are here
    from tunery.models.download import Policy
    from tunery.models.pull import Source


def ensure(name: str, *, progress: Progress | None = None) -> Resolved:
    """Resolve a name, downloading or importing the model first if needed.

    Raises:
        ModelError: It cannot be had; with what to do.
    """
    fetched: set[str] = set()
    while True:
        try:
            return resolve(name)
        except ModelError as error:
            # an adapter's base is asked for only when the adapter itself is there
            target = str(error.fields.get("target", ""))
            if error.fields.get("remedy") != "pull" or target in fetched:
                raise
            fetched.add(target)
        from tunery.models.pull import fetch

        fetch(target, progress=progress or silent)


def pull(
    name: str,
    *,
    revision: str | None = None,
    source: Source = "hf",
    progress: Progress | None = None,
    policy: Policy | None = None,
) -> Resolved:
    """Download or import a model and an adapter's base model, and return its location.

    Args:
        name: A hub id (optionally @revision), a .gguf file, or ``demo``.
        revision: Branch, tag or commit; the same as @revision in the name.
        source: ``hf`` (or a mirror, by HF_ENDPOINT) or ``modelscope``.
        progress: Called with progress events.
        policy: How patient the download is.

    Raises:
        ModelError: It cannot be had; with what to do.
    """
    from tunery.models.pull import fetch

    wanted = name if not revision else f"{name.partition('@')[0]}@{revision}"
    fetch(wanted, source=source, progress=progress or silent, policy=policy)
    return ensure(wanted, progress=progress)
