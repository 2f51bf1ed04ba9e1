"""Check before a run that its tokenizer loads, and remember the result by content.

A run loads the tokenizer in its own process, perhaps minutes after it was accepted. This check
calls the same loader once per content of the tokenizer's files: in this process if torch is
imported already, else in a child (``python -m tunery.models.loadable FOLDER``), to keep light
commands fast.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tunery.errors import ModelError, TuneryError, rebuilt
from tunery.i18n import t
from tunery.models import consent, tokenizer_sandbox
from tunery.models.importing import sha256_of
from tunery.workers.environment import worker_env

SUFFIXES = (".json", ".model", ".txt", ".jinja", ".tiktoken", ".py")
WALL_SECONDS = 300.0


def require_tokenizer(folder: Path) -> None:
    """Refuse a folder whose tokenizer cannot be loaded.

    Raises:
        TuneryError: The loader's error, or one that the child process crashed or timed out.
    """
    passed = tokenizer_sandbox.mark(_digest(folder), by="transformers")
    if passed.exists():
        return
    if "torch" in sys.modules:
        _load(folder)
    else:
        _load_in_child(folder)
    tokenizer_sandbox.note(passed)


def _load(folder: Path) -> None:
    from tunery.models.tokenizer import load_light

    load_light(folder)


def _load_in_child(folder: Path) -> None:
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, str(folder.absolute())],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=worker_env(),
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise _unusable(folder, t("loading it does not end")) from error
    try:
        said = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError) as error:
        why = t("the process that tried it ended with status {code}", code=done.returncode)
        raise _unusable(folder, why) from error
    if said is not None:
        raise rebuilt(said)


def _unusable(folder: Path, why: str) -> ModelError:
    return ModelError(
        t("{folder}: the tokenizer cannot be loaded: {why}", folder=folder, why=why),
        fix=t("Download the model's tokenizer files again."),
        path=folder,
    )


def _digest(folder: Path) -> str:
    digest = hashlib.sha256(f"{consent.code_allowed(folder)}\n".encode())
    for file in _read_by_loaders(folder):
        digest.update(f"{file.name}\n{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def _read_by_loaders(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        is_index = file.name.endswith(".index.json")
        if file.suffix in SUFFIXES and not is_index and file.is_file():
            yield file


def main(folder: Path) -> None:
    """Run in the child process: load the tokenizer and print the error, or ``null``, as JSON."""
    try:
        _load(folder)
    except TuneryError as error:
        print(json.dumps(error.stored(), default=str))
        return
    print("null")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
