"""The command ``tunery``: global options, the table of commands, and error handling.

Nothing heavy is imported here. ``tunery --version`` does not even import the command parser, and a
command's module is imported only when that command is called.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tunery import __version__, env, i18n, panics
from tunery.cli import streams
from tunery.errors import TuneryError, did_you_mean, disk_error, memory_error, panic_error
from tunery.i18n import t

if TYPE_CHECKING:
    from cyclopts import App

# Commands whose module or attribute is not tunery.cli.NAME:app.
ELSEWHERE = {"plan": "tunery.cli.train:plan_app"}
EXIT_INTERRUPTED = 130
EXIT_BROKEN_PIPE = 141  # the shell's exit status for a process killed by SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments after ``tunery``; by default those of this process.

    Returns:
        The exit status: 0 success, 1 a run failed, 2 invalid request, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    as_json = "--json" in words
    streams.settle()
    try:
        words = _take_global_options(words)
        if words in (["--version"], ["-V"]):
            print(f"tunery {__version__}")
            return 0
        with contextlib.nullcontext() if debug else panics.hidden():
            return _run(words)
    except TuneryError as error:
        if debug:
            raise
        _report(error, as_json)
        return error.exit_status
    except BrokenPipeError:
        _drop_stdout()
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BaseException as error:
        explained = disk_error(error) if isinstance(error, OSError) else None
        explained = explained or panic_error(error) or memory_error(error)
        if debug or explained is None:
            raise
        _report(explained, as_json)
        return TuneryError.exit_status


def commands() -> dict[str, str]:
    """Every command with its help in the current language, in the order of a first session."""
    return {
        "web": t("Open Tunery in the browser."),
        "train": t("Train a model and compare it before and after."),
        "plan": t("Show what a run would do and need without starting it."),
        "runs": t("List, follow, stop, resume, verify and delete runs."),
        "chat": t("Chat with a model or a run, or with two side by side."),
        "serve": t("Serve models and runs through an OpenAI-compatible API."),
        "keys": t("Create, list and revoke API keys."),
        "export": t("Export the result of a run as an adapter or a merged model."),
        "data": t("List, check, preview, add and remove datasets."),
        "models": t("Download, list, resolve and remove models."),
        "config": t("Show, explain and compare settings."),
        "doctor": t("Check this machine: packages, device, memory, disks, hub."),
        "version": t("Show the versions of Tunery, Python, torch and other packages."),
    }


def build_app() -> App:
    """Build the command tree; a command's module is imported on first use."""
    from cyclopts import App, Group

    from tunery.cli.help import TranslatedFormatter

    app = App(
        name="tunery",
        help=t("Fine-tune language models: get a model, chat with it, train, compare, export."),
        help_epilogue=t(
            "All commands: --lang en|zh sets the language, --debug shows the full error, "
            "--json prints output for machines."
        ),
        version=__version__,
        version_flags=["--version", "-V"],
        help_format="plaintext",
        help_formatter=TranslatedFormatter(),
        group_commands=Group(t("Commands")),
        group_parameters=Group(t("Options")),
        group_arguments=Group(t("Arguments")),
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
    )
    for position, (name, text) in enumerate(commands().items()):
        place = ELSEWHERE.get(name, f"tunery.cli.{name}:app")
        app.command(place, name=name, help=text, sort_key=position)
    return app


def _run(words: list[str]) -> int:
    from cyclopts import CycloptsError

    from tunery.cli import help as cli_help
    from tunery.cli import missing

    words = words or ["--help"]
    if words[0] == "help":
        words = [*words[1:], "--help"]
    _check_command(words[0])
    _find_a_home()
    app = build_app()
    try:
        missing.check(app, words)
        result = app(words)
    except CycloptsError as error:
        raise cli_help.explain(error) from error
    if cli_help.asks_for_settings(words):
        print()
        cli_help.print_settings()
    return result if isinstance(result, int) else 0


def _find_a_home() -> None:
    """Set a home folder for libraries if this user has none (in some containers).

    Raises:
        TuneryError: TUNERY_HOME does not name one either.
    """
    if env.user_home() is not None:
        return
    if not os.environ.get("TUNERY_HOME"):
        raise TuneryError(
            t(
                "This user has no home folder: HOME is not set and the user is unknown to "
                "the system."
            ),
            fix=t("Set TUNERY_HOME to a folder that this user can write to."),
        )
    os.environ["HOME"] = str(env.home())
    os.environ.setdefault("USER", "tunery")  # torch needs a user name


def _take_global_options(words: Sequence[str]) -> list[str]:
    rest: list[str] = []
    remaining = iter(words)
    language: str | None = None
    for word in remaining:
        if word == "--":
            rest += [word, *remaining]
        elif word == "--debug":
            continue
        elif word == "--lang" or word.startswith("--lang="):
            language = word[7:] if "=" in word else next(remaining, "")
            if language not in i18n.LANGUAGES:
                raise TuneryError(
                    t("--lang: {found!r} is not supported.", found=language),
                    fix=t("Use --lang en or --lang zh."),
                )
        else:
            rest.append(word)
    if language:
        i18n.set_language(language)
        os.environ["TUNERY_LANG"] = language  # for child processes of this command
    return rest


def _check_command(name: str) -> None:
    known = commands()
    if name.startswith("-") or name in known:
        return
    near = did_you_mean(name, known)
    raise TuneryError(
        t("{name!r}: no such command.", name=name),
        fix=i18n.joined(near, t("Commands: {names}.", names=", ".join(known))),
    )


def _report(error: TuneryError, as_json: bool) -> None:
    from tunery.cli.console import json_text, print_error

    with contextlib.suppress(BrokenPipeError):
        if as_json:
            print(json_text(error.as_dict()), flush=True)  # one line of JSONL
        print_error(error.message, error.fix)


def _drop_stdout() -> None:
    """Discard what is still buffered, so that the interpreter exits quietly."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
