"""Divide the trained parameters of a model into groups with their own rates."""

from __future__ import annotations

import re
from collections.abc import Callable

from torch import nn

from tunery.config.optimizers import OptimizerKind
from tunery.errors import ConfigError
from tunery.i18n import t
from tunery.optimizers.base import ParamGroup

Rates = tuple[float, float | None]


def param_groups(
    config: OptimizerKind, model: nn.Module, rate_scale: Callable[[str], float] = lambda _: 1.0
) -> list[ParamGroup]:
    """Divide what is trained by ``optim.groups`` and ``optim.embedding_learning_rate``.

    Args:
        config: The rules; a rule goes before the rate of the embeddings.
        model: The model with its adapter; parameters that need a gradient are trained.
        rate_scale: The adapter's factor on the learning rate of a parameter, by its name; a rate
            that the settings name takes precedence.

    Returns:
        One group for each pair of rates, in the order of their first parameters.

    Raises:
        ConfigError: A rule matches no trained parameter, or no embedding is trained.
    """
    named = [(name, param) for name, param in model.named_parameters() if param.requires_grad]
    ends = _ends(model) if config.embedding_learning_rate is not None else set[int]()
    matched: set[int] = set()
    groups: dict[Rates, list[tuple[str, nn.Parameter]]] = {}
    for name, param in named:
        rate, decay = None, None
        if id(param) in ends:
            rate = config.embedding_learning_rate
        found = [at for at, rule in enumerate(config.groups) if re.search(rule.match, name)]
        matched.update(found)
        if found:
            rule = config.groups[found[0]]
            rate, decay = rule.learning_rate, rule.weight_decay
        scale = rate_scale(name) if rate is None else rate / config.learning_rate
        groups.setdefault((scale, decay), []).append((name, param))
    for at, rule in enumerate(config.groups):
        if at not in matched:
            raise ConfigError(
                t(
                    "optim.groups: {match!r} matches none of the {count} trained parameters, such "
                    "as {name}.",
                    match=rule.match,
                    count=len(named),
                    name=named[0][0] if named else "-",
                ),
                fix=t("Correct the expression, or remove the rule."),
            )
    if config.embedding_learning_rate is not None and not any(id(p) in ends for _, p in named):
        raise ConfigError(
            t("optim.embedding_learning_rate is set, but this run does not train embeddings."),
            fix=t("Remove it, or train whole weights."),
        )
    return [ParamGroup(members, scale, decay) for (scale, decay), members in groups.items()]


def _ends(model: nn.Module) -> set[int]:
    """The parameters of the embeddings and the output layer, by ``id``."""
    whole: nn.Module = model
    found: set[int] = set()
    for name in ("get_input_embeddings", "get_output_embeddings"):
        part = getattr(whole, name, lambda: None)()
        if part is not None:
            found.update(id(param) for param in part.parameters())
    return found
