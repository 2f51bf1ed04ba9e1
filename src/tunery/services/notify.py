"""Notifications when a run ends: a webhook, an e-mail command, a power-off command.

All three are off until the user turns them on. The settings are in TUNERY_HOME/notify.json,
readable by its owner only, because a webhook's address is often its secret; it is never logged, and
the page receives it with its end hidden. Notifications are sent by a separate process
(``python -m tunery.services.notify RUN_FOLDER``), started by the parent of the run's worker, so it
works even if the server and the terminal are long gone.

Commands are argument lists that run without a shell. They can be set only on the command line: a
page can turn them on and off, but no request from a browser decides what is executed.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from tunery import env
from tunery.errors import ConfigError, RunError
from tunery.i18n import speaking, t
from tunery.runs import store
from tunery.runs.folder import RunFolder
from tunery.runs.status import RunStatus, derive
from tunery.services import words
from tunery.types import is_list
from tunery.workers import local
from tunery.workers.folder import read_json, write_json
from tunery.workers.log import plain
from tunery.workers.process import boot_id, is_alive, start_time

WEBHOOK_SECONDS = 10.0
WEBHOOK_TRIES_AFTER = (0.0, 2.0, 8.0)
COMMAND_SECONDS = 60.0
COUNTDOWN_SECONDS = 120.0
LEAST_COUNTDOWN, MOST_COUNTDOWN = 10.0, 3600.0
POLL_SECONDS = 0.2
LOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """What happens when a run ends.

    Args:
        webhook_on: Whether to call the webhook.
        webhook: http or https address that receives a JSON body.
        email_on: Whether to run the e-mail command.
        email: Its argument list; ``{run}``, ``{status}`` and ``{subject}`` are filled in, the
        text is passed on standard input.
        power_off_on: Whether to run the power-off command once no run is running or queued.
        power_off: Its argument list.
        countdown_seconds: How long the power-off can be cancelled.
    """

    webhook_on: bool = False
    webhook: str = ""
    email_on: bool = False
    email: tuple[str, ...] = ()
    power_off_on: bool = False
    power_off: tuple[str, ...] = ()
    countdown_seconds: float = COUNTDOWN_SECONDS

    @property
    def any_on(self) -> bool:
        """Whether any of the three is on."""
        return self.webhook_on or self.email_on or self.power_off_on

    def public(self) -> dict[str, Any]:
        """The settings without their secret."""
        return {**asdict(self), "webhook": hidden(self.webhook)}


def settings_file() -> Path:
    """Path of the settings file."""
    return env.home() / "notify.json"


def countdown_file() -> Path:
    """File that announces a pending power-off; removing it cancels the power-off."""
    return env.home() / "power-off.json"


def read() -> Settings:
    """Read the settings; all are off if the file is missing or damaged."""
    said = read_json(settings_file())
    return Settings(
        webhook_on=said.get("webhook_on") is True,
        webhook=str(said.get("webhook") or ""),
        email_on=said.get("email_on") is True,
        email=_words(said.get("email")),
        power_off_on=said.get("power_off_on") is True,
        power_off=_words(said.get("power_off")),
        countdown_seconds=_countdown(said.get("countdown_seconds")),
    )


def save(new: Settings) -> Settings:
    """Validate and store the settings.

    Raises:
        ConfigError: The address is not valid, or something is on that has nothing to run.
    """
    if new.webhook or new.webhook_on:
        parts = urlsplit(new.webhook)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                t("The webhook needs a full http or https address."),
                fix=t("Copy it from the service that receives the message."),
                field="webhook",
            )
    if new.email_on and not new.email:
        raise ConfigError(
            t("No e-mail command is set."),
            fix=t('Set it at the command line: tunery runs notify --email "mail -s {subject} me"'),
            field="email",
        )
    if new.power_off_on and not new.power_off:
        raise ConfigError(
            t("No power-off command is set."),
            fix=t('Set it at the command line: tunery runs notify --power-off "shutdown -h now"'),
            field="power_off",
        )
    if not LEAST_COUNTDOWN <= new.countdown_seconds <= MOST_COUNTDOWN:
        raise ConfigError(
            t("The countdown must be {least:g} to {most:g} seconds, got {value:g}.",
              least=LEAST_COUNTDOWN, most=MOST_COUNTDOWN, value=new.countdown_seconds),
            field="countdown_seconds",
        )  # fmt: skip
    file = settings_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    before = os.umask(0o077)
    try:
        write_json(file, asdict(new))
    finally:
        os.umask(before)
    return new


def change(
    *,
    webhook_on: bool | None = None,
    webhook: str | None = None,
    email_on: bool | None = None,
    power_off_on: bool | None = None,
    countdown_seconds: float | None = None,
) -> Settings:
    """Change what a page may change; an address that comes back hidden keeps the stored one."""
    old = read()
    given = {
        "webhook_on": webhook_on,
        "webhook": None if webhook == hidden(old.webhook) else webhook,
        "email_on": email_on,
        "power_off_on": power_off_on,
        "countdown_seconds": countdown_seconds,
    }
    return save(replace(old, **{k: v for k, v in given.items() if v is not None}))


def hidden(address: str) -> str:
    """An address with everything after its host hidden."""
    if not address:
        return ""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.hostname or '?'}/…"


def message(state: RunStatus) -> dict[str, Any]:
    """The webhook's body. Chat services read ``text`` or ``content``; programs read the rest."""
    text = _sentence(state)
    return {
        "event": "run_ended",
        **plain(
            {
                "run": state.name,
                "status": state.status,
                "reason": state.reason,
                "step": state.step,
                "num_steps": state.num_steps,
                "loss": state.loss,
                "measures": state.measures,
                "eval_loss": state.eval_loss,
                "eval_measures": state.eval_measures,
                "duration_seconds": state.duration_seconds,
            }
        ),
        "text": text,
        "msg_type": "text",
        "content": {"text": text},
    }


def tell(
    state: RunStatus,
    chosen: Settings,
    *,
    wait: Callable[[float], object] = time.sleep,
    transport: httpx.BaseTransport | None = None,
) -> dict[str, str]:
    """Send the webhook and run the e-mail command.

    Args:
        state: Status of the run that ended.
        chosen: What to do.
        wait: Sleeps between attempts.
        transport: HTTP transport, for tests.

    Returns:
        The outcome of each, in English and without secrets.
    """
    told: dict[str, str] = {}
    if chosen.webhook_on:
        told["webhook"] = _post(chosen.webhook, message(state), wait, transport)
    if chosen.email_on and chosen.email:
        told["email"] = _mail(state, chosen.email)
    return told


def _post(
    address: str,
    body: dict[str, Any],
    wait: Callable[[float], object],
    transport: httpx.BaseTransport | None,
) -> str:
    host = urlsplit(address).hostname
    outcome = ""
    for pause in WEBHOOK_TRIES_AFTER:
        if pause:
            wait(pause)
        try:
            with httpx.Client(
                timeout=WEBHOOK_SECONDS, follow_redirects=False, transport=transport
            ) as client:
                answer = client.post(address, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The text of such an error may contain the address, so only its type is kept.
            outcome = f"{host} did not respond ({type(error).__name__})"
            continue
        outcome = f"{host} answered {answer.status_code}"
        if answer.is_redirect:  # only the address that was checked may be called
            outcome += "; redirects are not followed: use the address that it leads to"
            break
        if answer.is_success:
            return f"sent: {outcome}"
        if answer.status_code < 500 and answer.status_code != 429:
            break
    return f"failed: {outcome}"


def _mail(state: RunStatus, command: Sequence[str]) -> str:
    subject = f"Tunery: {state.name} {state.status}"
    filled = [
        word.replace("{run}", state.name)
        .replace("{status}", state.status)
        .replace("{subject}", subject)
        for word in command
    ]
    return _run(filled, _sentence(state) + "\n")


def _run(command: Sequence[str], text: str = "") -> str:
    try:
        done = subprocess.run(
            list(command),
            input=text,
            text=True,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"failed: {command[0]} took longer than {COMMAND_SECONDS:g} s"
    except OSError as error:
        return f"failed: {command[0]}: {error.strerror}"
    if done.returncode:
        return f"failed: {command[0]} exited with status {done.returncode}"
    return f"done: {command[0]}"


def _sentence(state: RunStatus) -> str:
    parts = [f"Run {state.name} is {state.status}"]
    if state.reason:
        parts.append(f"({state.reason})")
    parts.append(f"at step {state.step} of {state.num_steps or '?'}")
    with speaking("en"):
        told = words.last_values(state)
    if told:
        parts.append(f"with {', '.join(told)}")
    return " ".join(parts) + "."


# --- power-off --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Countdown:
    """A pending power-off."""

    run: str
    seconds_left: float


def countdown() -> Countdown | None:
    """The pending power-off; None if there is none."""
    said = read_json(countdown_file())
    if not said or not is_alive(said):
        return None
    left = float(said["ends"]) - time.monotonic()
    return Countdown(str(said["run"]), max(0.0, left))


def keep_on() -> Countdown:
    """Cancel the pending power-off.

    Raises:
        RunError: No power-off is pending.
    """
    found = countdown()
    if found is None:
        raise RunError(t("No power-off is scheduled."), code="none")
    countdown_file().unlink(missing_ok=True)
    return found


def power_off(run: str, chosen: Settings, *, wait: Callable[[float], object] = time.sleep) -> str:
    """Count down and run the power-off command, unless it is cancelled or a run starts.

    Returns:
        The outcome, in English.
    """
    if busy := _others(run):
        return f"not done: {busy} is still active"
    who = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
    ends = time.monotonic() + chosen.countdown_seconds
    write_json(countdown_file(), {**who, "run": run, "ends": ends})
    try:
        while time.monotonic() < ends:
            wait(POLL_SECONDS)
            said = read_json(countdown_file())
            if said.get("pid") != os.getpid():
                return "cancelled"
        if busy := _others(run):
            return f"not done: {busy} started in the meantime"
    finally:
        with contextlib.suppress(OSError):
            if read_json(countdown_file()).get("pid") == os.getpid():
                countdown_file().unlink()
    return _run(chosen.power_off)


def _others(run: str) -> str:
    """The name of a run that is running or queued; empty if there is none."""
    return next((s.name for s in store.list_runs() if s.is_live and s.name != run), "")


def main(argv: Sequence[str]) -> int:
    """Send the notifications for one run; the outcome is written to its notified.json."""
    folder = RunFolder(Path(argv[0]))
    chosen = read()
    # The worker's parent, which started this process, holds the run's lock for a moment longer.
    local.wait_until_gone(folder, LOCK_SECONDS)
    state = derive(folder)
    if not chosen.any_on or state.is_live:
        return 0
    told = tell(state, chosen)
    write_json(folder.notified_file, told)
    # A user who stops a run by hand is present and wants to keep the machine.
    if chosen.power_off_on and state.status != "stopped":
        told["power_off"] = power_off(folder.name, chosen)
        write_json(folder.notified_file, told)
    return 0


def outcome(folder: RunFolder) -> dict[str, str]:
    """The outcome of a run's notifications; empty if none were to be sent."""
    return {k: str(v) for k, v in read_json(folder.notified_file).items()}


def _words(value: Any) -> tuple[str, ...]:
    return tuple(w for w in value if isinstance(w, str)) if is_list(value) else ()


def _countdown(value: Any) -> float:
    if isinstance(value, int | float) and LEAST_COUNTDOWN <= value <= MOST_COUNTDOWN:
        return float(value)
    return COUNTDOWN_SECONDS


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
