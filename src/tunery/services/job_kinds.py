"""The kinds of jobs, and the process that runs one: ``python -m tunery.services.job_kinds FOLDER``.

Name -> the function that runs it, imported when it is first needed. It raises a TuneryError for
what the user can fix, and exits through ``handle.stop_if_asked()``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tunery.jobs import process
from tunery.jobs.folder import JobFolder
from tunery.jobs.process import JobFunction
from tunery.registry import Registry
from tunery.workers.quick_end import end_at_once

KINDS: Registry[JobFunction] = Registry("job")
KINDS.add("download", "tunery.services.models:download_job")
KINDS.add("check", "tunery.services.datasets:check_job")
KINDS.add("import", "tunery.services.datasets:import_job")
KINDS.add("measure", "tunery.services.measuring:measure_job")
KINDS.add("export", "tunery.services.export:export_job")
KINDS.add("evaluate", "tunery.services.evaluate:evaluate_job")

if __name__ == "__main__":
    end_at_once(process.main(JobFolder(Path(sys.argv[1])), KINDS))
