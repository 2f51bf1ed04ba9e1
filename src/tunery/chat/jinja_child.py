"""The child process that renders chat templates, so that a template can do no harm.

A template that comes with a model is untrusted. It runs here, in Jinja's immutable sandbox in a
separate process without environment variables or write access to files, limited to 1 GiB of
address space, 2 s of CPU time per rendering and 16 Mi characters of output. The Jinja environment
matches that of transformers' ``apply_chat_template`` (tests compare the tokens). This file is run
by path and needs only jinja2 and the standard library. It reads length-prefixed JSON from stdin,
answers on stdout and exits when stdin closes.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import signal
import struct
import sys
from collections.abc import Generator
from typing import Any, BinaryIO

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.utils
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 2.0
OUTPUT_CHARACTERS = 16 * 1024 * 1024
ADDRESS_SPACE_BYTES = 1024 * 1024 * 1024


class RaisedByTemplate(jinja2.TemplateError):
    """The template called ``raise_exception`` to reject the conversation."""


class TooSlow(BaseException):
    """A rendering used up its CPU time (not an ``Exception``, so no filter can catch it)."""


class TooLong(Exception):
    """A rendering exceeded the output limit."""


class Generation(jinja2.ext.Extension):
    """``{% generation %} ... {% endgeneration %}``: records the spans of assistant text."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def __init__(self, environment: jinja2.Environment) -> None:
        super().__init__(environment)
        environment.extend(generation=self)
        self.blocks: list[str] = []
        self.spans: list[tuple[int, int]] = []

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
        """Turn the block into a call that records the span of its text."""
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = jinja2.nodes.CallBlock(self.call_method("note"), [], [], body)
        return call.set_lineno(lineno)

    def note(self, caller: Any) -> str:
        """Render the block and record its span in the output."""
        text = caller()
        start = sum(map(len, self.blocks))
        self.spans.append((start, start + len(text)))
        return text


class SafeNamespace(jinja2.utils.Namespace):
    """``namespace()`` that rejects attribute names starting with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, args = args[0], args[1:]
        values = dict(*args, **kwargs)
        for name in values:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


class SafeDict:
    """``dict()`` that does not expose the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """Like ``dict``."""
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """Like ``dict.fromkeys``."""
        return dict.fromkeys(*args)


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a template may not set the attribute {name!r}")


def _raise_exception(message: object) -> None:
    raise RaisedByTemplate(str(message))


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def make_environment() -> jinja2.Environment:
    """Make the sandboxed environment; each request sets its own ``strftime_now``."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    untyped: Any = environment  # its dictionaries have no types
    untyped.filters["tojson"] = _tojson
    untyped.globals.pop("lipsum", None)
    untyped.globals.update(
        raise_exception=_raise_exception,
        dict=SafeDict(),
        namespace=SafeNamespace,
    )
    return environment


def render(template: jinja2.Template, variables: dict[str, Any]) -> dict[str, Any]:
    """Render once, within the output limit.

    Returns:
        ``{"text", "spans"}``; spans are the character spans of generation blocks.

    Raises:
        TooLong: The output exceeds the limit.
    """
    generation: Generation = template.environment.generation  # type: ignore[attr-defined]
    generation.blocks, generation.spans = [], []
    length = 0
    for block in template.generate(**variables):
        length += len(block)
        if length > OUTPUT_CHARACTERS:
            raise TooLong
        generation.blocks.append(block)
    return {"text": "".join(generation.blocks), "spans": generation.spans}


@contextlib.contextmanager
def _cpu_limit() -> Generator[None]:
    """Raise TooSlow after 2 s of CPU time; if Python does not react, the kernel kills the child."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(
        resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime + CPU_SECONDS) + 2, hard)
    )
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_slow(*_: Any) -> None:
    raise TooSlow


def attempt(action: Any) -> dict[str, Any]:
    """Run one compilation or rendering and turn any failure into a result.

    Returns:
        What ``action`` returns, or ``{"error", "message"}`` with error one of ``rejected``,
        ``time``, ``memory``, ``output``, ``sandbox``, ``syntax``, ``broken``.
    """
    try:
        with _cpu_limit():
            return action()
    except RaisedByTemplate as error:
        return {"error": "rejected", "message": str(error)}
    except TooSlow:
        return {"error": "time", "message": ""}
    except (TooLong, OverflowError):
        return {"error": "output", "message": ""}
    except MemoryError:
        return {"error": "memory", "message": ""}
    except SecurityError as error:
        return {"error": "sandbox", "message": str(error)}
    except jinja2.TemplateSyntaxError as error:
        return {"error": "syntax", "message": f"line {error.lineno}: {error.message}"}
    except Exception as error:  # noqa: BLE001 - an untrusted template may raise anything
        return {"error": "broken", "message": f"{type(error).__name__}: {error}"[:500]}


def answer(
    request: dict[str, Any], environment: jinja2.Environment, templates: dict[str, Any]
) -> list[dict[str, Any]]:
    """Answer one request: compile the template if it is new, then render every job."""
    key = request["key"]
    if key not in templates:
        made: dict[str, Any] = {}

        def compile_it() -> dict[str, Any]:
            made["template"] = environment.from_string(request["source"])
            return {}

        failure = attempt(compile_it)
        templates[key] = failure or made["template"]
    template = templates[key]
    if isinstance(template, dict):
        return [template] * len(request["jobs"])
    return [attempt(lambda job=job: render(template, job)) for job in request["jobs"]]


def read(stream: BinaryIO) -> Any:
    """Read one length-prefixed JSON value; None at the end of the stream."""
    header = stream.read(8)
    if len(header) < 8:
        return None
    return json.loads(stream.read(struct.unpack(">Q", header)[0]))


def write(stream: BinaryIO, value: Any) -> None:
    """Write one length-prefixed JSON value."""
    data = json.dumps(value).encode()
    stream.write(struct.pack(">Q", len(data)))
    stream.write(data)
    stream.flush()


def main() -> None:
    """Set the process limits and answer requests until stdin closes."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_AS)[1]  # keep a stricter limit of the shell
    memory = ADDRESS_SPACE_BYTES if hard < 0 else min(ADDRESS_SPACE_BYTES, hard)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    signal.signal(signal.SIGPROF, _too_slow)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    environment: Any = make_environment()  # its dictionaries have no types
    templates: dict[str, Any] = {}
    while (request := read(stdin)) is not None:
        # Templates look up globals when rendered, so they need not be recompiled.
        now = datetime.datetime.fromisoformat(request["now"])
        environment.globals["strftime_now"] = now.strftime
        write(stdout, answer(request, environment, templates))


if __name__ == "__main__":
    main()
