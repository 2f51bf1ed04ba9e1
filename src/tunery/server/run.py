"""Start a server: the port, the startup message, the log, and the shutdown."""

from __future__ import annotations

import contextlib
import getpass
import logging
import logging.handlers
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from tunery import __version__, env
from tunery.i18n import t
from tunery.redaction import RedactingFilter
from tunery.server.port import listen
from tunery.server.security.protocol import LimitedProtocol
from tunery.server.settings import Limits, ServerSettings

GRACE_SECONDS = 5
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(
    app: FastAPI, *, banner: Sequence[str] = (), then: Callable[[], object] | None = None
) -> None:
    """Listen, print the address, and answer until SIGINT or SIGTERM.

    Args:
        app: Made by ``create_app``.
        banner: Lines to print once it is listening; by default ``lines``.
        then: Called in a separate thread once it is listening, for example to open a browser.

    Raises:
        LaunchError: The port is taken, or the address does not belong to this machine.
    """
    settings: ServerSettings = app.state.settings
    with contextlib.closing(listen(settings)) as listener:
        set_up_log()
        for line in banner or lines(app):
            print(line, flush=True)
        if then is not None:
            threading.Thread(target=then, daemon=True).start()
        make_server(app).run(sockets=[listener])


def make_server(app: FastAPI) -> uvicorn.Server:
    """Make the HTTP server with the limits of the application's settings."""
    limits: Limits = app.state.settings.limits
    protocol = type(
        "Protocol", (LimitedProtocol,), {"limits": limits, "open": app.state.connections}
    )
    return _Server(
        uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # server.security.context only trusts permitted proxies
            timeout_keep_alive=limits.idle_seconds,  # type: ignore[arg-type]
            timeout_graceful_shutdown=GRACE_SECONDS,
            h11_max_incomplete_event_size=limits.header_bytes,
        )
    )


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop on SIGINT and SIGTERM; unlike uvicorn, without re-raising the signal afterwards."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sig: signal.signal(sig, self.handle_exit) for sig in ENDING_SIGNALS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End streams first, so that shutdown does not wait for them."""
        app: FastAPI = self.config.app  # type: ignore[assignment]
        app.state.ending.set()
        super().handle_exit(sig, frame)


def lines(app: FastAPI) -> list[str]:
    """The startup message: the address with its token, the tunnel, who can reach it."""
    settings: ServerSettings = app.state.settings
    token = app.state.token.token()
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    if settings.host in ("0.0.0.0", "::"):
        shown = "127.0.0.1"
    local = f"http://{shown}:{settings.port}{settings.root_path}"
    printed = [t("Tunery {version} is ready:", version=__version__), ""]
    printed += [f"  {address}/#token={token}" for address in (*settings.public_addresses, local)]
    printed.append("")
    if settings.is_loopback:
        tunnel = f"ssh -N -L {settings.port}:{shown}:{settings.port} {_user()}@{_ssh_host()}"
        printed += [
            t("Only this machine can reach it. To open it from another machine, first run there:"),
            "",
            f"  {tunnel}",
            "",
        ]
        if settings.behind_proxy:
            printed.append(t("It is reachable through a proxy; only the token protects it."))
    else:
        printed += [
            t(
                "! Anyone can reach port {port} of this machine over plain HTTP.",
                port=settings.port,
            ),
            t("! Only the token protects it. Safer: omit --host and use ssh -L."),
        ]
    printed.append(t("Ctrl-C stops the page; training continues."))
    return printed


def set_up_log() -> None:
    """Log warnings to stderr and more to ``web.log``, both without secrets."""
    root = logging.getLogger()
    if any(isinstance(f, RedactingFilter) for h in root.handlers for f in h.filters):
        return
    folder = env.home()
    folder.mkdir(parents=True, exist_ok=True)
    to_file = logging.handlers.RotatingFileHandler(
        folder / "web.log", maxBytes=5 * 2**20, backupCount=2, encoding="utf-8", delay=True
    )
    to_file.setLevel(logging.INFO)
    to_screen = logging.StreamHandler(sys.stderr)
    to_screen.setLevel(logging.WARNING)
    for handler in (to_file, to_screen):
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handler.addFilter(RedactingFilter())
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "USER"


def _ssh_host() -> str:
    # The address that the user dialled is unknown; the one ssh arrived at is the best guess.
    parts = os.environ.get("SSH_CONNECTION", "").split()
    return parts[2] if len(parts) == 4 else socket.gethostname()
