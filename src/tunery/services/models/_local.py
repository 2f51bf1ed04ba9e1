"""Models of this machine: list, describe, download, remove, and allow to run their code.

This module decides what may be deleted: only what Tunery or the hub cache keeps, never a folder
that the user made.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunery import env
from tunery.commands import quoted
from tunery.config.adapters import ADAPTERS
from tunery.config.base import tag
from tunery.config.config import Config
from tunery.errors import ModelError, TuneryError
from tunery.i18n import t
from tunery.models import consent, demo, facts, files, hubcache, importing, modelscope
from tunery.models.download import Policy
from tunery.models.ensure import pull as pull_model
from tunery.models.memory import estimate
from tunery.models.progress import Progress
from tunery.models.pull import Source
from tunery.models.resolve import Resolved, resolve
from tunery.runs import store
from tunery.runs.folder import RunFolder, names
from tunery.shape import ModelShape

MEMORY_TOKENS = (512, 2048, 8192)
SHOWN_CONFIG = (
    "model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "head_dim", "intermediate_size", "vocab_size", "tie_word_embeddings", "num_experts",
    "sliding_window", "rope_theta",
)  # fmt: skip
SAMPLE = ("What is the capital of France?", "Paris.", "And of Italy?")


@dataclass(frozen=True, slots=True)
class Removable:
    """What ``remove`` would delete.

    Args:
        name: What the user wrote.
        folders: Folders to delete.
        commit: One snapshot of a hub repo to delete; empty for whole folders.
        size_bytes: How many bytes that frees.
        runs: Runs whose base model it is.
    """

    name: str
    folders: tuple[Path, ...]
    commit: str
    size_bytes: int
    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CodeToAllow:
    """The code that a model would run, for the user to read first."""

    folder: Path
    code: consent.Code
    files: tuple[Path, ...]


def listing() -> list[dict[str, Any]]:
    """All named models on this machine, and what is wrong with the broken ones."""
    found = [entry(demo.NAME, "demo", demo.demo_folder())]
    for folder in sorted(env.models_dir().glob("[!.]*")):
        record = importing.read_record(folder)
        if record is None or folder.name == demo.NAME:
            continue
        if record["source"]["kind"] == "modelscope":
            found.append(entry(str(record["source"]["repo"]), "modelscope", folder))
        else:
            found.append(entry(folder.name, "gguf", folder))
    for folder in hubcache.cached_repos():
        found.append(entry(hubcache.repo_of(folder), "hub", folder))
    return found


def describe(name: str) -> dict[str, Any]:
    """Everything about one model: what ``resolve`` returns, its config, template, memory and runs.

    Raises:
        ModelError: It is not on this machine, or not complete.
    """
    found = resolve(name)
    folder = found.model_folder
    config = files.read_json(folder / files.CONFIG)
    inner = config.get("text_config") or config
    tokenizer = facts.tokenizer_facts(folder)
    shown = {key: inner[key] for key in SHOWN_CONFIG if inner.get(key) is not None}
    return {
        **found.as_dict(),
        "config": shown,
        "special_tokens": tokenizer.special,
        "template": tokenizer.template or None,
        "template_preview": _template_preview(folder) if tokenizer.template else None,
        "memory": _memory(config, found),
        "runs": sorted(_runs_of(name, found)),
        "code_files": [file.name for file in files.python_files(folder)],
    }


def pull(
    name: str,
    *,
    revision: str | None,
    source: Source,
    progress: Progress | None,
    policy: Policy | None = None,
) -> Resolved:
    """Download or import a model; ``policy`` sets the retry behaviour.

    Raises:
        ModelError: It cannot be downloaded; includes what to do.
    """
    return pull_model(name, revision=revision, source=source, progress=progress, policy=policy)


def to_remove(name: str) -> Removable:
    """Find what removing a model would delete.

    Raises:
        ModelError: No such model, it is not Tunery's to delete, or a run is using it.
    """
    name = name.strip()
    hub = hubcache.parse(name)
    local = env.models_dir() / name
    commit = ""
    if "/" not in name and importing.read_record(local) is not None:
        folders = [local]
    elif hub and hubcache.repo_dir(hub.repo).is_dir():
        folders = [hubcache.repo_dir(hub.repo)]
        if hub.revision:
            commit = hubcache.commit_of(folders[0], hub.revision) or ""
            if not commit:
                raise _not_there(name)
    elif hub and not hub.revision and modelscope.folder_of(hub.repo).is_dir():
        folders = [modelscope.folder_of(hub.repo)]
    elif name == demo.NAME:
        raise _not_there(name)
    else:
        raise _not_ours(name)
    runs = sorted(_runs_of(name, None))
    live = [run.name for run in store.list_runs() if run.is_live and run.name in runs]
    if live:
        raise ModelError(
            t("{name}: run {run} is using it.", name=name, run=live[0]),
            fix=t("Stop it first: tunery runs stop {run}", run=quoted(live[0])),
            model=name,
        )
    size = _snapshot_bytes(folders[0], commit) if commit else sum(map(_size, folders))
    return Removable(name, tuple(folders), commit, size, tuple(runs))


def remove(what: Removable) -> None:
    """Delete what ``to_remove`` found."""
    if what.commit:
        from huggingface_hub import scan_cache_dir

        scan_cache_dir(hubcache.hub_dir()).delete_revisions(what.commit).execute()
        return
    for folder in what.folders:
        if folder.is_symlink():
            folder.unlink()
            continue
        trash = folder.with_name(f".trash-{folder.name}-{os.getpid()}")
        folder.rename(trash)  # from here on no reader recognizes it as a model
        shutil.rmtree(trash)
    if what.name == demo.NAME:
        shutil.rmtree(env.models_dir() / ".parts-demo", ignore_errors=True)


def code_to_allow(name: str) -> CodeToAllow | None:
    """Find the code that a model would run; None if it needs no code or has consent.

    Raises:
        ModelError: There is no such model, or nothing that consent could change.
    """
    try:
        resolve(name)
    except ModelError as error:
        folder = error.fields.get("path")
        if not isinstance(folder, Path) or not folder.is_dir() or not files.python_files(folder):
            raise
        code = consent.code_of(folder)
        return CodeToAllow(folder, code, tuple(files.python_files(folder)))
    return None


def allow_code(what: CodeToAllow) -> consent.Code:
    """Record consent for exactly this code.

    Raises:
        ModelError: A file has changed since it was shown.
    """
    if consent.code_of(what.folder) != what.code:
        raise ModelError(
            t("{folder}: the code changed while it was being shown.", folder=what.folder),
            fix=t("Review it again."),
        )
    return consent.allow(what.folder)


def revoke_code(name: str) -> int:
    """Revoke every consent for a model and return how many there were.

    Raises:
        ModelError: There is no such model.
    """
    try:
        folder = resolve(name).model_folder
    except ModelError as error:
        path = error.fields.get("path")
        if not isinstance(path, Path):
            raise
        folder = path
    return consent.revoke(folder)


def entry(name: str, kind: str, folder: Path) -> dict[str, Any]:
    """The list entry of one model, including what is wrong with it."""
    found: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "path": str(folder),
        "here": folder.is_dir(),
        "ok": False,
        "problem": None,
        "size_bytes": _size(folder) if folder.is_dir() else 0,
        "architecture": None,
        "num_parameters": None,
        "context_length": None,
        "revision": None,
    }
    try:
        described = resolve(name).as_dict()
    except ModelError as error:
        return {**found, "problem": error.message}
    kept = ("architecture", "num_parameters", "context_length", "revision", "path")
    return {**found, "ok": True, **{key: described[key] for key in kept}}


def _template_preview(folder: Path) -> str | None:
    """A short sample chat in the model's template; None if the template cannot be rendered."""
    from tunery.chat.template import ChatTemplate
    from tunery.models.tokenizer import load_light
    from tunery.types import Message

    roles = ("user", "assistant", "user")
    messages = [Message(role, text) for role, text in zip(roles, SAMPLE, strict=True)]
    try:
        return ChatTemplate.load(load_light(folder)).prompt(messages).text
    except TuneryError:
        return None


def _memory(config: dict[str, Any], found: Resolved) -> list[dict[str, Any]]:
    """Bytes that a training step needs, by adapter and tokens per micro batch, in bf16."""
    parameters = (found.base or found).num_parameters
    shape = ModelShape.from_config_json(config, total_parameters=parameters)
    return [
        {
            "adapter": tag(kind),
            "tokens": tokens,
            "bytes": estimate(
                shape, Config(adapter=kind()), dtype="bf16", micro_batch_tokens=tokens
            ).total,
        }
        for kind in ADAPTERS
        for tokens in MEMORY_TOKENS
        if tokens <= (found.context_length or tokens)
    ]


def _runs_of(name: str, found: Resolved | None) -> list[str]:
    """Runs whose base model is this one."""
    wanted = {name, name.partition("@")[0]} | ({str(found.path)} if found else set[str]())
    runs = [RunFolder(env.runs_dir() / run) for run in names()]
    return [run.name for run in runs if run.card().get("model") in wanted]


def _size(folder: Path) -> int:
    return hubcache.size_bytes(folder.resolve())


def _snapshot_bytes(folder: Path, commit: str) -> int:
    """Bytes used only by this snapshot of a repo."""
    shared = {
        path.resolve()
        for snapshot in hubcache.snapshots(folder)
        if snapshot.name != commit
        for path in snapshot.rglob("*")
    }
    own = {path.resolve() for path in (folder / "snapshots" / commit).rglob("*")} - shared
    return sum(path.stat().st_size for path in own if path.is_file())


def _not_there(name: str) -> ModelError:
    return ModelError(
        t("{name} is not downloaded, so there is nothing to remove.", name=name),
        fix=t("See what is available: tunery models list"),
        model=name,
    )


def _not_ours(name: str) -> ModelError:
    """Why a name cannot be removed: it is a run, a folder of the user's, or nothing at all."""
    if name in names():
        return ModelError(
            t("{name}: this is a run, not a model.", name=name),
            fix=t("Delete it with: tunery runs delete {name}", name=quoted(name)),
            model=name,
        )
    path = env.expanded(name)
    if path.exists():
        return ModelError(
            t("{path}: not created by Tunery, so it is not deleted.", path=name),
            fix=t("Delete it yourself if you are sure. To remove a model, give its name."),
            model=name,
        )
    if hubcache.parse(name):
        return _not_there(name)
    resolve(name)
    return _not_there(name)


def name_base(name: str, model: str) -> dict[str, Any]:
    """Record the current location of the base model of a run or an adapter.

    Raises:
        ModelError: There is no such adapter, or the model is not valid.
    """
    from tunery.models.rebase import name_base as record

    found = record(name.partition("@")[0], model.strip())
    return {"name": name, "base": str(found.base.path) if found.base else str(found.path)}
