"""The machine: hardware, health, versions, the hub, and the folders that the page may open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunery.services._facade import names_of

if TYPE_CHECKING:
    from tunery.services.machine._components import Component, components
    from tunery.services.machine._doctor import Finding, examine, survives, versions
    from tunery.services.machine._hardware import Machine, check_hub, gpus, is_offline, look, report
    from tunery.services.machine._roots import (
        ALLOW,
        add_root,
        added_roots,
        hub_cache,
        inside_roots,
        roots,
        set_added_roots,
    )
else:
    __getattr__ = names_of(__file__, __name__)

__all__ = [
    "ALLOW", "Component", "Finding", "Machine", "add_root", "added_roots", "check_hub",
    "components", "examine", "gpus", "hub_cache", "inside_roots", "is_offline", "look", "report",
    "roots", "set_added_roots", "survives", "versions",
]  # fmt: skip
