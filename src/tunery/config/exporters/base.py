"""What every exporter declares before anything is loaded."""

from __future__ import annotations

from typing import ClassVar

from tunery.config.base import Kind
from tunery.i18n import translated


class ExporterKind(Kind):
    """How a trained model is written for other programs.

    The heavy half is ``write(kind, trained, into)``; it returns the comparison of what it wrote
    with what was trained.

    Attributes:
        label: Its display name, in English.
        about: What it is for, in one English sentence.
        library: The Python library that loads it, as named in a model card.
        card: What it is, for the model card.
        code: Python that loads it; ``{folder}`` and ``{base}`` are filled in.
    """

    label: ClassVar[str]
    about: ClassVar[str]
    library: ClassVar[str]
    card: ClassVar[str]
    code: ClassVar[str]

    def check(self, name: str, *, has_adapter: bool) -> None:
        """Reject what cannot be written in this format; by default, everything is accepted.

        Raises:
            ExportError: It cannot be written in this format.
        """

    def size_bytes(self, trained: int, whole: int) -> int:
        """Its size in bytes, given the sizes of the files from training and of a whole model."""
        return whole

    def shown(self) -> dict[str, str]:
        """Its name, label and description in the current language, as plain data."""
        kind = str(type(self).model_fields["type"].default)
        return {"name": kind, "label": translated(self.label), "help": translated(self.about)}
