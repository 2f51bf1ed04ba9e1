"""How a trained model is written for other programs: one file per exporter."""

from __future__ import annotations

from tunery.config.base import tag
from tunery.config.exporters.adapter import AdapterExporter
from tunery.config.exporters.base import ExporterKind as ExporterKind
from tunery.config.exporters.merged import MergedExporter
from tunery.errors import unknown_name

EXPORTERS: tuple[type[ExporterKind], ...] = (MergedExporter, AdapterExporter)
DEFAULT = tag(EXPORTERS[0])


def exporter(name: str) -> ExporterKind:
    """Return the exporter of a name.

    Raises:
        UnknownName: There is none; the message suggests the closest one.
    """
    found = {tag(kind): kind for kind in EXPORTERS}
    if name not in found:
        raise unknown_name("export format", name, list(found))
    return found[name]()
