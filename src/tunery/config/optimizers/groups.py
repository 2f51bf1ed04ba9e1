"""Own learning rates and weight decays for parameters chosen by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pydantic import Field, model_validator

from tunery.config.base import Finding, Section
from tunery.i18n import t

_FIELD = re.compile(r"(?:^|,)\s*(match|learning_rate|weight_decay)\s*:\s*")


class GroupRule(Section):
    """Parameters by name, and what is different for them.

    It can be written as one line of text, ``match: REGEX, learning_rate: 1e-5``, as on the page.
    """

    match: str = Field(min_length=1)
    """Regular expression that is searched in the names of parameters."""

    learning_rate: float | None = Field(default=None, ge=0, le=1.0)
    """Peak learning rate of these parameters."""

    weight_decay: float | None = Field(default=None, ge=0, le=1.0)
    """Weight decay of these parameters, also if they are no matrices."""

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        _, *parts = _FIELD.split(data.strip().removeprefix("{").removesuffix("}"))
        names, values = parts[::2], [value.strip().strip("'\"") for value in parts[1::2]]
        return dict(zip(names, values, strict=True)) if parts else {"match": data}

    def problem(self) -> tuple[str, str]:
        """What is wrong with it and what to do; two empty texts if nothing is."""
        try:
            re.compile(self.match)
        except re.error as error:
            return (
                t("optim.groups: {match!r} is not a regular expression: {why}.",
                  match=self.match, why=error),
                t("Escape dots and brackets with a backslash, or correct the expression."),
            )  # fmt: skip
        if self.learning_rate is None and self.weight_decay is None:
            return (
                t("optim.groups: {match!r} sets neither learning_rate nor weight_decay.",
                  match=self.match),
                t("Write it as: match: {match}, learning_rate: 1e-5", match=self.match),
            )  # fmt: skip
        return "", ""


def check_groups(rules: list[GroupRule]) -> Iterator[Finding]:
    """Find rules that cannot be applied to any model."""
    for rule in rules:
        message, fix = rule.problem()
        if message:
            yield "optim.groups", message, fix
