"""How one answer is drawn: the settings of sampling, light enough for the command line.

The drawing itself is in sampling.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tunery.errors import EngineError
from tunery.i18n import t


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one answer is drawn.

    Args:
        temperature: 0 takes the most likely token; 1 draws from the model's own distribution.
        top_p: Draw from the fewest likely tokens whose probabilities reach this sum; 1 keeps all.
        top_k: Draw from this many most likely tokens; 0 keeps all.
        repetition_penalty: Above 1, tokens of the prompt and of the answer so far become less
            likely (Keskar et al. 2019, CTRL, section 4.1); 1 changes nothing.
        seed: Seed of this answer's random numbers.

    Raises:
        EngineError: A value is out of its bounds.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "temperature": (0 <= self.temperature <= 100, t("from 0 to 100")),
            "top_p": (0 < self.top_p <= 1, t("above 0 and at most 1")),
            "top_k": (self.top_k >= 0, t("0 or more")),
            "repetition_penalty": (0 < self.repetition_penalty <= 100, t("above 0, at most 100")),
        }
        for name, (fits, wanted) in bounds.items():
            found = getattr(self, name)
            if not fits or math.isnan(found):
                raise EngineError(
                    t("{name} must be {wanted}, got {found}.", name=name, wanted=wanted,
                      found=found),
                    fix=t("Leave it out for the default."),
                )  # fmt: skip

    @property
    def greedy(self) -> bool:
        """True if the most likely token is always taken."""
        return self.temperature == 0 or self.top_k == 1


GREEDY = Sampling()
