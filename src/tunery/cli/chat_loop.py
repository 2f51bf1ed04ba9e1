"""The interactive chat: a line editor, and the /commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from rich.text import Text

from tunery.cli.chat_view import View, footer, heading, view_for
from tunery.cli.console import err, out, print_error, print_warning
from tunery.cli.wrapping import prose
from tunery.errors import TuneryError, did_you_mean
from tunery.i18n import joined, t
from tunery.services import chat as chat_service
from tunery.services.chat import Chat, Said

EXIT_INTERRUPTED = 130
_COMMAND = re.compile(r"/([a-z_-]+!?)(?:\s+(.*))?", re.DOTALL)
Ask = Callable[[Chat, str, View], tuple[list[Said], bool]]


class Leave(Exception):
    """The user asked to leave."""


class Loop:
    """Reads questions and commands until the user leaves.

    Args:
        chat: The open chat.
        ask: Asks a question and shows the answers.
    """

    def __init__(self, chat: Chat, ask: Ask) -> None:
        self.chat = chat
        self._ask = ask
        self._commands: dict[str, tuple[str, str, Callable[[str], None]]] = {
            "help": ("", t("show this list"), self._help),
            "system": ("[TEXT]", t("set the system message; without text, remove it"),
                       self._system),
            "reset": ("", t("clear the conversation, keep the system message (also /new)"),
                      self._reset),
            "undo": ("", t("remove the last prompt and its answer"), self._undo),
            "retry": ("", t("send the last prompt again with the next seed"), self._retry),
            "against": ("NAME|off",
                        t("let a second model answer too; base means the model's own base"),
                        self._against),
            "greedy": ("", t("always take the most likely token"), self._greedy),
            "temperature": ("X", t("sampling temperature; 0 is greedy"), self._temperature),
            "top-p": ("X", t("sample from the most likely tokens up to this probability"),
                      self._top_p),
            "top-k": ("N", t("sample from this many of the most likely tokens"), self._top_k),
            "penalty": ("X", t("above 1: fewer repetitions"), self._penalty),
            "seed": ("N", t("random seed"), self._seed),
            "max": ("N", t("maximum number of tokens per answer"), self._max),
            "settings": ("", t("show the current settings"), self._settings),
            "save": ("FILE", t("save the conversation as a row of training data"), self._save),
            "load": ("FILE", t("load a saved conversation"), self._load),
            "exit": ("", t("leave (also Ctrl-D)"), self._exit),
        }  # fmt: skip
        self._also = {"new": "reset", "quit": "exit", "bye": "exit", "save!": "save",
                      "top_p": "top-p", "top_k": "top-k"}  # fmt: skip

    def run(self) -> int:
        """Run the conversation until the user leaves.

        Returns:
            0 after /exit or Ctrl-D, 130 after Ctrl-C.
        """
        _edit_lines([f"/{name}" for name in (*self._commands, *self._also)])
        self._settings("")
        try:
            while True:
                text = read_question()
                if text.strip():
                    self._take(text)
        except (Leave, EOFError):
            return 0
        except KeyboardInterrupt:
            out.print()
            return EXIT_INTERRUPTED

    def _take(self, text: str) -> None:
        try:
            found = _COMMAND.fullmatch(text.strip())
            if found is None:
                self._say(text.removeprefix("/") if text.startswith("//") else text)
            else:
                self._command(found[1], (found[2] or "").strip())
        except TuneryError as error:
            print_error(error.message, error.fix)
        except OSError as error:
            print_error(f"{error.filename or ''}: {error.strerror or error}")

    def _command(self, word: str, rest: str) -> None:
        name = self._also.get(word, word)
        if name not in self._commands:
            near = did_you_mean(word, [*self._commands, *self._also])
            raise TuneryError(
                t("/{name}: no such command.", name=word),
                fix=joined(
                    near,
                    t(
                        "/help lists the commands; start with // to send text that begins with a "
                        "slash."
                    ),
                ),
            )
        if word == "save!":
            self._save(rest, force=True)
        else:
            self._commands[name][2](rest)

    def _say(self, text: str) -> None:
        labels = [speaker.label for speaker in self.chat.speakers]
        said, stopped = self._ask(self.chat, text, view_for(labels))
        out.print(footer(said, commands=True))
        if stopped and len(said) < len(labels):
            print_warning(t("Stopped before all models had answered: the prompt was removed."))

    def _help(self, rest: str) -> None:
        for name, (value, text, _) in self._commands.items():
            prose(out, Text.assemble((f"  /{f'{name} {value}'.strip():<18}", "cyan"), text))
        prose(out, Text(t('  Several lines: end a line with \\, or put """ before and after.')))

    def _system(self, rest: str) -> None:
        self.chat.set_system(rest)
        self._note(t("System message set.") if rest else t("No system message."))

    def _reset(self, rest: str) -> None:
        self.chat.reset()
        self._note(t("Conversation cleared."))

    def _undo(self, rest: str) -> None:
        question = self.chat.undo()
        if question is None:
            raise TuneryError(t("There is nothing to remove."))
        self._note(t("Removed: {text}", text=_short(question)))

    def _retry(self, rest: str) -> None:
        question = self.chat.undo()
        if question is None:
            raise TuneryError(t("There is no prompt to send again."))
        sampling = self.chat.settings.sampling
        if sampling.greedy:
            self._note(
                t("Greedy answers are always the same; use /temperature 0.8 to sample another one.")
            )
        else:
            self._set(seed=(sampling.seed or 0) + 1)
        self._say(question)

    def _against(self, rest: str) -> None:
        if not rest:
            raise TuneryError(t("/against needs a model name, base, or off."))
        name = None if rest == "off" else rest
        with err.status(t("loading {name} ...", name=rest)):
            self.chat.set_against(name)
        self._settings("")

    def _greedy(self, rest: str) -> None:
        self._set(temperature=0.0)
        self._settings("")

    def _temperature(self, rest: str) -> None:
        self._set(temperature=_number(rest, "temperature"))
        self._settings("")

    def _top_p(self, rest: str) -> None:
        self._set(top_p=_number(rest, "top-p"))

    def _top_k(self, rest: str) -> None:
        self._set(top_k=int(_number(rest, "top-k", whole=True)))

    def _penalty(self, rest: str) -> None:
        self._set(repetition_penalty=_number(rest, "penalty"))

    def _seed(self, rest: str) -> None:
        seed = int(_number(rest, "seed", whole=True))
        if self.chat.settings.sampling.greedy:
            self._note(t("Greedy answers do not use a seed; use /temperature 0.8 to sample."))
        self._set(seed=seed)

    def _max(self, rest: str) -> None:
        count = int(_number(rest, "max", whole=True))
        if count < 1:
            raise TuneryError(t("/max must be at least 1, got {found}.", found=count))
        self.chat.settings = self.chat.settings.with_limit(count)

    def _settings(self, rest: str) -> None:
        prose(out, heading(self.chat))

    def _save(self, rest: str, force: bool = False) -> None:
        if not rest:
            raise TuneryError(t("/save needs a file name."))
        chat_service.save_transcript(
            Path(rest), [(s.label, s.messages) for s in self.chat.speakers], force=force
        )
        self._note(t("Saved to {path}.", path=rest))

    def _load(self, rest: str) -> None:
        if not rest:
            raise TuneryError(t("/load needs a file name."))
        messages = chat_service.load_transcript(Path(rest))
        for speaker in self.chat.speakers:
            speaker.messages = list(messages)
        count = len(messages)
        self._note(t("{count} messages loaded from {path}.", count=count, path=rest))

    def _exit(self, rest: str) -> None:
        raise Leave

    def _set(self, **changes: float | int) -> None:
        self.chat.settings = self.chat.settings.with_sampling(**changes)

    def _note(self, text: str) -> None:
        prose(out, Text(text, style="dim"))


def read_question(read: Callable[[str], str] = input) -> str:
    r"""Read one question: a line, lines that end in a backslash, or a block in triple quotes.

    Raises:
        EOFError: End of input.
    """
    line = read("> ")
    if line.lstrip().startswith('"""'):
        lines = [line.lstrip()[3:]]
        while not lines[-1].rstrip().endswith('"""'):
            lines.append(read(". "))
        lines[-1] = lines[-1].rstrip()[:-3]
        return "\n".join(lines).strip("\n")
    lines = [line]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(read(". "))
    return "\n".join(lines)


def _edit_lines(words: list[str]) -> None:
    """Enable arrow keys, history and completion of commands if Python has readline."""
    try:
        import readline
    except ImportError:  # a Python built without it: plain input
        return

    def complete(text: str, state: int) -> str | None:
        found = [word for word in words if word.startswith(text)] if text.startswith("/") else []
        return found[state] if state < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n")
    readline.parse_and_bind("tab: complete")


def _number(text: str, name: str, *, whole: bool = False) -> float:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        raise TuneryError(
            t("/{name} needs a whole number, got {found!r}.", name=name, found=text)
            if whole
            else t("/{name} needs a number, got {found!r}.", name=name, found=text)
        ) from None


def _short(text: str, limit: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"
