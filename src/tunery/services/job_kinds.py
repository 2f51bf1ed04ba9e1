"""The kinds of jobs: name -> the function that does one, imported when it is first needed.

A function takes the job's arguments (plain data) and a ``Handle``, and returns the result (plain
data). It raises a TuneryError for what people can mend, and leaves by ``handle.stop_if_asked()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tunery.registry import Registry
from tunery.services.job import Handle

JobFunction = Callable[[dict[str, Any], Handle], dict[str, Any]]

KINDS: Registry[JobFunction] = Registry("job")
KINDS.add("download", "tunery.services.downloads:run")
KINDS.add("check", "tunery.services.dataset_checks:check_job")
KINDS.add("import", "tunery.services.dataset_adding:import_job")
KINDS.add("export", "tunery.services.export_jobs:run")
KINDS.add("evaluate", "tunery.services.evaluating:run")
