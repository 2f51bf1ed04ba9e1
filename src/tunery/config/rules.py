"""Rules between settings: what excludes each other, what needs each other, what is unwise.

A rule about one setting alone is a bound on its field and lives there.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from tunery.config.adapter import FreezeConfig, FullConfig, LoraConfig
from tunery.config.config import Config
from tunery.config.explain import Problem, Where, fail, nowhere
from tunery.config.method import PretrainConfig
from tunery.i18n import t

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")
_CODE = re.compile(r"[A-Z]\d{3}")
HIGH_FULL_RATE = 1e-4  # above it full training of a trained model usually wrecks it
LOW_LORA_RATE = 1e-5  # below it LoRA's small matrices hardly move in a usual run


def check(config: Config) -> None:
    """Check that these settings can be run.

    Raises:
        ConfigError: Settings exclude each other, or one that a run needs is not set.
    """
    fail([*contradictions(config), *_missing(config)])


def contradictions(config: Config, where: Where = nowhere) -> Iterator[Problem]:
    """Find settings that exclude or need each other.

    Args:
        config: The settings.
        where: Gives the place of a setting, for the message.
    """
    for rule in (_data, _model, _method, _optim, _evaluate, _adapter):
        for path, message, fix in rule(config):
            yield Problem(path, message, fix, where(path))


def warnings(config: Config) -> Iterator[str]:
    """Find what is allowed and unwise, in sentences."""
    rate, adapter = config.optim.learning_rate, config.adapter
    if isinstance(adapter, FullConfig | FreezeConfig) and rate > HIGH_FULL_RATE:
        yield t(
            "optim.learning_rate {rate:g} is high for adapter.type={kind}; 1e-5 to 5e-5 is usual.",
            rate=rate,
            kind=adapter.type,
        )
    if isinstance(adapter, LoraConfig) and rate < LOW_LORA_RATE:
        yield t("optim.learning_rate {rate:g} is low for LoRA; 1e-4 to 1e-3 is usual.", rate=rate)
    if config.optim.schedule == "constant" and config.optim.min_learning_rate_ratio > 0:
        yield t("optim.min_learning_rate_ratio does nothing with optim.schedule=constant.")


Found = Iterator[tuple[str, str, str]]


def _missing(config: Config) -> Iterator[Problem]:
    if not config.data.train:
        yield Problem(
            "data.train",
            t("data.train is empty: there is nothing to train on."),
            t("Name a dataset or a file: --data.train identity (all: tunery data list)."),
        )


def _data(config: Config) -> Found:
    data = config.data
    try:
        codecs.lookup(data.encoding)
    except (LookupError, ValueError):
        yield (
            "data.encoding",
            t("data.encoding: no encoding is called {name!r}.", name=data.encoding),
            t("Usual ones: utf-8, gb18030, latin-1."),
        )
    for code in data.accept:
        if not _CODE.fullmatch(code):
            yield (
                "data.accept",
                t("data.accept: {code!r} is no code of the checker, such as W703.", code=code),
                t("The codes of your data: tunery data check NAME"),
            )
        elif not code.startswith("W"):
            yield (
                "data.accept",
                t("data.accept: {code} is no warning; only W codes can be accepted.", code=code),
                t("Mend the rows, or set data.on_bad_rows=quarantine."),
            )


def _model(config: Config) -> Found:
    if not config.model.name.strip():
        yield "model.name", t("model.name is empty."), t("Name a model, such as demo.")
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
    if not isinstance(config.method, PretrainConfig):
        return
    if config.model.template is not None:
        yield (
            "model.template",
            t(
                "model.template and method.type=pretrain exclude each other: "
                "plain text has no template."
            ),
            t("Take model.template out, or use method.type=sft."),
        )
    if config.data.loss_on == "last":
        yield (
            "data.loss_on",
            t(
                "data.loss_on=last and method.type=pretrain exclude each other: "
                "every token is trained."
            ),
            t("Take data.loss_on out, or use method.type=sft."),
        )
    if config.data.replay.num_prompts:
        yield (
            "data.replay.num_prompts",
            t("data.replay needs method.type=sft; this run uses method.type=pretrain."),
            t("Set data.replay.num_prompts to 0, or use method.type=sft."),
        )


def _optim(config: Config) -> Found:
    optim = config.optim
    if (
        optim.warmup_steps is not None
        and {"warmup_steps", "warmup_ratio"} <= optim.model_fields_set
    ):
        default = type(optim).model_fields["warmup_ratio"].default
        if optim.warmup_ratio != default:
            yield (
                "optim.warmup_steps",
                t("optim.warmup_steps and optim.warmup_ratio exclude each other; both are set."),
                t("Keep one of them."),
            )
    if not all(0 <= beta < 1 for beta in optim.betas):
        yield (
            "optim.betas",
            t(
                "optim.betas must be two numbers from 0 to below 1, got {found}.",
                found=list(optim.betas),
            ),
            t("The usual ones are [0.9, 0.999]."),
        )


def _evaluate(config: Config) -> Found:
    evaluate = config.evaluate
    if evaluate.split and evaluate.datasets:
        yield (
            "evaluate.split",
            t("evaluate.split and evaluate.datasets exclude each other; both are set."),
            t("Hold rows out with split, or name datasets."),
        )
    measured = evaluate.every != "never" and (evaluate.split or evaluate.datasets)
    if evaluate.patience is not None and not measured:
        yield (
            "evaluate.patience",
            t("evaluate.patience needs an evaluation to wait for; this run has none."),
            t("Set evaluate.split (such as 0.1) or evaluate.datasets, and evaluate.every."),
        )


def _adapter(config: Config) -> Found:
    adapter = config.adapter
    if isinstance(adapter, LoraConfig) and not adapter.target_modules:
        yield (
            "adapter.target_modules",
            t("adapter.target_modules is empty: no weight would be trained."),
            t("Use all-linear, or names such as [q_proj, v_proj]."),
        )
