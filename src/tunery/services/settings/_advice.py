"""What a plan means for the user: remarks with settings that fix them, and reasons for defaults.

Rules of thumb about numbers that the planner found; nothing is recomputed here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from tunery.config.config import Config
from tunery.i18n import t
from tunery.services.settings import _remedies

FEW_UPDATES = 30
"""Below this a small model hardly changes; tested with the identity data on the demo model."""
ENOUGH_UPDATES = 60
ROWS_FOR_VALIDATION = 100


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence next to the plan.

    Args:
        kind: ``bad`` (it will not work), ``warn`` or ``info``.
        text: The sentence.
        remedies: Buttons that fix it.
    """

    kind: str
    text: str
    remedies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the REST API."""
        return asdict(self)


def remarks(config: Config, plan: dict[str, Any]) -> list[Remark]:
    """Return what the user should know before the start."""
    found: list[Remark] = []
    if plan["advice"]:
        buttons = [_remedies.setting(plan["remedy"])] if plan["remedy"] else []
        found.append(Remark("bad" if not plan["fits"] else "info", plan["advice"], buttons))
    updates, an_epoch = plan["steps"]["all"], max(1, plan["steps"]["epoch"])
    rows = plan["rows"].get("train", 0)
    if updates < FEW_UPDATES and config.train.max_steps is None:
        epochs = max(math.ceil(ENOUGH_UPDATES / an_epoch), math.ceil(config.train.num_epochs) + 1)
        found.append(
            Remark(
                "warn",
                t(
                    "Only {updates} steps. {rows} rows may not be enough to change the "
                    "model; try more epochs or a smaller batch.",
                    updates=updates,
                    rows=rows,
                ),
                [_remedies.setting({"train.num_epochs": min(epochs, 30)})],
            )
        )
    measured = config.evaluate.split or config.evaluate.datasets
    if not measured and rows >= ROWS_FOR_VALIDATION:
        found.append(
            Remark(
                "info",
                t("No rows are held out, so overfitting will not be visible."),
                [_remedies.setting({"evaluate.split": 0.1})],
            )
        )
    return [*found, *(Remark("warn", text) for text in plan.get("warnings", ()))]


def hints(config: Config, plan: dict[str, Any]) -> dict[str, str]:
    """Explain values in one line each, by the path of the setting."""
    steps, device = plan["steps"], plan["device"]
    found = {
        "data.max_length": t("The longest row has {n} tokens.", n=plan["tokens"]["longest"]),
        "train.batch_size": t("{n} steps per epoch.", n=steps["epoch"]),
    }
    if config.train.micro_batch_tokens is None:
        found["train.micro_batch_tokens"] = t(
            "Derived from free memory: {n}.", n=steps["micro_batch_tokens"]
        )
    if config.model.dtype == "auto":
        found["model.dtype"] = t(
            "auto selects {dtype} on {device}.", dtype=device["dtype"], device=device["name"]
        )
    if config.model.device == "auto":
        found["model.device"] = t("auto selects {device}.", device=device["name"])
    return found
