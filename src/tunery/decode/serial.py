"""Any other model of transformers, one sequence after the other in each step.

The general path of a served model: every architecture and every kind of adapter, with transformers'
own layers and cache, so nothing is gained from company, but requests still take turns fairly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from tunery.decode.switch import AdapterSwitch


@dataclass
class SerialRow:
    """The cache of one sequence.

    Args:
        cache: In transformers' form.
        length: Tokens in it.
    """

    cache: Any
    length: int = 0


class SerialModel:
    """A model behind its adapter switch, ready to read parts of sequences.

    Args:
        switch: The base with the adapters attached to it.
    """

    def __init__(self, switch: AdapterSwitch) -> None:
        self._switch = switch

    def new_row(self) -> SerialRow:
        """An empty cache for one sequence."""
        return SerialRow(DynamicCache(config=self._switch.model.config))

    @torch.inference_mode()
    def forward(self, parts: Sequence[Any]) -> Tensor:
        """Read the parts; their rows grow.

        Returns:
            Logits after the last token of each part, in order, [parts, V].
        """
        found: list[Tensor | None] = [None] * len(parts)
        for adapter in dict.fromkeys(part.adapter for part in parts):
            model: Any = self._switch.wear(adapter)
            device = next(model.parameters()).device
            for place, part in enumerate(parts):
                if part.adapter != adapter:
                    continue
                start = part.row.length
                end = start + len(part.ids)
                output = model(
                    input_ids=torch.tensor([list(part.ids)], device=device),
                    position_ids=torch.arange(start, end, device=device)[None],
                    past_key_values=part.row.cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                part.row.length = end
                found[place] = output.logits[0, -1]
        return torch.stack([logits for logits in found if logits is not None])
