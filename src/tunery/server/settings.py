"""How one server is reached: where it listens, which names it answers to, which limits apply."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tunery import env
from tunery.errors import ConfigError
from tunery.i18n import t

LOOPBACK_NAMES = ("localhost", "127.0.0.1")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for clients; requests beyond them are rejected.

    Args:
        body_bytes: Maximum size of a JSON body.
        header_bytes: Maximum size of a request's line and headers.
        json_depth: Maximum nesting of lists and objects in a JSON body.
        header_seconds: Time for a request's headers to arrive.
        body_seconds: Time for a body, plus one second per KiB.
        idle_seconds: How long a connection may stay idle between requests.
        stall_seconds: How long a client may leave the response unread.
        connections: Maximum number of connections at a time.
        per_address: Maximum number of them from one address other than this machine's.
        failures: How often an address may send the same wrong token per minute.
    """

    body_bytes: int = 8 * 2**20
    header_bytes: int = 32 * 1024
    json_depth: int = 64
    header_seconds: float = 10.0
    body_seconds: float = 60.0
    idle_seconds: float = 60.0
    stall_seconds: float = 30.0
    connections: int = 512
    per_address: int = 64
    failures: int = 10


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Settings of one server.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        root_path: Prefix under which a proxy shows the server, such as ``/proxy/7860``.
        public_urls: URLs under which it is reached through a proxy or a public port.
        token_file: The file of the access token.
        api_keys: Additional bearer keys, with the scope ``chat`` only (``tunery serve --api-key``).
        cors_origins: Web pages of other origins that may use ``/v1`` with a key; ``*`` is all.
        limits: Limits for clients.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    root_path: str = ""
    public_urls: tuple[str, ...] = ()
    token_file: Path = field(default_factory=lambda: env.home() / "token")
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.root_path and not self.root_path.startswith("/"):
            object.__setattr__(self, "root_path", f"/{self.root_path}")
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))
        for address in self.public_urls:
            parts = urlsplit(address)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
                raise ConfigError(
                    t("--public-url {address}: not a valid web address.", address=address),
                    fix=t("Use an address such as https://pod-7860.proxy.example.net"),
                )

        origins = tuple(_origin(given) for given in self.cors_origins)
        object.__setattr__(self, "cors_origins", origins)

    def use_port(self, port: int) -> None:
        """Set the port that the system assigned when 0 was requested, so that it can be printed."""
        object.__setattr__(self, "port", port)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def public_addresses(self) -> tuple[str, ...]:
        """The public URLs to open: one that names only the host gets the prefix appended."""
        addresses = (address.rstrip("/") for address in self.public_urls)
        return tuple(
            address if urlsplit(address).path else address + self.root_path for address in addresses
        )

    @property
    def behind_proxy(self) -> bool:
        """Whether a proxy was announced, so that what it forwards is trusted from loopback."""
        return bool(self.root_path or self.public_urls)


def _origin(given: str) -> str:
    """An origin in the form that browsers send: lower case, without a path.

    Raises:
        ConfigError: It is not an origin.
    """
    parts = urlsplit(given)
    bare = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    if given != "*" and not (parts.scheme and parts.netloc and bare):
        raise ConfigError(
            t("--cors-origin {origin}: not a valid origin.", origin=given),
            fix=t(
                "Use an origin such as https://app.example.net, without a path; * allows "
                "every page."
            ),
        )
    return given.lower().rstrip("/")
