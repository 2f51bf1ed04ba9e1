"""The general pass: any model of transformers, with transformers' own layers and cache.

It supports every architecture and every kind of adapter. A sequence has its own cache, so its bits
never depend on the rest of the batch; when many prompts are answered in one call, those that start
together can instead be left-padded and share a cache. Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

ALONE_TOKENS, TOGETHER_TOKENS = 256, 1 << 30


class GeneralRow:
    """One sequence, with ``length`` tokens in its cache."""

    def __init__(self) -> None:
        self.length = 0
        self.shared: _Shared | None = None


class GeneralModel:
    """Reads parts of sequences.

    Args:
        activate: Returns the model to run, with an adapter active or none.
        together: Whether sequences that start in the same step share a padded cache.
    """

    in_pieces = False

    def __init__(self, activate: Callable[[str | None], Any], *, together: bool = False) -> None:
        self._activate = activate
        self._together = together
        self.read_tokens = TOGETHER_TOKENS if together else ALONE_TOKENS

    def new_row(self) -> GeneralRow:
        """An empty cache for one sequence."""
        return GeneralRow()

    @torch.inference_mode()
    def forward(self, parts: Sequence[Any]) -> Tensor:
        """Read the parts and extend their rows.

        Returns:
            Logits for the requested tokens of the parts, in order, [asked, V].
        """
        found: dict[int, Tensor] = {}
        for adapter in dict.fromkeys(part.adapter for part in parts):
            model = self._activate(adapter)
            mine = [part for part in parts if part.adapter == adapter]
            self._begin([part.row for part in mine if part.row.shared is None])
            for shared in dict.fromkeys(part.row.shared for part in mine):
                of_these = [part for part in mine if part.row.shared is shared]
                logits = shared.read(model, of_these)
                found |= {id(part): each for part, each in zip(of_these, logits, strict=True)}
        return torch.cat([found[id(part)] for part in parts])

    def _begin(self, rows: list[GeneralRow]) -> None:
        shared = _Shared()
        for row in rows:
            row.shared = shared if self._together else _Shared()


class _Shared:
    """The cache of sequences that started together, and the positions of their next tokens."""

    def __init__(self) -> None:
        self._cache: Any = None
        self._rows: list[GeneralRow] = []
        self._mask_BT: Tensor | None = None

    def read(self, model: Any, parts: Sequence[Any]) -> list[Tensor]:
        """Read one part per sequence; a sequence without a part has ended.

        Returns:
            The requested logits of each part, [wanted, V].
        """
        device = next(model.parameters()).device
        if self._cache is None:
            from transformers import DynamicCache

            self._cache = DynamicCache(config=model.config)
        elif len(parts) < len(self._rows):
            self._keep([self._rows.index(part.row) for part in parts], device)
        self._rows = [part.row for part in parts]
        longest = max(len(part.ids) for part in parts)
        ids_BT = torch.zeros(len(parts), longest, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        places_BT = torch.zeros_like(ids_BT)
        for line, part in enumerate(parts):
            at = longest - len(part.ids)
            ids_BT[line, at:] = torch.tensor(list(part.ids))
            mask_BT[line, at:] = 1
            start = part.row.length
            places_BT[line, at:] = torch.arange(start, start + len(part.ids))
            part.row.length += len(part.ids)
        # Without padding, no mask is needed, and attention takes its faster path.
        if self._mask_BT is not None or not bool(mask_BT.all()):
            new = mask_BT.to(device)
            self._mask_BT = new if self._mask_BT is None else torch.cat([self._mask_BT, new], 1)
        wanted = [part.wanted for part in parts]
        logits_BTV = model(
            input_ids=ids_BT.to(device),
            attention_mask=self._mask_BT,
            position_ids=places_BT.to(device),
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=max(*wanted, 1),
        ).logits
        size = logits_BTV.shape[1]
        return [each[size - count :] for each, count in zip(logits_BTV, wanted, strict=True)]

    def _keep(self, lines: list[int], device: torch.device) -> None:
        index = torch.tensor(lines, device=device)
        self._cache.batch_select_indices(index)
        if self._mask_BT is not None:
            self._mask_BT = self._mask_BT[index]
