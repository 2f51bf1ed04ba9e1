"""Compare logits and greedy answers of the exported files with those of the trained model.

The trained model (the base with its adapter attached, not merged) answers fixed prompts with our
decoder; later the written files, opened by plain transformers, must give the same answers with its
``generate``. Logits come from transformers' own forward pass on both sides. Two limits guard
against a wrong merge: the divergence must be small in absolute terms, and small relative to the
change made by training, so that an export without the adapter fails even if the adapter is weak.

Shapes: T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tunery.decode.decoder import Decoder
from tunery.export.order import Stage, silent
from tunery.i18n import t
from tunery.types import Message

NUM_PROMPTS = 20
MAX_NEW_TOKENS = 24
Say = Callable[[Sequence[Sequence[int]]], list[list[int]]]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Limits on the difference that rounding alone may cause between two copies of a model.

    Args:
        logit: Maximum absolute difference of any logit.
        kl: Maximum mean divergence of the next-token distributions, in nats.
        share: Maximum divergence relative to the divergence caused by training.
        tie: Two candidates whose logits differ by at most this much may swap ranks.
    """

    logit: float
    kl: float
    share: float
    tie: float


TOLERANCES = {
    torch.float32: Tolerance(logit=2e-2, kl=1e-5, share=0.01, tie=1e-2),
    # Rounding the merged weights to bf16 changes them by up to one part in 256.
    torch.bfloat16: Tolerance(logit=4.0, kl=2e-2, share=0.25, tie=1.0),
    torch.float16: Tolerance(logit=1.0, kl=2e-3, share=0.1, tie=0.25),
}


@dataclass(frozen=True, slots=True)
class Witness:
    """The reference outputs of the trained model.

    Args:
        prompts: Token ids of the prompts.
        answers: Its greedy answers.
        logits: For each prompt, the logits before every token of the answer and after its last
            one, fp32 on the CPU, shape ``[T + 1, V]``.
        moved_kl: Mean divergence of the trained model from its base on the same tokens, in nats;
            None if there is no base to compare with.
    """

    prompts: list[list[int]]
    answers: list[list[int]]
    logits: list[Tensor]
    moved_kl: float | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """The difference between the written model and the trained one.

    Args:
        num_prompts: Number of prompts compared.
        num_tokens: Number of positions whose logits were compared.
        max_logit_difference: Largest absolute difference of any logit.
        mean_kl: Mean divergence of the next-token distributions, in nats.
        moved_kl: The same between the trained model and its base; None without a base.
        greedy_agreement: Share of positions with the same most likely token.
        same_answers: Number of greedy answers that are equal token for token.
        near_ties: Number of greedy answers that diverge at a near tie of two candidates.
        other_answers: Number of greedy answers that differ for other reasons.
    """

    num_prompts: int
    num_tokens: int
    max_logit_difference: float
    mean_kl: float
    moved_kl: float | None
    greedy_agreement: float
    same_answers: int
    near_ties: int
    other_answers: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the report beside the export."""
        return asdict(self)

    def limits(self, tolerance: Tolerance) -> dict[str, float]:
        """The largest values allowed: ``max_logit_difference``, and ``mean_kl`` in nats."""
        relative = (
            [] if self.moved_kl is None
            else [max(tolerance.share * self.moved_kl, tolerance.kl * 1e-2)]
        )  # fmt: skip
        return {
            "max_logit_difference": tolerance.logit,
            "mean_kl": min([tolerance.kl, *relative]),
        }

    def problems(self, tolerance: Tolerance) -> list[str]:
        """The differences outside the tolerance; empty if the two models match."""
        found: list[str] = []
        limits = self.limits(tolerance)
        if not self.max_logit_difference <= limits["max_logit_difference"]:
            found.append(f"logits differ by {self.max_logit_difference:.3g}")
        if not self.mean_kl <= limits["mean_kl"]:
            moved = "" if self.moved_kl is None else f", where training changed {self.moved_kl:.3g}"
            found.append(f"divergence {self.mean_kl:.3g} nats{moved}")
        if self.other_answers:
            found.append(f"{self.other_answers} of {self.num_prompts} greedy answers differ")
        return found


def general_prompts() -> list[Message]:
    """The first questions of the built-in general set."""
    from tunery.config.data import DataConfig
    from tunery.data.examples import read
    from tunery.data.kinds import row_kind

    found: list[Message] = []
    for example in read(["general"], DataConfig(train=["general"])):
        for asked in row_kind(example).conversations(example):
            found.append(next(m for m in asked.messages if m.role == "user"))
        if len(found) == NUM_PROMPTS:
            break
    return found


@torch.inference_mode()
def witness(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: frozenset[int],
    base: Callable[[Sequence[int]], Tensor] | None = None,
    stage: Stage = silent,
) -> Witness:
    """Record the answers and logits of the trained model.

    Args:
        model: The trained model, in eval mode.
        prompts: Token ids.
        stop_ids: Tokens that end an answer.
        base: Returns the base's logits for a row of token ids, shape ``[T, V]``.
        stage: Told how many prompts are answered, then how many answers are measured.
    """
    count = len(prompts)
    answering = t("answering prompts with the trained model")
    stage(answering, 0, count)
    said = Decoder(model).answer(
        prompts,
        stop_ids=stop_ids,
        max_tokens=MAX_NEW_TOKENS,
        on_answer=lambda done: stage(answering, done, count),
    )
    answers = [answer.ids for answer in said]
    logits, moved = [], []
    for done, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        stage(t("keeping the trained model's logits"), done, count)
        ids = [*prompt, *answer]
        mine = row_logits(model, ids)[len(prompt) - 1 :]
        logits.append(mine)
        if base is not None:
            moved.append(divergence(mine, base(ids)[len(prompt) - 1 :]))
    moved_kl = float(torch.cat(moved).mean()) if moved else None
    return Witness([list(prompt) for prompt in prompts], answers, logits, moved_kl)


@torch.inference_mode()
def compare(
    model: nn.Module, said: Witness, *, say: Say, tolerance: Tolerance, stage: Stage = silent
) -> Parity:
    """Compare a model with the outputs of the trained one.

    Args:
        model: The reopened model, in eval mode.
        said: The trained model's answers and logits.
        say: Generates greedily with the reopened model, without the final stop token.
        tolerance: Defines a near tie.
        stage: Told how many answers are compared.
    """
    largest, same_tokens = 0.0, 0
    kl: list[Tensor] = []
    count = len(said.prompts)
    rows = zip(said.prompts, said.answers, said.logits, strict=True)
    for done, (prompt, answer, theirs) in enumerate(rows):
        stage(t("comparing logits with those of the trained model"), done, count)
        mine = row_logits(model, [*prompt, *answer])[len(prompt) - 1 :]
        largest = max(largest, float((mine - theirs).abs().max()))
        same_tokens += int((mine.argmax(-1) == theirs.argmax(-1)).sum())
        kl.append(divergence(theirs, mine))
    divergences = torch.cat(kl)
    stage(t("comparing answers with those of the trained model"), 0, 0)
    endings = [
        _ending(expected, found, theirs, tolerance.tie)
        for expected, found, theirs in zip(
            said.answers, say(said.prompts), said.logits, strict=True
        )
    ]
    return Parity(
        num_prompts=len(said.prompts),
        num_tokens=len(divergences),
        max_logit_difference=largest,
        mean_kl=float(divergences.mean()),
        moved_kl=said.moved_kl,
        greedy_agreement=same_tokens / len(divergences),
        same_answers=endings.count("same"),
        near_ties=endings.count("tie"),
        other_answers=endings.count("other"),
    )


def row_logits(model: nn.Module, ids: Sequence[int]) -> Tensor:
    """Logits after every token of one row, fp32 on the CPU, shape ``[T, V]``."""
    device = next(model.parameters()).device
    return model(input_ids=torch.tensor([list(ids)], device=device)).logits[0].float().cpu()


def divergence(p_logits_TV: Tensor, q_logits_TV: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(p || q) at each position, in nats, shape ``[T]``."""
    p, q = p_logits_TV.log_softmax(-1), q_logits_TV.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1).clamp(min=0)


def _ending(expected: list[int], found: list[int], logits_TV: Tensor, tie: float) -> str:
    if expected == found:
        return "same"
    length = min(len(expected), len(found))
    place = next((i for i in range(length) if expected[i] != found[i]), length)
    # After the first different token the contexts differ, so only that position is compared.
    best = logits_TV[place].topk(2).values
    return "tie" if float(best[0] - best[1]) <= tie else "other"
