"""Embeddings: one vector per text, from engines that have the capability ``embed``."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Embedded:
    """The embedding of a text.

    Args:
        vector: The embedding, of unit length.
        num_tokens: Number of tokens read.
    """

    vector: tuple[float, ...]
    num_tokens: int

    @property
    def base64(self) -> str:
        """The vector as little-endian fp32 in base64, as in OpenAI's API."""
        return base64.b64encode(struct.pack(f"<{len(self.vector)}f", *self.vector)).decode()

    def as_dict(self) -> dict[str, Any]:
        """The embedding as JSON data."""
        return {"vector": self.base64, "num_tokens": self.num_tokens}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Embedded:
        """Parse the output of ``as_dict``."""
        data = base64.b64decode(plain["vector"])
        return cls(struct.unpack(f"<{len(data) // 4}f", data), int(plain["num_tokens"]))


@runtime_checkable
class Embeds(Protocol):
    """An engine that computes embeddings."""

    async def embed(self, text: str | Sequence[int], *, adapter: str | None = None) -> Embedded:
        """Compute the embedding of a text or of token ids.

        Raises:
            EngineError: ``too_long``, ``bad_adapter``, ``bad_request`` (it cannot be parsed, or the
                model provides no embeddings), ``queue_full`` (out of memory) or ``gone``.
        """
        ...
