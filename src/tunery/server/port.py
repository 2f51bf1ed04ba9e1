"""The port that a server listens on, and the errors for one that is not available."""

from __future__ import annotations

import errno
import socket
from typing import Any

import psutil

from tunery.errors import LaunchError
from tunery.i18n import t
from tunery.server.settings import ServerSettings

NEXT_PORTS = 50
MOST_PORT = 65535
BACKLOG = 512


def listen(settings: ServerSettings) -> socket.socket:
    """Bind the port; for port 0 a free one, which is written to the settings.

    Raises:
        LaunchError: It is taken (by whom, and which is free), not a port, or not permitted.
    """
    host, port = settings.host, settings.port
    if not 0 <= port <= MOST_PORT:
        raise LaunchError(
            t("--port {port}: expected a number from 1 to 65535.", port=port),
            fix=t("Use another port: --port {port}", port=7860),
            code="bad_port",
        )
    try:
        family, address = _resolve(host, port)
    except socket.gaierror as error:
        raise LaunchError(
            t("--host {host}: unknown address.", host=host),
            fix=t("Use 127.0.0.1, or 0.0.0.0 for all addresses of this machine."),
        ) from error
    # With the protocol given, asyncio disables Nagle's algorithm; else each answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise _refused(settings, error) from error
    listener.set_inheritable(False)
    settings.use_port(listener.getsockname()[1])
    return listener


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # localhost resolves to 127.0.0.1 first
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, address


def _refused(settings: ServerSettings, error: OSError) -> LaunchError:
    host, port = settings.host, settings.port
    match error.errno:
        case errno.EADDRINUSE:
            owner = _owner(port)
            message = (
                t(
                    "Port {port} is in use by {name} (process {pid}).",
                    port=port,
                    name=owner[1],
                    pid=owner[0],
                )
                if owner
                else t("Port {port} is in use by another process.", port=port)
            )
            free = _next_free(host, port)
            fix = t("Use another port: --port {port}", port=free) if free else ""
        case errno.EACCES:
            message = t("This user is not allowed to listen on port {port}.", port=port)
            fix = t("Use a port above 1023: --port {port}", port=7860)
        case errno.EADDRNOTAVAIL:
            message = t("--host {host}: this machine does not have that address.", host=host)
            fix = t("Use 127.0.0.1, or 0.0.0.0 for all addresses of this machine.")
        case _:
            message = t(
                "Cannot listen on {host}:{port}: {reason}.",
                host=host,
                port=port,
                reason=error.strerror,
            )
            fix = ""
    return LaunchError(
        message, fix=fix, code="port_taken" if error.errno == errno.EADDRINUSE else ""
    )


def _owner(port: int) -> tuple[int, str] | None:
    try:
        for found in psutil.net_connections("tcp"):
            here = bool(found.laddr) and found.laddr[1] == port
            if here and found.status == psutil.CONN_LISTEN and found.pid:
                return found.pid, psutil.Process(found.pid).name()
    except (psutil.Error, OSError):
        return None
    return None


def _next_free(host: str, port: int) -> int | None:
    for candidate in range(port + 1, min(port + NEXT_PORTS, 65536)):
        family, address = _resolve(host, candidate)
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            try:
                trial.bind(address)
            except OSError:
                continue
            return candidate
    return None
