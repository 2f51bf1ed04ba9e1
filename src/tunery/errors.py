"""The tree of all errors meant for users.

A message says **where: what is wrong, what was expected, what to do**. The command line prints a
``TuneryError`` without a traceback and exits with 2; any other exception is a bug and is shown.

    TuneryError
    ├── ConfigError     a setting, a config file, two settings that exclude each other
    ├── DataError       a dataset, a row
    ├── ModelError      a model that cannot be found, downloaded or loaded
    ├── LaunchError     a run that cannot be started here
    ├── RunError        a run that cannot be found, resumed or changed
    │   └── RunFailed   a run was started and failed (exit status 1, not 2)
    ├── EngineError     chat and generation
    ├── ExportError     writing the result
    └── UnknownName     a name that is not in a list (with the closest match)
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
from collections.abc import Generator, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, cast

from tunery.i18n import english, joined, phrase_of, retold, t


class TuneryError(Exception):
    """An error meant for users.

    Args:
        message: Where, what is wrong, what was expected.
        fix: What to do, one or more sentences or a command; printed on its own line.
        code: Stable machine-readable name, such as ``E301``; empty if none is needed.
        fields: Where it happened (``path``, ``file``, ``line``, ``row``, ``model``, ``run`` ...).
    """

    exit_status = 2

    def __init__(self, message: str, *, fix: str = "", code: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix
        self.code = code
        self.fields = fields

    def __str__(self) -> str:
        return str(joined(self.message, self.fix)).strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.fix, self.code, self.fields)

    def as_dict(self) -> dict[str, Any]:
        """Return the error as plain data for ``--json`` and the REST API."""
        known = {key: _plain(value) for key, value in self.fields.items() if value is not None}
        return {
            "error": type(self).__name__,
            "code": self.code,
            "message": self.message,
            "fix": self.fix,
            **known,
        }

    def stored(self) -> dict[str, Any]:
        """The error in serializable form: English text with the phrases behind it.

        ``rebuilt`` renders it again, in the language of the reader.
        """
        said = {"message": self.message, "fix": self.fix}
        phrases = {n: phrase.stored() for n, text in said.items() if (phrase := phrase_of(text))}
        spoken = {name: english(text) for name, text in said.items()}
        return {**self.as_dict(), **spoken, **({"phrases": phrases} if phrases else {})}


class ConfigError(TuneryError):
    """A setting is unknown, has the wrong type, is out of bounds, or excludes another."""


class DataError(TuneryError):
    """A dataset cannot be used as requested."""


class ModelError(TuneryError):
    """A model cannot be found, downloaded or loaded."""


class LaunchError(TuneryError):
    """A run currently cannot be started on this machine."""


class RunError(TuneryError):
    """A run cannot be found, resumed, stopped or deleted as requested."""


class RunFailed(RunError):
    """A run was started and failed; the process exits with 1."""

    exit_status = 1


class EngineError(TuneryError):
    """Generation cannot continue."""


class ExportError(TuneryError):
    """A result cannot be written, or differs from what was trained."""


class UnknownName(TuneryError):
    """A name is not in a list; the message suggests the closest match."""


def rebuilt(said: Mapping[str, Any]) -> TuneryError:
    """Rebuild an error from the output of ``stored``, such as the answer of a child process."""
    known = {kind.__name__: kind for kind in _kinds(TuneryError)}
    fields = {k: v for k, v in said.items() if k not in _NAMED}
    kind = known.get(said["error"], TuneryError)
    return kind(retold(said, "message"), fix=retold(said, "fix"), code=said["code"], **fields)


_NAMED = ("error", "message", "fix", "code", "phrases")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean X?`` for a near miss, otherwise an empty string.

    The ending of a file name does not count: ``nope.jsonl`` is not near to ``kto.jsonl``. A name
    is never proposed for itself.
    """
    ending = PurePath(name).suffix
    others = [each for each in known if each != name]
    alike = {each.removesuffix(ending): each for each in others if ending and each.endswith(ending)}
    plain = {each: each for each in others if not ending or not each.endswith(ending)}
    for wanted, names in ((name.removesuffix(ending), alike), (name, plain)):
        near = difflib.get_close_matches(wanted, list(names), n=1, cutoff=0.6)
        if near:
            return t("Did you mean {name}?", name=names[near[0]])
    return ""


def unknown_name(kind: str, name: str, known: Iterable[str], *, fix: str = "") -> UnknownName:
    """Create the error for a name that is not in ``known``.

    Args:
        kind: What was named, in words: ``dataset``, ``template``.
        name: What the user entered.
        known: All accepted names.
        fix: Appended after the near miss; by default the list of known names.
    """
    names = sorted(known)
    near = did_you_mean(name, names)
    listed = fix or (t("Available: {names}.", names=", ".join(names[:30])) if names else "")
    message = t("{kind} {name!r}: no such {kind}.", kind=_kind(kind), name=name)
    return UnknownName(message, fix=joined(near, listed))


def panic_error(error: BaseException) -> TuneryError | None:
    """The error for a panic in native code (pyo3's ``PanicException``); None for any other error.

    A panic is not an ``Exception``, so ``except Exception`` does not catch it.
    """
    why = panic_reason(error)
    if why is None:
        return None
    return TuneryError(
        t("A native library crashed: {why}.", why=why),
        fix=t(
            "Usually the model's tokenizer.json is damaged or contains an empty pattern. "
            "Download the tokenizer files again, or repair that file."
        ),
        code="panic",
    )


def memory_error(error: BaseException) -> TuneryError | None:
    """The error for running out of memory, in any library; None for any other error."""
    from tunery.memory import is_out_of_memory  # psutil: not for every command

    if not is_out_of_memory(error):
        return None
    return TuneryError(
        t("There is not enough free memory for this."),
        fix=t("Close other programs, or use a smaller model or file."),
        code="out_of_memory",
    )


def panic_reason(error: BaseException) -> str | None:
    """The message of a panic in native code, in one line; None for any other error."""
    if type(error).__name__ != "PanicException":
        return None
    return (str(error).strip() or "panic").splitlines()[0].rstrip(".")[:300]


@contextlib.contextmanager
def disk_errors() -> Generator[None]:
    """Turn disk and permission errors inside this context into a ``TuneryError``."""
    try:
        yield
    except OSError as error:
        if (explained := disk_error(error)) is None:
            raise
        raise explained from error


def disk_error(error: OSError) -> TuneryError | None:
    """The error for a problem with the disk or permissions; None for any other error."""
    where = str(error.filename or t("the disk"))
    code = "disk"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            message = t("{path}: no space left on the disk.", path=where)
            fix = t("Free some space, or set TUNERY_HOME to a folder on another disk.")
            code = "disk_full"
        case errno.EROFS:
            message = t("{path}: the disk is read-only.", path=where)
            fix = t("Choose another folder, or set TUNERY_HOME to a writable disk.")
        case errno.EACCES | errno.EPERM:
            message = t("{path}: permission denied.", path=where)
            fix = t("Check the owner and the permissions (user id {uid}).", uid=os.getuid())
        case errno.ENOTDIR:
            message = t("{path}: expected a folder, found a file.", path=where)
            fix = t("Choose another folder, or set TUNERY_HOME to one.")
        case errno.ENAMETOOLONG:
            message = t("The name is too long for a file.")
            fix, code = "", "bad_name"
        case _:
            return None
    return TuneryError(message, fix=fix, code=code, path=where)


def _kind(kind: str) -> str:
    words = {
        "dataset": t("dataset"),
        "preset": t("preset"),
        "template": t("template"),
        "format": t("format"),
        "method": t("method"),
        "adapter": t("adapter"),
        "export format": t("export format"),
        "topic": t("topic"),
    }
    return words.get(kind, kind)


def _kinds(kind: type[TuneryError]) -> Iterator[type[TuneryError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _kinds(child)


def _plain(value: Any) -> Any:
    return cast(Any, value) if isinstance(value, bool | int | float | list | dict) else str(value)


def _rebuild(
    kind: type[TuneryError], message: str, fix: str, code: str, fields: Mapping[str, Any]
) -> TuneryError:
    return kind(message, fix=fix, code=code, **fields)
