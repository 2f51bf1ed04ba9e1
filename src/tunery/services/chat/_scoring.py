"""Scores from a reward model in this process: a prompt, its answers, and one number per answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunery.errors import EngineError
from tunery.i18n import t
from tunery.models import heads
from tunery.models.resolved import Resolved
from tunery.services.chat._trained import trained_with
from tunery.types import Conversation, Message

if TYPE_CHECKING:
    from tunery.policy.scorer import Scorer


def is_reward_model(found: Resolved) -> bool:
    """Whether a resolved name scores answers instead of writing them."""
    return heads.scores(found)


def meaning() -> str:
    """What the numbers of a reward model mean, in one sentence."""
    return t(
        "This is a reward model: it scores answers and writes none. Higher is better; compare "
        "only answers to the same prompt."
    )


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer with its score.

    Args:
        answer: The answer's text.
        score: Higher is better; comparable only between answers to one prompt.
        tokens: Tokens of prompt and answer, as the model reads them.
    """

    answer: str
    score: float
    tokens: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for ``--json``."""
        return {"answer": self.answer, "score": round(self.score, 6), "tokens": self.tokens}


@dataclass
class Judge:
    """A reward model that is loaded with the first request.

    Args:
        name: As the user named it.
        found: What the name resolves to.
        template: Chat template instead of its own.
        device: As ``model.device``.
        system: System message of every conversation; empty for none.
    """

    name: str
    found: Resolved
    template: str | None = None
    device: str = "auto"
    system: str = ""
    _scorer: Scorer | None = field(default=None, repr=False)

    def open(self) -> None:
        """Load the model.

        Raises:
            ModelError: It cannot be loaded.
        """
        from tunery.models.load import quiet
        from tunery.policy.scorer import Scorer

        quiet()
        self._scorer = Scorer.load(
            self.found, trained_with(self.found), template=self.template, device=self.device
        )

    def score(self, prompt: str, answers: Sequence[str]) -> list[Scored]:
        """Score answers to one prompt, in the given order.

        Raises:
            EngineError: An answer is empty.
            DataError: The template rejects the messages, or they are too long.
        """
        if not answers or not all(answer.strip() for answer in answers):
            raise EngineError(
                t("An answer is empty."),
                fix=t("Remove it, or fill it in."),
            )
        if self._scorer is None:
            self.open()
        assert self._scorer is not None
        system = (Message("system", self.system),) if self.system else ()
        asked = (*system, Message("user", prompt, train=False))
        scores = self._scorer.score(
            [Conversation((*asked, Message("assistant", answer))) for answer in answers]
        )
        return [
            Scored(answer, score.value, score.num_tokens)
            for answer, score in zip(answers, scores, strict=True)
        ]
