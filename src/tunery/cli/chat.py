"""`tunery chat`: talk to a model or a run, or to two side by side."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Annotated, Any

from cyclopts import App, Parameter

from tunery.cli.chat_view import Plain, View, footer, view_for
from tunery.cli.console import err, out, print_json, print_warning
from tunery.cli.progress import model_progress
from tunery.errors import EngineError
from tunery.i18n import t
from tunery.models.resolved import Resolved
from tunery.services.chat import (
    MAX_NEW_TOKENS,
    Chat,
    Judge,
    LoadedModels,
    Said,
    Settings,
    choose_sampling,
    is_reward_model,
)

app = App(name="chat", help=t("Chat with a model or a run, or with two side by side."))
EXIT_INTERRUPTED = 130


@Parameter(name="*")
@dataclass(frozen=True)
class Drawing:
    """How answers are sampled.

    Args:
        max_new_tokens: Maximum number of tokens per answer.
        temperature: 0 is greedy; 1 samples from the model's own distribution.
        top_p: Sample from the fewest tokens whose probabilities add up to this.
        top_k: Sample from this many of the most likely tokens; 0 means all.
        repetition_penalty: Above 1, tokens that already occurred become less likely.
        seed: Random seed; the same seed gives the same answer.
        greedy: Always take the most likely token.
        stop: Text that ends an answer; may be given more than once.
    """

    max_new_tokens: int = MAX_NEW_TOKENS
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    greedy: Annotated[bool, Parameter(negative="")] = False
    stop: Annotated[tuple[str, ...], Parameter(negative="")] = ()

    def settings(self) -> Settings:
        """Return the settings, validated."""
        sampling = choose_sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
            greedy=self.greedy,
        )
        return Settings(sampling, _at_least_one(self.max_new_tokens), self.stop)


@app.default
def chat(
    model: str = "demo",
    /,
    *,
    against: str | None = None,
    prompt: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    answer: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=True)] = (),
    system: str | None = None,
    drawing: Drawing = Drawing(),
    template: str | None = None,
    device: str = "auto",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Talk to a model or a run: tunery chat MODEL_OR_RUN [--against OTHER] [--prompt TEXT].

    Answers are greedy unless a temperature, top-p, top-k or seed is given. Ctrl-C stops an
    answer; a second one, or one at the prompt, leaves. With --prompt, or text on stdin, one
    answer is given and the command ends; into a pipe goes the answer alone.

    A reward model gives scores instead: it reads a prompt and the answers given with --answer.

    Args:
        model: A model, a run, or RUN@step-00000100 for a checkpoint.
        against: A second model or run that answers the same prompts, or base for the model's own
            base.
        prompt: Answer this prompt and exit; - reads it from stdin.
        answer: An answer for a reward model to score; may be given more than once.
        system: System message.
        drawing: How answers are sampled.
        template: Chat template in place of the model's own: a built-in name or a .jinja file.
        device: Device to run on: auto, cpu, cuda or cuda:N.
        json: Print the answers as one JSON object; needs --prompt or stdin.
    """
    settings = drawing.settings()
    question = _question(prompt)
    if json and question is None:
        raise EngineError(
            t("--json: the prompt is missing."), fix=t("Pass a prompt with --prompt or on stdin.")
        )
    room = LoadedModels(template=template, device=device, on_notice=print_warning)
    session = Chat(room, model, against, settings)
    found = _find(session)
    if is_reward_model(found):
        _check_scoring(against, drawing)
        from tunery.cli import chat_scores

        judge = Judge(model, found, template, device, system or "")
        return chat_scores.run(judge, question, answer, as_json=json)
    if answer:
        raise EngineError(
            t("--answer: {name} writes answers itself; only a reward model scores them.",
              name=model),
            fix=t("Remove --answer, or use a reward model."),
        )  # fmt: skip
    _open(session)
    if system:
        session.set_system(system)
    if question is not None:
        return _answer_once(session, question, as_json=json)
    from tunery.cli.chat_loop import Loop

    return Loop(session, asking).run()


def _at_least_one(max_new_tokens: int) -> int:
    if max_new_tokens < 1:
        raise EngineError(
            t("--max-new-tokens must be at least 1, got {found}.", found=max_new_tokens),
            fix=t("Remove it to use the default."),
        )
    return max_new_tokens


def _question(prompt: str | None) -> str | None:
    """The single question to answer; None if the chat is interactive."""
    if prompt is not None and prompt != "-":
        question = prompt
    elif prompt == "-" or not sys.stdin.isatty():
        question = _from_stdin().strip()
    else:
        return None
    if not question.strip():
        raise EngineError(
            t("The prompt is empty."),
            fix=t("Pass a prompt with --prompt or on stdin."),
        )
    return question


def _from_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise EngineError(
            t("The text on stdin is not {encoding}.", encoding=error.encoding.upper()),
            fix=t("Convert it, for example: iconv -f GBK -t UTF-8"),
        ) from error


def _check_scoring(against: str | None, drawing: Drawing) -> None:
    """Reject options that only make sense for a model that writes."""
    wrong = "--against" if against else "" if drawing == Drawing() else _first_changed(drawing)
    if wrong:
        raise EngineError(
            t("{option} has no effect on a reward model: it scores answers and writes none.",
              option=wrong),
            fix=t("Remove {option}.", option=wrong),
        )  # fmt: skip


def _first_changed(drawing: Drawing) -> str:
    usual = vars(Drawing())
    name = next(name for name, value in vars(drawing).items() if value != usual[name])
    return f"--{name.replace('_', '-')}"


def _find(session: Chat) -> Resolved:
    """Find the models, with the progress of downloads; return the first one."""
    with model_progress(as_json=False) as progress:
        session.room.progress = progress
        return session.find()[0]


def _open(session: Chat) -> None:
    """Load the models, with a progress message on a terminal."""
    names = " + ".join([session.name, *([session.against] if session.against else [])])
    if err.is_terminal:
        with err.status(t("loading {name} ...", name=names)):
            session.open()
    else:
        session.open()


def _answer_once(session: Chat, question: str, *, as_json: bool) -> int:
    labels = [speaker.label for speaker in session.speakers]
    if as_json:
        view: View = Plain(labels, write=lambda text: None, safe=False)
    else:
        view = view_for(labels) if out.is_terminal else Plain(labels, safe=False)
    said, stopped = asking(session, question, view)
    if as_json:
        print_json(_as_json(session, question, said))
    elif err.is_terminal and out.is_terminal:
        err.print(footer(said, commands=False))
    for answer in said:
        if answer.reply.ending == "length" and not as_json and not out.is_terminal:
            print_warning(
                t("{model}: the answer was cut off at {count} tokens (--max-new-tokens).",
                  model=answer.label, count=len(answer.reply.ids))
            )  # fmt: skip
    return EXIT_INTERRUPTED if stopped else 0


def _as_json(session: Chat, question: str, said: list[Said]) -> dict[str, Any]:
    sampling = session.settings.sampling
    answers = [answer.as_dict() for answer in said]
    return {
        "prompt": question,
        "system": session.system or None,
        "answer": answers[0]["answer"] if answers else None,
        "answers": answers,
        "sampling": {
            "greedy": sampling.greedy,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "repetition_penalty": sampling.repetition_penalty,
            "seed": None if sampling.greedy else sampling.seed,
        },
    }


def asking(session: Chat, question: str, view: View) -> tuple[list[Said], bool]:
    """Ask all speakers; Ctrl-C stops the answers.

    Returns:
        The answers, and whether Ctrl-C stopped them.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed a second time.
    """
    with _stopping() as stopped, view:
        said = session.ask(question, on_start=view.start, on_text=view.text, should_stop=stopped)
        was_stopped = stopped()
    for answer in said:
        if answer.num_forgotten:
            print_warning(
                t(
                    "{model} supports at most {limit} tokens: the oldest {count} messages "
                    "were dropped.",
                    model=answer.label,
                    count=answer.num_forgotten,
                    limit=session.speakers[0].context_length,
                )
            )
    return said, was_stopped


@contextmanager
def _stopping() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C in the block into a stop request."""
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)
