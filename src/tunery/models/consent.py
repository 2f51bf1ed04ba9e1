"""Consent to run the code that comes with a model (``trust_remote_code``).

None by default. A user gives it with ``tunery models allow-code`` for one repo, one commit and the
exact files (their SHA-256). It is stored in TUNERY_HOME/consents.json and can be revoked; no
config, request or environment variable can set it. A changed file needs a new consent.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunery import atomic, env
from tunery.commands import quoted
from tunery.errors import ModelError
from tunery.i18n import t
from tunery.models import files

FILE = "consents.json"


@dataclass(frozen=True, slots=True)
class Code:
    """Identifies the code of a model, for consent.

    Args:
        repo: The hub id; for a plain folder, its absolute path.
        revision: The commit; empty for a plain folder.
        sha256: One hash over the names and contents of all .py files, in hex.
    """

    repo: str
    revision: str
    sha256: str


def code_of(folder: Path) -> Code:
    """Identify the code in a model folder; repo and commit are read from the hub cache's path."""
    digest = hashlib.sha256()
    for file in files.python_files(folder):
        digest.update(f"{file.name}\n{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    parts = folder.absolute().parts
    if len(parts) >= 3 and parts[-2] == "snapshots" and parts[-3].startswith("models--"):
        repo = parts[-3].removeprefix("models--").replace("--", "/", 1)
        return Code(repo, parts[-1], digest.hexdigest())
    return Code(str(folder.resolve()), "", digest.hexdigest())


def code_allowed(folder: Path) -> bool:
    """Whether consent was given for exactly the code in this folder; False if it has no code."""
    if not files.python_files(folder):
        return False
    return asdict(code_of(folder)) in [_identity(entry) for entry in entries()]


def require(folder: Path, config: dict[str, Any]) -> None:
    """Require consent for a model whose architecture transformers does not include.

    Args:
        folder: The model's folder.
        config: Its ``config.json``.

    Raises:
        ModelError: The model has no code either, its code is in another repo, or consent was not
            given.
    """
    kind = str(config.get("model_type") or "")
    mapping = config.get("auto_map")
    if not isinstance(mapping, dict) or not mapping:
        raise unknown_architecture(folder, kind)
    foreign = [value for value in mapping.values() if "--" in str(value)]
    if foreign:
        raise ModelError(
            t(
                "{folder}: its code is in another repository ({name}).",
                folder=folder,
                name=foreign[0],
            ),
            fix=t("Such code is never run. Use a model that transformers supports."),
            path=folder,
        )
    if not code_allowed(folder):
        raise ModelError(
            t(
                "{folder}: transformers does not include the architecture {kind}; the "
                "model comes with its own code ({count} files), which is not run without "
                "your consent.",
                folder=folder,
                kind=kind or "?",
                count=len(files.python_files(folder)),
            ),
            fix=t(
                "Review the code, then allow exactly this version: tunery models "
                "allow-code {folder}",
                folder=quoted(folder),
            ),
            path=folder,
        )


def require_for_tokenizer(folder: Path) -> None:
    """Require consent for a tokenizer that needs the model's own code.

    Raises:
        ModelError: It needs code that is in another repo, missing, or without consent.
    """
    said = folder / "tokenizer_config.json"
    mapping = files.read_json(said).get("auto_map") if said.is_file() else None
    named = mapping.get("AutoTokenizer") if isinstance(mapping, dict) else mapping  # pyright: ignore
    if not named or code_allowed(folder):
        return
    count = len(files.python_files(folder))
    if "--" in str(named):  # pyright: ignore
        raise ModelError(
            t("{folder}: its code is in another repository ({name}).", folder=folder, name=named),
            fix=t("Such code is never run. Use a model that transformers supports."),
            path=folder,
        )
    fix = t("Review the code, then allow exactly this version: tunery models allow-code {folder}",
            folder=quoted(folder))  # fmt: skip
    if not count:
        fix = t("Its .py files are not in this folder: download the complete model again.")
    raise ModelError(
        t(
            "{folder}: the tokenizer needs the model's own code ({count} files), which is "
            "not run without your consent.",
            folder=folder,
            count=count,
        ),
        fix=fix,
        path=folder,
    )


def unknown_architecture(folder: Path, kind: str) -> ModelError:
    """The error for an architecture that the installed transformers does not include."""
    return ModelError(
        t("{folder}: config.json has no architecture (model_type).", folder=folder)
        if not kind
        else t(
            "{folder}: the installed transformers has no language model for the "
            "architecture {kind}.",
            folder=folder,
            kind=kind,
        ),
        fix=t(
            "A newer transformers may support it: pip install -U transformers. Or use "
            "another model."
        ),
        path=folder,
    )


def entries() -> list[dict[str, Any]]:
    """Every recorded consent."""
    try:
        value = json.loads(_file().read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return []
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def allow(folder: Path) -> Code:
    """Record consent for exactly the code in this folder."""
    code = code_of(folder)
    kept = [entry for entry in entries() if _identity(entry) != asdict(code)]
    _write([*kept, {**asdict(code), "given": time.strftime("%Y-%m-%dT%H:%M:%S%z")}])
    return code


def revoke(folder: Path) -> int:
    """Revoke every consent for the repo of this folder, for all commits.

    Returns:
        How many were revoked.
    """
    repo = code_of(folder).repo
    before = entries()
    kept = [entry for entry in before if entry.get("repo") != repo]
    _write(kept)
    return len(before) - len(kept)


def _identity(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry.get(key) for key in ("repo", "revision", "sha256")}


def _file() -> Path:
    return env.home() / FILE


def _write(value: list[dict[str, Any]]) -> None:
    _file().parent.mkdir(parents=True, exist_ok=True)
    atomic.write(_file(), json.dumps(value, indent=2) + "\n", private=True)
