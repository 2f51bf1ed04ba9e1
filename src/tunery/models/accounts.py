"""Hub addresses, access tokens and the proxy for downloads.

Values saved on the Settings page are stored in ``TUNERY_HOME/accounts.json`` (mode 0600) and apply
to the page, the CLI and downloads. Environment variables take precedence. The page and the CLI
never read a token; they only see whether one is set.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tunery import atomic, env
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.redaction import remember

Setting = Literal["hub_endpoint", "hub_token", "modelscope_endpoint", "modelscope_token", "proxy"]

VARIABLES: dict[Setting, tuple[str, ...]] = {
    "hub_endpoint": ("HF_ENDPOINT",),
    "hub_token": ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"),
    "modelscope_endpoint": ("MODELSCOPE_ENDPOINT",),
    "modelscope_token": ("MODELSCOPE_API_TOKEN",),
    "proxy": ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
}
"""Environment variables that take precedence over the saved value, in order."""
TOKENS: frozenset[Setting] = frozenset({"hub_token", "modelscope_token"})
_ADDRESS = re.compile(r"https?://[\w.\-\[\]:]+(/[\w.\-/]*)?")
_TOKEN = re.compile(r"[\x21-\x7e]{8,512}")
_PROXY = re.compile(r"https?://\S+")


@dataclass(frozen=True, slots=True)
class Shown:
    """A setting in a form that is safe to display.

    Args:
        value: The value in effect; empty for tokens, without the password for a proxy.
        is_saved: Whether the file has a value for it.
        variable: The environment variable that overrides the file; empty if none is set.
    """

    value: str
    is_saved: bool
    variable: str


def value(name: Setting) -> str:
    """The value in effect: from the environment, else the saved one, else empty.

    Raises:
        ConfigError: The file of saved values cannot be read.
    """
    variable = _variable(name)
    found = os.environ[variable] if variable else _read().get(name, "")
    if name in TOKENS or name == "proxy":
        remember(found)
    return found


def show(name: Setting) -> Shown:
    """A setting without its secrets, to display."""
    shown = "" if name in TOKENS else _without_password(value(name))
    return Shown(shown, bool(_read().get(name)), _variable(name))


def save(name: Setting, text: str) -> None:
    """Save a setting; an empty text deletes it.

    Raises:
        ConfigError: The text is not a valid address or token, or the file cannot be read.
    """
    text = text.strip()
    if text:
        _check(name, text)
    kept = _read()
    kept.pop(name, None)
    _write(kept | ({name: text} if text else {}))


def proxy() -> str | None:
    """The saved proxy; None if there is none or the environment sets one, which clients read."""
    return None if _variable("proxy") else _read().get("proxy") or None


def _variable(name: Setting) -> str:
    return next((each for each in VARIABLES[name] if os.environ.get(each)), "")


def _check(name: Setting, text: str) -> None:
    if name in TOKENS:
        if not _TOKEN.fullmatch(text):
            raise ConfigError(
                t(
                    "Not a valid token: expected 8 to 512 letters, digits and symbols "
                    "without spaces."
                ),
                fix=t("Copy it again from your account settings."),
                code="bad_token",
            )
    elif name == "proxy":
        if not _PROXY.fullmatch(text) or not urlsplit(text).hostname:
            raise ConfigError(
                t("{address}: not a valid proxy address.", address=_without_password(text)),
                fix=t("Use an address such as http://127.0.0.1:7890"),
                code="bad_address",
            )
    elif not _ADDRESS.fullmatch(text):
        raise ConfigError(
            t("{address}: not a valid web address.", address=text),
            fix=t("Write it with its scheme, such as https://hf-mirror.com"),
            code="bad_address",
        )


def _without_password(address: str) -> str:
    return re.sub(r"(?<=://)[^/@\s]*@", "***@", address)


def _file() -> Path:
    return env.home() / "accounts.json"


def _read() -> dict[str, str]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError):
        raise ConfigError(
            t("{path} cannot be read.", path=_file()),
            fix=t("Delete it and save your sources again under Settings."),
        ) from None
    return {key: str(text) for key, text in found.items()} if isinstance(found, dict) else {}


def _write(kept: dict[str, str]) -> None:
    _file().parent.mkdir(parents=True, exist_ok=True)
    atomic.write(_file(), json.dumps(kept, indent=1), private=True)
