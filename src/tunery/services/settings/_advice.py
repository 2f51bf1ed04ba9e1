"""What a plan means for the user: remarks with settings that fix them, and reasons for defaults.

Rules of thumb about numbers that the planner found; nothing is recomputed here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from tunery.config.config import Config
from tunery.i18n import t
from tunery.services import datasets
from tunery.services.settings import _blanks, _forms, _recipes, _remedies

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


def other_data(preset: str | None, chosen: list[str], blanks: list[_blanks.Blank]) -> Remark | None:
    """A preset that brings its own data, while other data is chosen; None if that is not so.

    Args:
        preset: The preset of a draft.
        chosen: The datasets of the draft, as ``name`` or ``name*2``.
        blanks: Their placeholders.
    """
    own = _recipes.preset_datasets(preset) if preset else []
    named = {written: _blanks.without_weight(written) for written in chosen}
    others = [name for name in named.values() if datasets.origin_of(name) not in own]
    if not preset or not own or not others:
        return None
    method = datasets.method_for(others[0], "")
    suited = _recipes.preset_of(method, datasets.origin_of(others[0]))
    words = {
        "preset": _forms.label_of(f"preset.{preset}", ""),
        "own": ", ".join(own),
        "others": ", ".join(others),
        "suited": _forms.label_of(f"preset.{suited}", ""),
    }
    change: dict[str, Any] = {"action": "preset", "preset": suited, "set": {}, "unset": []}
    if not any(blank.dataset in others for blank in blanks):
        change["unset"] = ["data.variables"]
    if len(others) < len(named):
        change |= {"label": t("Only {others}, with the preset {suited}", **words)}
        said = t("The preset {preset} brings its own data: {own} is trained together with "
                 "{others}.", **words)  # fmt: skip
        kept = [written for written, name in named.items() if name in others]
        return Remark("info", said, [change | {"set": {"data.train": kept}}])
    change |= {"label": t("Use the preset {suited}", **words)}
    back = {"action": "set", "label": t("Train on {own}", **words), "set": {"data.train": own}}
    said = t(
        "The preset {preset} is made for {own}. Its other settings now apply to {others}: "
        "{settings}.",
        **words,
        settings=", ".join(_recipes.preset_labels(preset)),
    )
    return Remark("warn", said, [change, back])


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
