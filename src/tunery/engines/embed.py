"""Embeddings of an engine: one vector for a text, by engines that have the capability ``embed``."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Embedded:
    """A text as numbers.

    Args:
        vector: Of length one.
        num_tokens: Tokens that were read.
    """

    vector: tuple[float, ...]
    num_tokens: int

    @property
    def base64(self) -> str:
        """The numbers as little-endian fp32 in base64, as OpenAI's API gives them."""
        return base64.b64encode(struct.pack(f"<{len(self.vector)}f", *self.vector)).decode()

    def as_dict(self) -> dict[str, Any]:
        """For the wire."""
        return {"vector": self.base64, "num_tokens": self.num_tokens}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Embedded:
        """Read what ``as_dict`` wrote."""
        data = base64.b64decode(plain["vector"])
        return cls(struct.unpack(f"<{len(data) // 4}f", data), int(plain["num_tokens"]))


@runtime_checkable
class Embeds(Protocol):
    """An engine that makes embeddings."""

    async def embed(self, text: str | Sequence[int], *, adapter: str | None = None) -> Embedded:
        """Make the vector of a text or of token ids.

        Raises:
            EngineError: ``too_long``, ``bad_adapter``, ``bad_request`` (it cannot be read, or this
                model gives none), ``queue_full`` (no memory) or ``gone``.
        """
        ...
