"""Rules across settings: what excludes each other, what is required, what is unwise.

A rule about a single setting is a bound on its field, and is defined there.
"""

from __future__ import annotations

import codecs
import difflib
import re
from collections.abc import Iterator

from tunery.config.base import Finding
from tunery.config.config import Config
from tunery.config.explain import Problem, Where, fail, nowhere
from tunery.i18n import t

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
ROLES = ("system", "developer", "user", "human", "assistant", "gpt", "function_call", "tool",
         "function", "observation")  # fmt: skip
"""What ``data.role_map`` may map to; the reader of rows knows the same names."""
_CODE = re.compile(r"[A-Z]\d{3}")
LOW_RATE, HIGH_RATE = 0.1, 2.0
"""Rates below or above the usual range by more than these factors get a warning."""


def check(config: Config) -> None:
    """Check that a run is possible with these settings.

    Raises:
        ConfigError: Settings exclude each other, or a required one is not set.
    """
    fail([*contradictions(config), *_missing(config)])


def contradictions(config: Config, where: Where = nowhere) -> Iterator[Problem]:
    """Find settings that exclude or require each other.

    Args:
        config: The settings.
        where: Returns the location of a setting, for the message.
    """
    found = [finding for rule in (_data, _model, _method, _evaluate) for finding in rule(config)]
    found += [finding for kind in config.kinds() for finding in kind.excludes(config)]
    for path, message, fix in found:
        yield Problem(path, message, fix, where(path))


def warnings(config: Config) -> Iterator[str]:
    """Find what is allowed but unwise, as sentences."""
    low, high = usual_rates(config)
    rate = config.optim.learning_rate
    # A default that is lower than usual is nobody's choice.
    default = rate == type(config.optim).model_fields["learning_rate"].default
    if not low * (1.0 if default else LOW_RATE) <= rate <= high * HIGH_RATE:
        yield t(
            "optim.learning_rate {rate:g} is unusual for adapter.type={adapter} with "
            "method.type={method}; {low:g} to {high:g} is usual.",
            rate=rate,
            adapter=config.adapter.type,
            method=config.method.type,
            low=low,
            high=high,
        )
    for kind in config.kinds():
        yield from kind.advises(config)


def usual_rates(config: Config) -> tuple[float, float]:
    """The usual range of learning rates for these settings."""
    low, high = config.adapter.learning_rates
    return low * config.method.rate_scale, high * config.method.rate_scale


Found = Iterator[Finding]


def _missing(config: Config) -> Iterator[Problem]:
    if not config.data.train:
        yield Problem(
            "data.train",
            t("data.train is empty: there is nothing to train on."),
            t("Choose a dataset or a file: --data.train identity (list: tunery data list)."),
        )


def _data(config: Config) -> Found:
    data = config.data
    try:
        codecs.lookup(data.encoding)
    except (LookupError, ValueError):
        yield (
            "data.encoding",
            t("data.encoding: unknown encoding {name!r}.", name=data.encoding),
            t("Common encodings: utf-8, gb18030, big5, shift_jis, cp1252."),
        )
    for theirs, ours in data.role_map.items():
        if ours not in ROLES:
            near = difflib.get_close_matches(ours, ROLES, n=1)
            yield (
                f"data.role_map.{theirs}",
                t(
                    "data.role_map.{theirs}: {ours!r} is not a role; expected system, user, "
                    "assistant or tool.",
                    theirs=theirs,
                    ours=ours,
                ),
                t("Did you mean {name}?", name=near[0]) if near else "",
            )
    for code in data.accept:
        if not _CODE.fullmatch(code):
            yield (
                "data.accept",
                t("data.accept: {code!r} is not a check code, such as W703.", code=code),
                t("To see the codes for your data: tunery data check NAME"),
            )
        elif not code.startswith("W"):
            yield (
                "data.accept",
                t("data.accept: {code} is not a warning; only W codes can be accepted.", code=code),
                t("Fix the rows, or set data.on_bad_rows=quarantine."),
            )


def _model(config: Config) -> Found:
    if not config.model.name.strip():
        yield "model.name", t("model.name is empty."), t("Choose a model, such as demo.")
    if not _DEVICE.fullmatch(config.model.device):
        yield (
            "model.device",
            t(
                "model.device must be auto, cpu, mps, cuda or cuda:N, got {found!r}.",
                found=config.model.device,
            ),
            "",
        )


def _method(config: Config) -> Found:
    if config.data.replay.num_prompts and not config.method.replays:
        yield (
            "data.replay.num_prompts",
            t("data.replay cannot be combined with method.type={kind}.", kind=config.method.type),
            t("Set data.replay.num_prompts to 0, or choose another method.type."),
        )


def _evaluate(config: Config) -> Found:
    evaluate = config.evaluate
    if evaluate.split and evaluate.datasets:
        yield (
            "evaluate.split",
            t("evaluate.split and evaluate.datasets are mutually exclusive; both are set."),
            t("Hold out rows with evaluate.split, or set evaluate.datasets."),
        )
    measured = evaluate.every != "never" and (evaluate.split or evaluate.datasets)
    if evaluate.patience is not None and not measured:
        yield (
            "evaluate.patience",
            t("evaluate.patience needs evaluations; this run has none."),
            t("Set evaluate.split (such as 0.1) or evaluate.datasets, and evaluate.every."),
        )
