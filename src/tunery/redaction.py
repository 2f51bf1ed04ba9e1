"""Replace secrets by ``***`` in the text of logs, reports and commands."""

from __future__ import annotations

import functools
import logging
import os
import re

MASK = "***"
_PATTERNS = re.compile(
    r"""
    \b(?P<prefix>hf_|sk-|ms-|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|tunery-)
      [A-Za-z0-9_\-]{12,}
    | (?P<bearer>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=\-]{8,}
    | (?P<query>(?:[?&\#]|\b)(?:token|access_token|api_key|apikey|password|secret)=)[^\s&"'<>]+
    | (?P<user>\b[a-z][a-z0-9+.\-]*://)[^\s/@:]+:[^\s/@]+@
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|CREDENTIAL", re.IGNORECASE)
_known: set[str] = set()


def remember(secret: str) -> None:
    """Mask this exact value from now on, whatever it looks like; under 8 characters is ignored."""
    if len(secret) >= 8:
        _known.add(secret)


def redact(text: str) -> str:
    """Mask everything in a text that is or looks like a secret."""
    for secret in sorted(_known | _from_environment(), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _PATTERNS.sub(_masked, text)


class RedactingFilter(logging.Filter):
    """Masks secrets in each record of a handler, including the traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record in place; always True, so no record is dropped."""
        record.msg, record.args = redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        return True


def _masked(found: re.Match[str]) -> str:
    kept = next((text for text in found.groupdict().values() if text), "")
    return f"{kept}{MASK}@" if found["user"] else f"{kept}{MASK}"


def _from_environment() -> frozenset[str]:
    return _values(tuple(v for k, v in os.environ.items() if _SECRET_NAME.search(k)))


@functools.lru_cache(maxsize=4)
def _values(values: tuple[str, ...]) -> frozenset[str]:
    # Short or path-like values (HF_TOKEN_PATH) are not secrets; masking them would ruin the text.
    return frozenset(v for v in values if len(v) >= 12 and not v.startswith(("/", "~")))
