"""Errors for names and folders that are not models, with similar names and advice."""

from __future__ import annotations

from pathlib import Path

from tunery import env
from tunery.commands import command
from tunery.errors import ModelError, did_you_mean
from tunery.i18n import joined, t
from tunery.models import files, hubcache
from tunery.models.demo import NAME as DEMO
from tunery.models.hubcache import HubName
from tunery.runs import folder as run_folder

LISTED = 8


def known_names() -> list[str]:
    """Names of all models on this machine: demo, runs, cached hub ids, imported models; sorted."""
    hub = [hubcache.repo_of(path) for path in hubcache.cached_repos()]
    imported = [path.parent.name for path in env.models_dir().glob(f"*/{files.CONFIG}")]
    return sorted({DEMO, *run_folder.names(), *hub, *imported})


def unknown(name: str) -> ModelError:
    """The error for a word that is neither a model, a run nor a hub id."""
    known = known_names()
    near = did_you_mean(name, known)
    listed = t("Available: {names}.", names=", ".join(known[:LISTED]))
    ways = t("A hub id has the form owner/name.")
    return ModelError(
        t("Model {name!r} not found: there is no model, run or folder with this name.", name=name),
        fix=joined(near, listed, ways),
        model=name,
    )


def not_downloaded(name: str, hub: HubName) -> ModelError:
    """The error for a hub id that is not in the cache."""
    near = did_you_mean(hub.repo, [hubcache.repo_of(path) for path in hubcache.cached_repos()])
    local = env.expanded(name)
    beside = (
        t("The folder {folder} exists but contains no model.", folder=local)
        if local.is_dir()
        else ""
    )
    fetch = t("Download it: {command}", command=command("models", "pull", hub))
    return ModelError(
        t("{name}: not downloaded (looked in {folder}).", name=hub, folder=hubcache.hub_dir()),
        fix=joined(near, beside, fetch),
        model=name,
        remedy="pull",
        target=str(hub),
    )


def no_such_path(name: str, path: Path) -> ModelError:
    """The error for a path that does not exist: names its nearest parent and what that contains."""
    parent = env.existing_parent(path)
    if not parent.is_dir():
        return ModelError(
            t("{path}: {parent} is a file, not a folder.", path=name, parent=parent),
            fix=t("Use the file itself, or a folder."),
            path=path,
        )
    try:
        every = sorted(p.name for p in parent.iterdir())
    except PermissionError:
        every = []
    entries = [name for name in every if not name.startswith(".")]
    wrong = path.relative_to(parent).parts[0]
    near = did_you_mean(wrong, entries)
    holds = (
        t("{parent} contains: {names}.", parent=parent, names=_some(entries))
        if entries
        else t("{parent} is empty.", parent=parent)
        if not every
        else t("Check the path.")
    )
    return ModelError(
        t("{path}: no such file or folder; {parent} exists.", path=name, parent=parent),
        fix=joined(near, holds),
        path=path,
    )


def has_weights(folder: Path) -> bool:
    """Whether any file in the folder looks like weights."""
    ends = (".safetensors", ".gguf", *files.PICKLES)
    try:
        return any(path.name.endswith(ends) for path in folder.iterdir())
    except OSError:
        return False


def not_a_model(path: Path, ggufs: list[Path]) -> ModelError:
    """The error for a folder without config.json.

    Args:
        path: The folder.
        ggufs: The .gguf files in it.
    """
    if ggufs:
        return ModelError(
            t("{path}: contains {count} GGUF files.", path=path, count=len(ggufs)),
            fix=t("Choose one of them: {names}", names=_some([str(file) for file in ggufs])),
            path=path,
        )
    inside = sorted(child.name for child in path.iterdir() if (child / files.CONFIG).is_file())
    repos = sorted(hubcache.repo_of(child) for child in path.glob("models--*--*"))
    if inside or repos:
        names = [str(path / name) for name in inside] + repos
        return ModelError(
            t("{path}: a folder of models, not a model.", path=path),
            fix=t("Choose one of them: {names}", names=_some(names)),
            path=path,
        )
    if runs := run_folder.names_in(path):
        return ModelError(
            t("{path}: this folder holds runs, not a model.", path=path),
            fix=t("Choose one of them: {names}", names=_some([str(path / run) for run in runs])),
            path=path,
        )
    if has_weights(path):  # an unsupported format explains more than a missing config
        files.check_weights(path)
    return ModelError(
        t("{folder}: {file} is missing.", folder=path, file=files.CONFIG),
        fix=t("Use the folder of a complete model, or download it again."),
        path=path,
    )


def foreign_file(path: Path) -> ModelError:
    """The error for a file that is not a .gguf file."""
    if path.name.endswith(files.PICKLES):
        return ModelError(
            t("{path}: a pickle file can run code when opened and is not loaded.", path=path),
            fix=t("Use a version of the model with safetensors or GGUF."),
            path=path,
        )
    if path.suffix == ".safetensors" or path.name == files.CONFIG:
        return ModelError(
            t("{path}: this is a single file of a model.", path=path),
            fix=t("Use its folder: {folder}", folder=path.parent),
            path=path,
        )
    return ModelError(
        t("{path}: not a model (expected a folder or a .gguf file).", path=path),
        fix=t("Use a hub id, a folder, a .gguf file, a run, or demo."),
        path=path,
    )


def _some(names: list[str]) -> str:
    more = f", ... ({len(names)})" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
