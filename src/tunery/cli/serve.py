"""`tunery serve`: serve models and runs through an OpenAI-compatible API.

Parses the arguments, then becomes ``python -m tunery.server``.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import App, Parameter, validators

from tunery.i18n import t

app = App(name="serve", help=t("Serve models and runs through an OpenAI-compatible API."))


@app.default
def serve(
    *models: Annotated[str, Parameter(name="MODEL_OR_RUN", required=True)],
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: Annotated[list[str] | None, Parameter(negative_iterable="")] = None,
    root_path: str = "",
    public_url: Annotated[list[str] | None, Parameter(negative_iterable="")] = None,
    cors_origin: Annotated[list[str] | None, Parameter(negative_iterable="")] = None,
    requests_per_minute: int | None = None,
    unload_after_minutes: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 0,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Serve models and runs to OpenAI's clients until Ctrl-C.

    Args:
        models: Models, runs, checkpoints or adapters; NAME=MODEL sets the name for clients.
        host: Address to listen on. 127.0.0.1 allows this machine only, 0.0.0.0 every machine.
        port: Port to listen on. If it is in use, the command fails.
        api_key: API key to use instead of the saved one; TUNERY_API_KEY also works.
        root_path: URL prefix behind a proxy, such as /proxy/8000.
        public_url: Address that clients use when the server is behind a proxy.
        cors_origin: Origin of a web page that may call the API with a key, such as
            https://app.example.net; * allows every page. By default none may.
        requests_per_minute: Maximum requests per key per minute; 0 means no limit.
        unload_after_minutes: Unload a model after this long without requests; 0 keeps it loaded.
        json: Print one line of JSON when ready.
    """
    from tunery.cli.progress import model_progress
    from tunery.models.ensure import ensure
    from tunery.services.chat import split_served

    with model_progress(as_json=json) as progress:
        for name in models:
            ensure(split_served(name)[1], progress=progress)
    words = ["--host", host, "--port", str(port)]
    words += ["--root-path", root_path] if root_path else []
    words += [word for url in public_url or () for word in ("--public-url", url)]
    words += [word for origin in cors_origin or () for word in ("--cors-origin", origin)]
    if requests_per_minute is not None:
        words += ["--requests-per-minute", str(requests_per_minute)]
    words += ["--unload-after-minutes", str(unload_after_minutes)]
    words += ["--json"] if json else []
    if api_key:
        # Every user of this machine can read a process's arguments; the environment is private.
        os.environ["TUNERY_API_KEY"] = ",".join(api_key)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tunery.server", *words, "--", *models])
