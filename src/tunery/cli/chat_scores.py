"""`tunery chat` with a reward model: a prompt and its answers, and a score for each."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.text import Text

from tunery.cli.chat_loop import EXIT_INTERRUPTED, read_question
from tunery.cli.console import err, out, print_error, print_json
from tunery.cli.wrapping import prose
from tunery.errors import EngineError, TuneryError
from tunery.i18n import t
from tunery.services.chat import Judge, Scored, meaning


def run(judge: Judge, prompt: str | None, answers: Sequence[str], *, as_json: bool) -> int:
    """Score the given answers, or ask for prompts and answers until the user leaves.

    Args:
        judge: The reward model.
        prompt: The prompt; None if the session is interactive.
        answers: Its answers; empty reads one from stdin.
        as_json: Whether to print one JSON object.

    Returns:
        The exit status.
    """
    if prompt is None:
        return _loop(judge)
    given = [*answers] or _answer_from_stdin()
    scored = _scored(judge, prompt, given)
    if as_json:
        print_json(
            {
                "model": judge.name,
                "prompt": prompt,
                "system": judge.system or None,
                "scores": [each.as_dict() for each in scored],
                "meaning": meaning(),
            }
        )
        return 0
    if out.is_terminal:
        prose(err, Text(meaning(), style="dim"))
    _show(scored)
    return 0


def _answer_from_stdin() -> list[str]:
    if not sys.stdin.isatty() and (text := sys.stdin.read().strip()):
        return [text]
    raise EngineError(
        t("There is no answer to score."),
        fix=t("Pass each answer to score with --answer, or on stdin."),
    )


def _scored(judge: Judge, prompt: str, answers: Sequence[str]) -> list[Scored]:
    if not err.is_terminal:
        return judge.score(prompt, answers)
    with err.status(t("loading {name} ...", name=judge.name)):
        return judge.score(prompt, answers)


def _show(scored: Sequence[Scored]) -> None:
    """Each answer after its score, in the given order; in a pipe, with a tab between them."""
    best = max(each.score for each in scored)
    for each in scored:
        line = " ".join(each.answer.split())
        if not out.is_terminal:
            sys.stdout.write(f"{each.score:.6g}\t{line}\n")
            continue
        style = "bold green" if each.score == best and len(scored) > 1 else "bold"
        prose(out, Text.assemble((f"{each.score:>9.4f}  ", style), line))


def _loop(judge: Judge) -> int:
    """Ask for a prompt, then for answers until an empty line."""
    prose(out, Text(meaning(), style="dim"))
    try:
        while True:
            out.print(t("Prompt (Ctrl-D leaves):"), style="dim")
            prompt = read_question()
            if not prompt.strip():
                continue
            out.print(t("Answers, one after the other; an empty line scores them:"), style="dim")
            answers: list[str] = []
            while (answer := read_question()).strip():
                answers.append(answer)
            try:
                _show(_scored(judge, prompt, answers))
            except TuneryError as error:
                print_error(error.message, error.fix)
    except EOFError:
        return 0
    except KeyboardInterrupt:
        out.print()
        return EXIT_INTERRUPTED
