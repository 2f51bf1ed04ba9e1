"""Exports of trained models, synchronously or as jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._facade import names_of

if TYPE_CHECKING:
    from tunery.services.export._exporting import Exported, export
    from tunery.services.export._jobs import (
        export_job,
        formats,
        listing,
        start,
        suggested,
    )
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "Exported", "export", "export_job", "formats", "listing", "start", "suggested",
]  # fmt: skip
