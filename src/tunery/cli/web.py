"""`tunery web`: the web pages. Parses its arguments, then becomes ``python -m tunery.web``."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import App, Parameter

from tunery.i18n import t

app = App(name="web", help=t("Open Tunery in the browser."))


@app.default
def web(
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    root_path: str = "",
    public_url: Annotated[list[str] | None, Parameter(negative_iterable="")] = None,
    cors_origin: Annotated[list[str] | None, Parameter(negative_iterable="")] = None,
    open: bool | None = None,
    new_token: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Serve the page until Ctrl-C; training continues without it.

    Args:
        host: Address to listen on. 127.0.0.1 allows this machine only, 0.0.0.0 every machine.
        port: Port to listen on. If it is in use, the command fails.
        root_path: URL prefix of the page behind a proxy, such as /proxy/7860.
        public_url: Address shown in the browser when the page is behind a proxy.
        cors_origin: Origin of a web page that may call /v1 with a key, such as
            https://app.example.net; * allows every page. By default none may.
        open: Open the browser; by default only if there is a display.
        new_token: Create a new access token and end all sessions.
    """
    words = ["--host", host, "--port", str(port)]
    words += ["--root-path", root_path] if root_path else []
    words += [word for url in public_url or () for word in ("--public-url", url)]
    words += [word for origin in cors_origin or () for word in ("--cors-origin", origin)]
    words += ["--open"] if (_has_screen() if open is None else open) else []
    words += ["--new-token"] if new_token else []
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", "tunery.web", *words])


def _has_screen() -> bool:
    if "SSH_CONNECTION" in os.environ or not sys.stdout.isatty():
        return False
    if sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
