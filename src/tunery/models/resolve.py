"""Resolve a model name to a folder, or raise an error that says what is missing.

Light and offline: only names, sizes and headers are read. ``ensure`` resolves a name too, but
downloads or imports what is missing.
"""

from __future__ import annotations

from pathlib import Path

from tunery import env
from tunery.commands import command, quoted
from tunery.errors import ModelError, RunError
from tunery.i18n import joined, t
from tunery.models import bases, facts, files, hubcache, not_found
from tunery.models.base_loops import RESOLVING, BaseLoop, refuse_loop
from tunery.models.demo import NAME as DEMO
from tunery.models.demo import demo_folder
from tunery.models.hubcache import HubName
from tunery.models.importing import imported_folder, read_record
from tunery.models.resolved import Kind, Resolved, whole, with_quantization
from tunery.runs import folder as run_folder
from tunery.runs import manifest

MAX_PART_BYTES = 255


def resolve(name: str) -> Resolved:
    """Resolve a name to a folder, using only what is on this machine.

    Raises:
        ModelError: The model is unknown, not downloaded or incomplete.
    """
    name = name.strip()
    if not name or "\0" in name:
        raise ModelError(
            t("model: the name is empty.")
            if not name
            else t("model: the name contains a NUL byte."),
            fix=t("Use a hub id, a folder, a .gguf file, a run, or demo."),
        )
    if any(len(part.encode()) > MAX_PART_BYTES for part in name.split("/")):
        raise ModelError(
            t("model: the name {name}... is too long for the file system.", name=name[:40]),
            fix=t("Use a hub id, a folder, a .gguf file, a run, or demo."),
        )
    if name == DEMO:
        return _demo()
    path = env.expanded(name)
    if is_path(name) or _is_model_like(path):
        return _path(name, path.absolute())
    run, _, step = name.partition("@")
    if run_folder.NAME.fullmatch(run) and run in run_folder.names():
        return _run(name, run_folder.RunFolder(env.runs_dir() / run), step)
    if (env.models_dir() / name / files.CONFIG).is_file() and "/" not in name:
        return whole(name, "gguf", env.models_dir() / name, why=t("an imported model"))
    hub = hubcache.parse(name)
    if hub is not None:
        return _elsewhere(name, hub) or _hub(name, hub)
    raise not_found.unknown(name)


def is_path(name: str) -> bool:
    """Whether a name can only be a path."""
    return name.startswith(("/", "./", "../", "~")) or name in (".", "..") or name.endswith(".gguf")


def _is_model_like(path: Path) -> bool:
    """Whether a relative path is a file, or a folder that looks like a model or a run."""
    try:
        if path.is_file():
            return True
        marks = (
            files.CONFIG,
            files.ADAPTER_CONFIG,
            "snapshots",
            "events.jsonl",
            manifest.FILE_NAME,
        )
        return path.is_dir() and (
            path.name == "snapshots"
            or any((path / mark).exists() for mark in marks)
            or not_found.has_weights(path)
        )
    except OSError:  # a name too long for the file system
        return False


def _demo() -> Resolved:
    folder = demo_folder()
    if read_record(folder) is None:
        raise ModelError(
            t("demo: the demo model is not downloaded yet."),
            fix=t("Download it (93 MB): tunery models pull demo"),
            remedy="pull",
            target=DEMO,
        )
    return whole(DEMO, "demo", folder, why=t("the built-in default model, SmolLM2-135M-Instruct"))


def _path(name: str, path: Path) -> Resolved:
    if path.is_file():
        return _file(name, path)
    if not path.is_dir():
        raise not_found.no_such_path(name, path)
    if hubcache.repo_of(path) and (path / "snapshots").is_dir():
        return _hub_folder(name, path)
    if path.name == "snapshots" and hubcache.repo_of(path.parent):
        return _hub_folder(name, path.parent)
    if path.parent.name == "snapshots" and hubcache.repo_of(path.parent.parent):
        repo = hubcache.repo_of(path.parent.parent)
        why = t("a snapshot of {repo} in the hub cache", repo=repo)
        return whole(name, "snapshot", path, why=why, revision=path.name, again=_again(repo))
    if (path / "events.jsonl").is_file() or (path / "control").is_dir():
        return _run(name, run_folder.RunFolder(path), "")
    if (path / manifest.FILE_NAME).is_file() or manifest.step_of(path) is not None:
        return _checkpoint(name, path)
    if (path / files.ADAPTER_CONFIG).is_file():
        return _adapter(name, "adapter", path, why=t("an adapter folder"))
    record = read_record(path)
    kind: Kind = "gguf" if record else "folder"
    if (path / files.CONFIG).is_file():
        return whole(name, kind, path, why=t("a model folder"))
    return _odd_folder(name, path)


def _odd_folder(name: str, path: Path) -> Resolved:
    """Resolve a folder without config.json: use its only .gguf file, else raise the error."""
    ggufs = sorted(path.glob("*.gguf"))
    if len(ggufs) == 1:
        return _file(name, ggufs[0])
    raise not_found.not_a_model(path, ggufs)


def _file(name: str, path: Path) -> Resolved:
    if files.is_lfs_pointer(path):
        raise files.lfs_pointer(path.parent, [path.name])
    if path.suffix != ".gguf":
        raise not_found.foreign_file(path)
    folder = imported_folder(path)
    if folder is None:
        from tunery.models.gguf import read_header
        from tunery.models.importing import check_architecture

        header = read_header(path)
        check_architecture(header)
        raise ModelError(
            t(
                "{path}: a GGUF file ({architecture}, {type}) that is not imported yet.",
                path=path,
                architecture=header.architecture,
                type=header.quantization,
            ),
            fix=t("Import it once: tunery models pull {path}", path=quoted(path)),
            remedy="pull",
            target=str(path),
        )
    return whole(name, "gguf", folder, why=t("imported from {path}", path=path))


def _elsewhere(name: str, hub: HubName) -> Resolved | None:
    """A model downloaded from ModelScope; None if there is none or the hub cache has this id."""
    folder = env.models_dir() / f"modelscope--{hub.repo.replace('/', '--')}"
    record = read_record(folder)
    if record is None or hubcache.repo_dir(hub.repo).is_dir():
        return None
    revision = str(record["source"]["revision"])
    if hub.revision and hub.revision != revision:
        return None
    why = t("downloaded from ModelScope, revision {revision}", revision=revision)
    return whole(name, "hub", folder, why=why, revision=revision)


def _hub(name: str, hub: HubName) -> Resolved:
    folder = hubcache.repo_dir(hub.repo)
    if not folder.is_dir():
        raise not_found.not_downloaded(name, hub)
    commit = hubcache.commit_of(folder, hub.revision or "main")
    if commit is None and not hub.revision:
        return _hub_folder(name, folder)
    if commit is None or not (folder / "snapshots" / commit).is_dir():
        raise ModelError(
            t(
                "{repo}: revision {revision} is not downloaded.",
                repo=hub.repo,
                revision=hub.revision or "main",
            ),
            fix=t("Download it: {command}", command=_again(str(hub))),
            remedy="pull",
            target=str(hub),
        )
    why = t(
        "the hub cache, {revision} = {commit}", revision=hub.revision or "main", commit=commit[:8]
    )
    path = folder / "snapshots" / commit
    return _fetchable(name, "hub", path, hub, why)


def _hub_folder(name: str, folder: Path) -> Resolved:
    """Choose a snapshot of a repo folder: refs/main, else the newest complete one."""
    repo = hubcache.repo_of(folder)
    commit = hubcache.commit_of(folder)
    snapshots = hubcache.snapshots(folder)
    if commit and (folder / "snapshots" / commit).is_dir():
        why = t("snapshot {commit}, which main points to", commit=commit[:8])
        return _fetchable(name, "hub_cache", folder / "snapshots" / commit, HubName(repo), why)
    if not snapshots:
        raise ModelError(
            t("{folder}: a hub cache folder without a snapshot.", folder=folder),
            fix=t("Download it: {command}", command=_again(repo)),
            remedy="pull",
            target=repo,
        )
    problem: ModelError | None = None
    for snapshot in snapshots:
        why = t(
            "snapshot {commit}, the newest complete one of {count} (main points to none)",
            commit=snapshot.name[:8],
            count=len(snapshots),
        )
        try:
            return _fetchable(name, "hub_cache", snapshot, HubName(repo, snapshot.name), why)
        except ModelError as error:
            problem = problem or error
    assert problem is not None
    raise problem


def _fetchable(name: str, kind: Kind, path: Path, hub: HubName, why: str) -> Resolved:
    """Resolve a snapshot of a model or an adapter; an error for missing files offers a download."""
    try:
        if (path / files.ADAPTER_CONFIG).is_file() and not (path / files.CONFIG).is_file():
            return _adapter(name, kind, path, why=why, revision=path.name)
        return whole(name, kind, path, why=why, revision=path.name, again=_again(str(hub)))
    except ModelError as error:
        partial = "missing" in error.fields or not (path / files.CONFIG).is_file()
        if partial and "remedy" not in error.fields:
            error.fields |= {"remedy": "pull", "target": str(hub)}
            if _again(str(hub)) not in error.fix:
                error.fix = t("Download it: {command}", command=_again(str(hub)))
        raise


def _run(name: str, run: run_folder.RunFolder, step: str) -> Resolved:
    if step:
        return _checkpoint(name, _named_checkpoint(run, step))
    for path in (run.adapter_dir, run.model_dir):
        if (path / files.ADAPTER_CONFIG).is_file() or (path / files.CONFIG).is_file():
            why = t("the final weights of run {run}", run=run.name)
            return _trained(name, "run", path, why, run)
    newest, _ = manifest.newest_valid(run.checkpoints_dir)
    if newest is None:
        raise ModelError(
            t(
                "Run {run} has no weights yet, neither final ones nor a checkpoint.",
                run=run.name,
            ),
            fix=t("See its progress: tunery runs show {run}", run=quoted(run.name)),
            run=run.name,
        )
    why = t(
        "run {run} has no final weights; its newest checkpoint {step}",
        run=run.name,
        step=newest.name,
    )
    return _trained(name, "run", _inside(newest), why, run)


def _named_checkpoint(run: run_folder.RunFolder, step: str) -> Path:
    number = step.removeprefix("step-")
    known = [path.name for path in manifest.list_checkpoints(run.checkpoints_dir)]
    path = run.checkpoint_dir(int(number)) if number.isdecimal() else run.checkpoints_dir / "?"
    if path.name not in known:
        raise ModelError(
            t("Run {run} has no checkpoint {step}.", run=run.name, step=step),
            fix=t("Available checkpoints: {names}.", names=", ".join(known))
            if known
            else t("It has no checkpoint yet."),
            run=run.name,
        )
    return path


def _checkpoint(name: str, path: Path) -> Resolved:
    try:
        manifest.read_manifest(path)
    except RunError as error:
        raise ModelError(error.message, fix=error.fix, path=path) from error
    run = run_folder.RunFolder(path.parent.parent)
    why = t("checkpoint {step} of run {run}", step=path.name, run=run.name)
    return _trained(name, "checkpoint", _inside(path), why, run)


def _inside(checkpoint: Path) -> Path:
    adapter = checkpoint / "adapter"
    return adapter if adapter.is_dir() else checkpoint / "model"


def _trained(name: str, kind: Kind, path: Path, why: str, run: run_folder.RunFolder) -> Resolved:
    if (path / files.ADAPTER_CONFIG).is_file():
        model = str(run.card().get("model", ""))
        found = _adapter(name, kind, path, why=why, fallback=model, owner=run.path)
        return with_quantization(found, run.card().get("quantization"))
    return whole(name, kind, path, why=why)


def _adapter(
    name: str,
    kind: Kind,
    path: Path,
    *,
    why: str,
    revision: str = "",
    fallback: str = "",
    owner: Path | None = None,
) -> Resolved:
    """Resolve an adapter folder and its base model, set by the user or named in its config."""
    refuse_loop(path)
    weights = files.check_adapter(path)
    config = files.read_json(path / files.ADAPTER_CONFIG)
    chosen = bases.named(owner or path)
    named = chosen or str(config.get("base_model_name_or_path") or fallback)
    if not named:
        raise ModelError(
            t("{path}: adapter_config.json does not state its base model.", path=path),
            fix=t("Set it: tunery models base {name} MODEL", name=quoted(name)),
            path=path,
        )
    revision_of_base = "" if chosen else str(config.get("revision") or "")
    base = _base(name, path, named, revision_of_base, "" if chosen else fallback)
    bases.check(owner or path, name, base.path)
    entries = files.read_safetensors_header(weights)
    return Resolved(
        name=name,
        kind=kind,
        path=path,
        base=base,
        revision=revision,
        why=joined(why, t("its base is {base}", base=base.name), between="; "),
        architecture=base.architecture,
        num_parameters=sum(entry.num_elements for entry in entries.values()),
        size_bytes=weights.stat().st_size,
        context_length=base.context_length,
        chat_template=facts.tokenizer_facts(path).template != "" or base.chat_template,
        weights=f"{config.get('peft_type', 'PEFT')} safetensors",
    )


def _base(name: str, adapter: Path, named: str, revision: str, fallback: str) -> Resolved:
    hub = hubcache.parse(named)
    wanted = f"{named}@{revision}" if hub and revision and not hub.revision else named
    before = RESOLVING.set((*RESOLVING.get(), adapter.resolve()))
    try:
        base = resolve(wanted)
    except BaseLoop as error:
        if len(RESOLVING.get()) > 1:
            raise
        raise error.as_error(name, adapter) from None
    except ModelError as error:
        if fallback and fallback != named:
            return _base(name, adapter, fallback, "", "")
        fields = {key: error.fields[key] for key in ("remedy", "target") if key in error.fields}
        raise ModelError(
            t(
                "{path}: it was trained on {base}, which cannot be used here: {why}",
                path=adapter,
                base=named,
                why=error.message,
            ),
            fix=error.fix
            if fields
            else t(
                "If the base model is elsewhere, set its location: tunery models base {name} MODEL",
                name=quoted(name),
            ),
            code=bases.MISSING,
            path=adapter,
            owner=name,
            **fields,
        ) from error
    finally:
        RESOLVING.reset(before)
    if base.base is not None:
        raise ModelError(
            t("{path}: its base {base} is itself an adapter.", path=adapter, base=named),
            fix=t(
                "Merge that adapter first: tunery export {base} --to merged FOLDER",
                base=quoted(named),
            ),
            path=adapter,
        )
    return base


def _again(name: str) -> str:
    return command("models", "pull", name)
