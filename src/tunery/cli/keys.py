"""`tunery keys`: create, list and revoke API keys of the server."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from cyclopts import App, Parameter, validators

from tunery.cli.console import err, out, print_json, print_warning
from tunery.i18n import joined, t
from tunery.state import set_aside

app = App(name="keys", help=t("Create, list and revoke API keys."))

Json = Annotated[bool, Parameter(negative="")]
Limit = Annotated[int, Parameter(validator=validators.Number(gte=0))]


@app.command
def create(
    name: str,
    *,
    scope: Annotated[
        list[Literal["chat", "jobs", "admin"]] | None, Parameter(negative_iterable="")
    ] = None,
    model: Annotated[list[str] | None, Parameter(negative_iterable="")] = None,
    expires_in_days: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 0,
    requests_per_minute: Limit = 0,
    tokens_per_minute: Limit = 0,
    parallel: Limit = 0,
    json: Json = False,
) -> None:
    """Create a key for programs and print it; it is shown only once.

    Args:
        name: Name of the key, such as editor.
        scope: chat (default), jobs or admin; may be repeated.
        model: Served model it may use; may be repeated. Default: all.
        expires_in_days: Days until the key expires; 0 means never.
        requests_per_minute: Maximum requests per minute; 0 means no limit.
        tokens_per_minute: Maximum tokens of prompts and answers per minute; 0 means no limit.
        parallel: Maximum concurrent answers; 0 means no limit.
        json: Print JSON.
    """
    from dataclasses import asdict

    from tunery.server.security import tokens
    from tunery.server.security.key_limits import KeyLimits

    expires = time.time() + expires_in_days * 86_400 if expires_in_days else None
    limits = KeyLimits(
        tuple(model or ()), expires, requests_per_minute, tokens_per_minute, parallel
    )
    made, secret = tokens.create_key(name, scope or ["chat"], limits)
    if json:
        print_json({**asdict(made), "key": secret})
        return
    print(secret)
    err.print(t("Copy this key now; it will not be shown again."))


@app.command(name="list")
def list_(*, json: Json = False) -> None:
    """List valid keys, without showing the keys themselves.

    Args:
        json: Print JSON.
    """
    from dataclasses import asdict

    from tunery.server.security import tokens
    from tunery.server.security.key_limits import describe_limits

    keys = [key for key in tokens.list_keys() if key.revoked is None]
    if aside := set_aside():
        print_warning(joined(aside.message(), aside.fix()))
    if json:
        print_json([asdict(key) for key in keys])
        return
    for key in keys:
        told = [key.id, key.name, ", ".join(key.scopes), *describe_limits(key.limits)]
        out.print("  ".join(told), markup=False, soft_wrap=True)


@app.command
def revoke(id: str) -> None:
    """Revoke a key.

    Args:
        id: Key ID, as shown in the list.
    """
    from tunery.server.security import tokens

    tokens.revoke_key(id)
    err.print(t("Key revoked."))
