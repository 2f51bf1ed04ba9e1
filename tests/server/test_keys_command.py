"""`tunery keys`: a key is made with its limits, listed without itself, and revoked."""

from __future__ import annotations

import json

from tunery.cli.main import main
from tunery.server.security import tokens


def test_a_key_is_made_listed_and_revoked(home, capsys):
    words = [
        "keys",
        "create",
        "editor",
        "--model",
        "demo",
        "--expires-in-days",
        "30",
        "--requests-per-minute",
        "60",
        "--tokens-per-minute",
        "5000",
        "--parallel",
        "2",
    ]
    assert main(words) == 0
    secret = capsys.readouterr().out.strip()
    found = tokens.find_key(secret)
    assert found is not None
    assert found.scopes == {"chat"}
    limits = found.limits
    assert (limits.models, limits.requests_per_minute, limits.parallel) == (("demo",), 60, 2)
    assert limits.tokens_per_minute == 5000
    assert limits.expires is not None
    assert main(["keys", "list"]) == 0
    listed = capsys.readouterr().out
    assert "editor" in listed
    assert "60 requests per minute" in listed
    assert secret.split("-", 2)[2] not in listed
    assert main(["keys", "list", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert main(["keys", "revoke", told["id"]]) == 0
    assert tokens.find_key(secret) is None


def test_limits_that_cannot_hold_are_refused(home, capsys):
    assert main(["keys", "create", "x", "--scope", "admin", "--parallel", "2"]) == 2
    assert "apply only to keys for chat" in capsys.readouterr().err
    assert tokens.list_keys() == []
