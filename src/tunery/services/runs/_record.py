"""How a run was made: settings, command, file, environment, and the first batch."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from tunery.config import settings
from tunery.config.config import Config
from tunery.config.load import dump, read_frozen, read_frozen_meta
from tunery.data.letters import grouped
from tunery.i18n import joined, t
from tunery.redaction import redact
from tunery.runs.folder import open_run
from tunery.services.runs._environment import Lines, in_words
from tunery.services.runs._log import log_lines
from tunery.services.runs._view import view
from tunery.services.settings import flat, label_of, words_of
from tunery.types import is_list, is_mapping
from tunery.workers.folder import read_json


@dataclass(frozen=True)
class SettingRow:
    """A setting of the run and its default, each as people write it; empty if there is none."""

    path: str
    label: str
    value: str
    default: str
    changed: bool
    help: str


def setting_rows(config: Config) -> list[SettingRow]:
    """Every setting of the run, with its default and its help."""
    values = flat(config)
    known = {(s.path, s.variant): s for s in settings.walk()}
    listed: list[SettingRow] = []
    for path, value in values.items():
        variant = getattr(getattr(config, path.partition(".")[0], None), "type", None)
        setting = known.get((path, variant)) or known.get((path, None))
        if setting is None:
            continue
        listed.append(
            SettingRow(
                path,
                label_of(setting.key, path),
                _shown(value),
                _shown(setting.default),
                changed=value != setting.default,
                help=setting.help(),
            )
        )
    return listed


def command(config: Config) -> str:
    """The command that starts the same run again, with every setting that is not a default."""
    parts = ["tunery", "train"]
    values = flat(config)
    for row in setting_rows(config):
        if row.changed and row.path != "preset":
            parts += [f"--{row.path}", _argument(row.path, values[row.path])]
    return shlex.join(parts)


def _argument(path: str, value: Any) -> str:
    """A value as the command line takes it: a list of words without brackets."""
    if value and is_list(value) and all(isinstance(each, str) for each in value):
        return words_of(path, value)[0].partition("=")[2]
    return settings.show(value)


def _shown(value: Any) -> str:
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, bool):
        return t("on") if value else t("off")
    if is_list(value):
        return joined(*(settings.show(each) for each in value), between=", ")
    if is_mapping(value):
        return "\n".join(f"{name}: {settings.show(each)}" for name, each in value.items())
    return settings.show(value)


@dataclass(frozen=True)
class Made:
    """How a run was made: settings, command, file, environment."""

    rows: list[SettingRow]
    command: str
    yaml: str
    environment: dict[str, Any]

    @property
    def recorded(self) -> list[tuple[str, Lines]]:
        """The environment in words."""
        return in_words(self.environment)


def made(name: str) -> Made:
    """Return how a run was made.

    Raises:
        TuneryError: There is no such run, or its config file is damaged.
    """
    file = open_run(name).config_file
    config = read_frozen(file)
    return Made(setting_rows(config), command(config), dump(config), read_frozen_meta(file))


def first_batch(name: str) -> dict[str, Any]:
    """One row of the first batch as it was trained; empty if the run has not got that far.

    ``pieces`` has its tokens as whole characters, as returned by ``data.letters.grouped``.

    Raises:
        RunError: There is no such run.
    """
    found = read_json(open_run(name).first_batch_file)
    ids: list[int] = found.get("input_ids") or []
    mask: list[int] = found.get("loss_mask") or []
    texts: list[str] = found.get("tokens") or [str(token) for token in ids]
    special: list[bool] = found.get("special") or [False] * len(ids)
    tokens = list(zip(ids, texts, mask, special, strict=False))
    return {**found, "pieces": grouped(tokens, start=0)} if found else {}


def failure_report(name: str) -> str:
    """A bug report for a failed run: what happened, the configuration, the last log lines."""
    folder = open_run(name)
    seen = view(name)
    lines, _, _ = log_lines(folder.worker_log, tail=30)
    told = seen.failure
    meta = read_frozen_meta(folder.config_file)
    parts = [
        f"run: {folder.name}",
        f"status: {seen.state.status} at step {seen.state.step} of {seen.state.num_steps or '?'}",
        f"reason: {told.sentence if told else seen.state.reason}",
        f"suggested fix: {told.fix if told else ''}",
        *(f"{key}: {value}" for key, value in meta.items()),
        "",
        "settings that differ from the defaults:",
        command(read_frozen(folder.config_file)),
        "",
        "last lines of worker.log:",
        *lines,
    ]
    return redact("\n".join(parts))
