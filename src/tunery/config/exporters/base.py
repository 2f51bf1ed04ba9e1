"""What every exporter says of itself before anything is loaded."""

from __future__ import annotations

from typing import ClassVar

from tunery.config.base import Kind
from tunery.i18n import translated


class ExporterKind(Kind):
    """How what was trained is written for other programs.

    The heavy half is ``write(kind, trained, into)``; it gives the comparison of what it wrote
    with what was trained.

    Attributes:
        label: What people call it, in English.
        about: What it is good for, in a sentence, in English.
        library: The Python library that opens it, as a model card names it.
        card: What it is, for the model card.
        code: Python that opens it; ``{folder}`` and ``{base}`` are filled in.
    """

    label: ClassVar[str]
    about: ClassVar[str]
    library: ClassVar[str]
    card: ClassVar[str]
    code: ClassVar[str]

    def check(self, name: str, *, has_adapter: bool) -> None:
        """Refuse what cannot be written like that; by default everything can.

        Raises:
            ExportError: It cannot.
        """

    def size_bytes(self, trained: int, whole: int) -> int:
        """Bytes that it takes, of the files that training wrote and of a whole model."""
        return whole

    def shown(self) -> dict[str, str]:
        """For a page or a program: its name, label and sentence in the current language."""
        kind = str(type(self).model_fields["type"].default)
        return {"name": kind, "label": translated(self.label), "help": translated(self.about)}
