"""Use cases: the only layer that the command line, the web pages and the API call.

Decisions live here.
"""

from tunery.workers.entry import ENTRY

ENTRY.update(
    run="tunery.train.worker",
    job="tunery.services.job_kinds",
    engine="tunery.decode.worker",
    track="tunery.track.follower",
    engine_here="tunery.decode.local:LocalEngine",
    ended="tunery.services.notify",
    questions="tunery.services.questions:QUESTIONS",
)
