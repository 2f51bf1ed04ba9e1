"""Resolve a model name, downloading or importing the model if needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.errors import ModelError
from tunery.models.progress import Progress, silent
from tunery.models.resolve import Resolved, resolve

if TYPE_CHECKING:  # importing an HTTP client is slow, and rarely needed
    from tunery.models.download import Policy
    from tunery.models.pull import Source


def ensure(name: str, *, progress: Progress | None = None) -> Resolved:
    """Resolve a name; download or import the model, and an adapter's base, if missing.

    Args:
        name: Any model name.
        progress: Called with progress events.

    Raises:
        ModelError: The model is unknown, incomplete or cannot be downloaded.
    """
    fetched: set[str] = set()
    while True:
        try:
            return resolve(name)
        except ModelError as error:
            # resolve reports a missing base model only once the adapter itself is complete
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
    """Download or import a model, and the base model if it is an adapter.

    Args:
        name: A hub id (optionally @revision), a .gguf file, or ``demo``.
        revision: Branch, tag or commit; the same as @revision in the name.
        source: ``hf`` (or a mirror, by HF_ENDPOINT) or ``modelscope``.
        progress: Called with progress events.
        policy: Retries and timeouts of the download.

    Raises:
        ModelError: The model is unknown, incomplete or cannot be downloaded.
    """
    from tunery.models.pull import fetch

    wanted = name if not revision else f"{name.partition('@')[0]}@{revision}"
    fetch(wanted, source=source, progress=progress or silent, policy=policy)
    return ensure(wanted, progress=progress)
