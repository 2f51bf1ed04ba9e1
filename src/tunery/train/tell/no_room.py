"""Messages for a training step that does not fit into memory."""

from __future__ import annotations

from typing import Any

from tunery.config.config import Config
from tunery.errors import RunFailed
from tunery.i18n import Sentence, joined, t


def row_too_large(
    config: Config, model: Any, *, row: int, step: int, tokens: int, place: str
) -> RunFailed:
    """The error for a single row that does not fit by itself.

    Args:
        config: The run's settings.
        model: The model being trained.
        row: Index of the row.
        step: The step that contains it.
        tokens: Its length.
        place: Its source, in words.
    """
    message = t(
        "Out of memory: a single row does not fit. The longest row of step {step} has "
        "{tokens} tokens ({place}).",
        step=step,
        tokens=tokens,
        place=place,
    )
    return RunFailed(message, fix=_smaller(config, model, tokens), row=row, step=step)


def halved(step: int, old: int, new: int) -> str:
    """The warning that the micro batch is smaller from now on."""
    return t(
        "Out of memory at step {step} with {old} tokens per micro batch. Continuing with "
        "at most {new}; batch size and gradient stay the same.",
        step=step,
        old=old,
        new=new,
    )


def _smaller(config: Config, model: Any, tokens: int) -> Sentence:
    """Advice on reducing the memory of a row, as far as this model and these settings allow."""
    told: list[str] = []
    can_recompute = bool(getattr(model, "supports_gradient_checkpointing", False))
    if can_recompute and not config.train.gradient_checkpointing:
        told.append(t("Set train.gradient_checkpointing to true."))
    if getattr(config.adapter, "rank", 1) > 1:
        told.append(t("Lower adapter.rank."))
    told.append(t("Lower data.max_length below {tokens}, or use a smaller model.", tokens=tokens))
    return joined(*told)
