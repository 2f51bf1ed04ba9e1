"""Scores answers with a reward model: the one loader for the chat and for rewards of training.

An answer is rendered as in training: the whole conversation by the chat template, its score read
at the last token that is not the padding token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tunery.chat.template import ChatTemplate
from tunery.config.config import Config
from tunery.data.collate import collate_groups
from tunery.data.groups import TokenRow
from tunery.data.kinds.answers import single
from tunery.data.packing import pack
from tunery.data.rows import Rows
from tunery.errors import DataError
from tunery.i18n import t
from tunery.models import heads
from tunery.models.attach import load_adapter
from tunery.models.computes import load_computing
from tunery.models.facts import UNBOUNDED, context_length
from tunery.models.load import load_tokenizer, pick_device
from tunery.models.resolved import Resolved
from tunery.policy.policy import Policy
from tunery.policy.shortcuts import prepare
from tunery.types import Conversation

BATCH_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one answer.

    Args:
        value: Higher is better; only differences between answers to one prompt carry meaning.
        num_tokens: Tokens of the whole conversation.
    """

    value: float
    num_tokens: int


class Scorer:
    """A loaded reward model.

    Args:
        policy: The model with its scalar head, in eval mode.
        template: Renders conversations.
        config: The settings of the run that trained it; None for another reward model.
        limit: Maximum tokens of a conversation.
    """

    def __init__(
        self, policy: Policy, template: ChatTemplate, config: Config | None, limit: int
    ) -> None:
        self.policy, self.template = policy, template
        self._config, self._limit = config, limit

    @classmethod
    def load(
        cls,
        found: Resolved,
        config: Config | None = None,
        *,
        template: str | None = None,
        dtype: str = "auto",
        device: str = "auto",
    ) -> Scorer:
        """Load a reward model, or a base model with the adapter of one.

        Args:
            found: What ``resolve`` returned for it.
            config: The settings of its run, if a run trained it.
            template: A chat template instead of that of the run or the tokenizer.
            dtype: As ``model.dtype``.
            device: As ``model.device``.

        Raises:
            ModelError: It cannot be loaded, or is no reward model.
        """
        heads.require_scores(found)
        place = pick_device(device)
        if config is not None and dtype == "auto":
            dtype = config.model.dtype
        model: Any
        model, _, _ = load_computing(
            found.model_folder, dtype=dtype, device=place, produces="scores"
        )
        if found.base is not None:
            model = load_adapter(model, found.path).eval()
        tokenizer = load_tokenizer(_tokenizer_folder(found))
        heads.take_pad(model, tokenizer)
        prepare(model)
        own = template or (config.model.template if config else None)
        return cls(
            Policy(model),
            ChatTemplate.load(tokenizer, own, model=found.model_folder),
            config,
            context_length(model.config.to_dict()) or UNBOUNDED,
        )

    def score(self, conversations: Sequence[Conversation]) -> list[Score]:
        """Score the last answer of each conversation.

        Raises:
            DataError: The template rejects a conversation, or one is longer than the model allows.
        """
        return self.score_ids([self._ids(each) for each in conversations])

    @torch.inference_mode()
    def score_ids(self, rows: Sequence[Sequence[int]]) -> list[Score]:
        """Score rows of token ids, each read to its end.

        Raises:
            DataError: One is longer than the model allows.
        """
        for ids in rows:
            if len(ids) > self._limit:
                raise DataError(
                    t("The conversation has {found} tokens; the model supports at most {limit}.",
                      found=len(ids), limit=self._limit),
                    fix=t("Shorten it."),
                )  # fmt: skip
        made = Rows.of([_row(ids) for ids in rows]).whole(unlike=self.policy.pad_id)
        scores = np.zeros(len(made), dtype=np.float64)
        longest = int(made.lengths.max(initial=1))
        for members in pack(made.lengths, max(BATCH_TOKENS, longest)):
            batch = collate_groups([made.group(i) for i in members], trim=made.trim)
            scores[members] = self.policy.scores(batch.to(self.policy.device)).cpu().numpy()
        return [Score(float(v), len(ids)) for v, ids in zip(scores, rows, strict=True)]

    def _ids(self, conversation: Conversation) -> list[int]:
        """Render a conversation as the rows of its run were."""
        data = self._config.data if self._config is not None else None
        options: dict[str, Any] = (
            {}
            if data is None
            else {"thinking": data.thinking, "special_tokens": data.special_tokens}
        )
        (row,) = single([self.template.render(conversation, **options)])
        return list(row.input_ids)


def _row(ids: Sequence[int]) -> TokenRow:
    return TokenRow(np.asarray(ids, dtype=np.int32), np.ones(len(ids), dtype=bool))


def _tokenizer_folder(found: Resolved) -> Path:
    own = (found.path / "tokenizer.json").is_file()
    return found.path if own else found.model_folder
