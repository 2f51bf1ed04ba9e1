"""Test an untrusted tokenizer.json in a child process with limits, before it is loaded here.

A normalizer that doubles the text repeatedly makes the library abort the process, which no
``except`` can catch. So before a file is loaded for the first time, a child process
(``python -m tunery.models.tokenizer_sandbox FILE BYTES SECONDS``) with that limit of memory and CPU
time encodes a few short texts and decodes every token. A file that passes is remembered by the hash
of its content and the version of the library.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import resource
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, cast

from tunery import atomic, env, memory
from tunery.errors import ModelError, panic_reason
from tunery.i18n import t
from tunery.models.importing import sha256_of
from tunery.types import is_list, is_object

MEMORY_FLOOR_BYTES = 2 * 2**30
MEMORY_PER_FILE_BYTE = 40
"""Additional memory per byte of the file; a vocabulary needs 10 to 15 bytes."""
CPU_SECONDS = 60
WALL_SECONDS = 180.0
MOST_TOKENS_PER_BYTE = 64
"""Highest accepted number of tokens per byte; Unicode's NFKC makes at most 18 characters of one."""
MOST_GROWTH = 10_000
"""Highest accepted factor by which all normalizers can lengthen a text; the usual is about 1."""
TEXTS = (
    "Hello, world!",
    "Zażółć gęślą jaźń; 你好，世界。こんにちは。 안녕하세요. مرحبا 👩‍👩‍👧 ﷺ",
    "def f(x):\n\treturn x ** 2  # 3.14159, 0xff, snake_case, camelCase\r\n",
    "the quick brown fox jumps over the lazy dog " * 40,
    " " * 500 + "a" * 500,
)
_PANICKED = 3
_PANICKED_AT_A_TOKEN = 4
_TOO_MANY = 5
_GROWS = 6


def require(folder: Path) -> None:
    """Refuse a folder's tokenizer.json that would crash, hang or exhaust this process.

    A file that the library rejects with an ordinary error passes; loading it reports that error.

    Raises:
        ModelError: With the reason.
    """
    file = folder / "tokenizer.json"
    if file.is_file():
        _require(file, mark(sha256_of(file)))


def remember(folder: Path) -> None:
    """Record that a tokenizer.json needs no test, because our own conversion wrote it."""
    note(mark(sha256_of(folder / "tokenizer.json")))


@functools.lru_cache(maxsize=64)
def _require(file: Path, passed: Path) -> None:
    if passed.exists():
        return
    why = _tried(file)
    if why:
        raise ModelError(
            t("{file}: this tokenizer cannot be used: {why}.", file=file, why=why),
            fix=t(
                "Download the model's own tokenizer files from a source you trust, or use another "
                "model."
            ),
            code="tokenizer_refused",
            path=file,
        )
    note(passed)


def _tried(file: Path) -> str:
    """Test a file in a child process; return why it must not be loaded, or an empty text."""
    command = [sys.executable, "-P", "-m", __name__, str(file.absolute())]
    command += [str(_memory_limit(file)), str(CPU_SECONDS)]
    environ = {**os.environ, "TOKENIZERS_PARALLELISM": "false", "RUST_BACKTRACE": "0"}
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=environ,
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return t("it does not finish splitting a short text")
    match done.returncode:
        case 0:
            return ""
        case code if code == _PANICKED:
            return t("it crashes on a short text ({why})", why=done.stdout.decode().strip())
        case code if code == _PANICKED_AT_A_TOKEN:
            return t("it crashes on a single token ({why})", why=done.stdout.decode().strip())
        case code if code == _GROWS:
            return t("its normalizer can make a text millions of times as long")
        case code if code == _TOO_MANY:
            return t("it makes a flood of tokens from a short text")
        case code if code == -signal.SIGXCPU:
            return t("it does not finish splitting a short text")
        case code if b"memory allocation" in done.stderr or b"MemoryError" in done.stderr:
            return t(
                "it needs more than {limit} of memory for a short text",
                limit=env.human_bytes(_memory_limit(file)),
            )
        case code:
            return t("the process that tried it ended with status {code}", code=code)


def _memory_limit(file: Path) -> int:
    return MEMORY_FLOOR_BYTES + MEMORY_PER_FILE_BYTE * file.stat().st_size


def mark(digest: str, *, by: str = "tokenizers") -> Path:
    """The file that exists if a content passed the test with the installed version of a library.

    Args:
        digest: Hash of the content.
        by: The library, as its package is named.
    """
    return env.cache_dir() / "tokenizers" / f"{by}-{metadata.version(by)}-{digest}"


def note(passed: Path) -> None:
    """Create a mark, to record that its content passed."""
    with contextlib.suppress(OSError):  # read-only home: tested again next time
        passed.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(passed, "")


def main(file: Path, data_bytes: int, seconds: int) -> int:
    """Run in the child process: load the file and encode the texts, within the limits.

    Args:
        file: The tokenizer.json.
        data_bytes: Limit of memory.
        seconds: Limit of CPU time.

    Returns:
        Exit status: 0 if the file passed or is invalid, else one of the codes above.
    """
    memory.limit(data_bytes)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except MemoryError:
        raise
    except BaseException:  # noqa: BLE001  (loading it reports the error)
        return 0
    if _growth(json.loads(file.read_bytes()).get("normalizer")) > MOST_GROWTH:
        return _GROWS
    for number, text in enumerate(TEXTS):
        try:
            count = len(tokenizer.encode(text, add_special_tokens=False).ids)
        except MemoryError:
            raise
        except BaseException as error:  # noqa: BLE001
            if number == 0 and (why := panic_reason(error)) is not None:
                print(why)
                return _PANICKED
            continue  # an unusual text is refused when it occurs
        if count > MOST_TOKENS_PER_BYTE * len(text.encode()):
            return _TOO_MANY
    try:
        tokenizer.decode_batch([[token] for token in range(tokenizer.get_vocab_size())])
    except BaseException as error:
        if (why := panic_reason(error)) is None:
            raise
        print(why)
        return _PANICKED_AT_A_TOKEN
    return 0


def _growth(normalizer: Any) -> float:
    """The factor by which a normalizer's replacements can lengthen a text."""
    if not is_object(normalizer):
        return 1.0
    listed = normalizer.get("normalizers")
    parts = cast("list[Any]", listed) if is_list(listed) else []
    growth = math.prod(_growth(part) for part in parts)
    content, pattern = normalizer.get("content"), normalizer.get("pattern")
    if isinstance(content, str) and is_object(pattern):
        replaced = pattern.get("String")  # a regular expression may match a single character
        growth *= max(1.0, len(content) / max(1, len(replaced) if isinstance(replaced, str) else 1))
    return growth


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
