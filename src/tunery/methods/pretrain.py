"""Continued pretraining: the likelihood of every token of plain text."""

from __future__ import annotations

from tunery.methods.sft import SFT


class Pretrain(SFT):
    """The same mathematics as SFT; the rows are texts whose loss mask is true everywhere."""
