"""Error messages of downloads."""

from __future__ import annotations

import httpx

from tunery import env
from tunery.errors import ModelError
from tunery.i18n import joined, t


class RetryLater(Exception):
    """The host asks to retry later.

    Args:
        status: HTTP status of the response.
        seconds: Its Retry-After, 0 without one.
    """

    def __init__(self, status: int, seconds: float) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.seconds = seconds


def wrong_bytes(file: str, algorithm: str, host: str, source: str = "hf") -> ModelError:
    """The error for a file whose hash does not match the one that the hub lists."""
    other = (
        t("Try again later, or use another source: MODELSCOPE_ENDPOINT, or --source hf.")
        if source == "modelscope"
        else t("Try again later, or use another source: HF_ENDPOINT, or --source modelscope.")
    )
    return ModelError(
        t(
            "{file}: {host} sent a file that does not match its checksum ({hash}); it was deleted.",
            file=file,
            host=host,
            hash="SHA-256" if algorithm == "sha256" else "git hash",
        ),
        fix=other,
        code="checksum",
    )


def check_address(source: str) -> str:
    """The advice for a response that does not come from a model hub."""
    return t(
        "Check {setting}, and whether a proxy or a login page is in between.",
        setting="MODELSCOPE_ENDPOINT" if source == "modelscope" else "HF_ENDPOINT",
    )


def busy(host: str, error: RetryLater) -> ModelError:
    """The error for a host whose Retry-After is longer than the download waits."""
    return ModelError(
        t(
            "{host} asks to retry in {minutes} minutes (HTTP {status}).",
            host=host,
            minutes=round(error.seconds / 60),
            status=error.status,
        ),
        fix=t(
            "Run it again after that; the partial download is kept. With a token, the limits are "
            "higher."
        ),
        code="no_answer",
    )


def gave_up(host: str, what: str, have: int, reason: Exception, source: str = "hf") -> ModelError:
    """The error for a download that failed after all retries; the partial file is kept.

    Args:
        host: Host name.
        what: The file or URL.
        have: Bytes downloaded so far.
        reason: The last failure.
        source: ``hf`` or ``modelscope``, for the advice.
    """
    kept = t("The partial download is kept ({have}).", have=env.human_bytes(have)) if have else ""
    match reason:
        case RetryLater(status=429):
            why = t("{host}: too many requests (HTTP 429), even after retries.", host=host)
        case RetryLater(status=status):
            why = t("{host}: server error (HTTP {status}).", host=host, status=status)
        case httpx.ConnectError() | httpx.ConnectTimeout():
            why = t("{host} cannot be reached ({why}).", host=host, why=str(reason)[:200])
        case httpx.ProxyError():
            why = t("The proxy for {host} refused the connection: {why}.", host=host, why=reason)
        case _:
            why = t(
                "{host}: the connection broke repeatedly while downloading {file}.",
                host=host,
                file=what,
            )
    fix = (
        t(
            "Check the network or set MODELSCOPE_ENDPOINT to a reachable address, then run "
            "again; or use --source hf."
        )
        if source == "modelscope"
        else t("Check the network or choose a mirror with HF_ENDPOINT, then run again.")
    )
    return ModelError(why, fix=joined(kept, fix), code="no_answer")
