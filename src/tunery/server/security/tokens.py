"""The access token of this machine, the sessions signed with it, and API keys.

The token is 256 random bits in a file of mode 0600, created on the first start. A browser exchanges
it for a cookie ``v1.ISSUED.NONCE.SIGNATURE``, signed with the token: it survives a restart, and a
new token ends every session. API keys look like ``tunery-ID-SECRET``; state.db stores their
SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunery import atomic
from tunery.errors import ConfigError, TuneryError
from tunery.i18n import t
from tunery.redaction import remember
from tunery.server.security.key_limits import NO_LIMITS, KeyLimits, from_json
from tunery.state import database

SCOPES = ("chat", "jobs", "admin")
SESSION_SECONDS = 30 * 24 * 3600
USED_SECONDS = 60.0
"""Precision with which the last use of a key is recorded."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated client of a request.

    Args:
        id: ``page``, ``token``, ``key:ID`` or ``serve``.
        scopes: What it may do; ``admin`` includes the others.
        limits: Limits of its key.
    """

    id: str
    scopes: frozenset[str]
    limits: KeyLimits = NO_LIMITS

    @property
    def has_expired(self) -> bool:
        """Whether the key was valid once and has expired."""
        return self.limits.expires is not None and self.limits.expires <= time.time()

    @property
    def is_person(self) -> bool:
        """Whether it is the user who runs the server, not a program with a key."""
        return self.id in ("page", "token")


class TokenFile:
    """The access token, read again when the file changes.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: tuple[tuple[int, int, int], str] | None = None

    def token(self) -> str:
        """The token; created on the first call on this machine."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            self._write(secrets.token_urlsafe(32), new=True)
            stat = self.path.stat()
        version = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if self._kept is None or self._kept[0] != version:
            if stat.st_mode & 0o077:
                self.path.chmod(0o600)
            token = self.path.read_text(encoding="ascii").strip()
            if len(token) < 32:
                raise ConfigError(
                    t("{path} contains no access token.", path=self.path),
                    fix=t("Create a new one: tunery web --new-token"),
                )
            remember(token)
            self._kept = (version, token)
        return self._kept[1]

    def renew(self) -> str:
        """Create a new token; every session ends."""
        self._write(secrets.token_urlsafe(32))
        return self.token()

    def cookie_name(self) -> str:
        """The session cookie's name: cookies ignore ports, and two Tunerys may share a host."""
        return f"tunery_{hashlib.sha256(self.token().encode()).hexdigest()[:10]}"

    def new_session(self) -> str:
        """A signed session for a browser that has shown the token."""
        body = f"v1.{int(time.time())}.{secrets.token_hex(8)}"
        return f"{body}.{self._signature(body)}"

    def session(self, cookie: str) -> bool | None:
        """Whether a cookie is a valid session; None if it was not issued by this server."""
        body, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            return None
        return -300 < time.time() - int(body.split(".")[1]) < SESSION_SECONDS

    def matches(self, given: str) -> bool:
        """Whether the given text is the token."""
        return hmac.compare_digest(given.encode(), self.token().encode())

    def _signature(self, body: str) -> str:
        return hmac.new(self.token().encode(), body.encode(), hashlib.sha256).hexdigest()

    def _write(self, token: str, *, new: bool = False) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not new:
            atomic.write(self.path, token + "\n", private=True)
            return
        staging = atomic.staged(self.path, token + "\n", private=True)
        try:
            with contextlib.suppress(FileExistsError):  # of two first starts, one token counts
                self.path.hardlink_to(staging)
        finally:
            staging.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Key:
    """One API key as listed; the key itself is shown only once, when it is created."""

    id: str
    name: str
    scopes: tuple[str, ...]
    created: float
    last_used: float | None
    revoked: float | None
    limits: KeyLimits = NO_LIMITS


def create_key(name: str, scopes: Sequence[str], limits: KeyLimits = NO_LIMITS) -> tuple[Key, str]:
    """Create an API key.

    Returns:
        The stored record, and the key itself, which cannot be shown again.

    Raises:
        ConfigError: The name is empty or too long, a scope is unknown, or a limit is not valid.
    """
    name = " ".join(name.split())
    if not 1 <= len(name) <= 80:
        raise ConfigError(t("A key needs a name of 1 to 80 characters."), fix="", code="bad_name")
    wrong = sorted(set(scopes) - set(SCOPES))
    if wrong or not scopes:
        raise ConfigError(
            t("Unknown scope {found!r}.", found=", ".join(wrong)),
            fix=t("Available: {names}.", names=", ".join(SCOPES)),
            code="bad_scope",
        )
    limits.check(scopes)
    words = tuple(scope for scope in SCOPES if scope in scopes)
    id_ = secrets.token_hex(4)
    secret = f"tunery-{id_}-{secrets.token_urlsafe(32)}"
    made = time.time()
    with database().write() as db:
        db.execute(
            "INSERT INTO keys (id, name, hash, scopes, created, limits) VALUES (?, ?, ?, ?, ?, ?)",
            (id_, name, _hash(secret), " ".join(words), made, limits.as_json()),
        )
    return Key(id_, name, words, made, None, None, limits), secret


def list_keys() -> list[Key]:
    """All keys, newest first, including revoked ones."""
    rows = database().read("SELECT * FROM keys ORDER BY created DESC, id")
    return [
        Key(
            row["id"], row["name"], tuple(row["scopes"].split()),
            row["created"], row["last_used"], row["revoked"], from_json(row["limits"]),
        )
        for row in rows
    ]  # fmt: skip


def revoke_key(id_: str) -> None:
    """Revoke a key.

    Raises:
        TuneryError: There is no key with that id.
    """
    with database().write() as db:
        done = db.execute(
            "UPDATE keys SET revoked = coalesce(revoked, ?) WHERE id = ?", (time.time(), id_)
        )
    if not done.rowcount:
        raise TuneryError(t("Key {id!r} not found.", id=id_), code="unknown")


def find_key(given: str) -> Principal | None:
    """The owner of a key; None if it is unknown. It may have expired: see ``has_expired``."""
    parts = given.split("-", 2)
    if len(parts) != 3 or parts[0] != "tunery":
        return None
    rows = database().read("SELECT * FROM keys WHERE id = ? AND revoked IS NULL", (parts[1],))
    if not rows or not hmac.compare_digest(rows[0]["hash"], _hash(given)):
        return None
    scopes, limits = frozenset(rows[0]["scopes"].split()), from_json(rows[0]["limits"])
    principal = Principal(f"key:{parts[1]}", scopes, limits)
    now = time.time()
    if not principal.has_expired and now - (rows[0]["last_used"] or 0) > USED_SECONDS:
        with contextlib.suppress(TuneryError), database().write() as db:
            db.execute("UPDATE keys SET last_used = ? WHERE id = ?", (now, parts[1]))
    return principal


def same(given: str, known: str) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(given.encode(), known.encode())


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
