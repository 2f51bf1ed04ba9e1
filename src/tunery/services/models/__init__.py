"""Models: list, describe, download, remove, look up, and consent to their code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._facade import names_of

if TYPE_CHECKING:
    from tunery.services.models._downloads import (
        cancel_download,
        download_job,
        downloads,
        start_download,
    )
    from tunery.services.models._folders import forget_folder, keep_folder, known
    from tunery.services.models._listing import Suggestion, memory_bytes, overview, suggestions
    from tunery.services.models._local import (
        CodeToAllow,
        allow_code,
        code_to_allow,
        describe,
        listing,
        name_base,
        pull,
        remove,
        revoke_code,
        to_remove,
    )
    from tunery.services.models._resolving import browse, look_up
    from tunery.services.models._searching import search_hub
    from tunery.services.models._sources import HubSource, save_token, sources
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "CodeToAllow", "HubSource", "Suggestion", "allow_code", "browse", "cancel_download",
    "code_to_allow", "describe", "download_job", "downloads",
    "forget_folder", "keep_folder", "known", "listing", "look_up", "memory_bytes", "name_base",
    "overview", "pull", "remove", "revoke_code", "save_token", "search_hub", "sources",
    "start_download",
    "suggestions", "to_remove",
]  # fmt: skip
