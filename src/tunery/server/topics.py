"""Topics of the live channel: things that change, read from a cursor.

A topic is polled repeatedly, in a thread: what is new after this cursor, and what is the new
cursor? It keeps no state per client. A list without a log of its own uses ``Changes``.
"""

from __future__ import annotations

from typing import Any, Protocol

from tunery.errors import unknown_name
from tunery.server.engines_topic import EnginesTopic
from tunery.server.jobs_topic import JobsTopic, JobTopic
from tunery.server.machine_topic import MachineTopic
from tunery.server.runs_topic import RunsTopic
from tunery.services.runs import RunTopic


class Topic(Protocol):
    """Something that changes."""

    def read(self, argument: str, cursor: str) -> tuple[list[dict[str, Any]], str]:
        """Return what is new.

        Args:
            argument: The part after the colon: ``NAME`` of ``run:NAME``; otherwise empty.
            cursor: The reader's position; empty at first, which requests everything.

        Returns:
            Messages, each with a ``kind`` (``topic`` is added), and the cursor after them.

        Raises:
            TuneryError: There is no such thing; the reader receives a message of kind ``error``.
        """
        ...


TOPICS: dict[str, Topic] = {
    "runs": RunsTopic(),
    "run": RunTopic(),
    "machine": MachineTopic(),
    "engines": EnginesTopic(),
    "jobs": JobsTopic(),
    "job": JobTopic(),
}
"""Every topic by the part before the colon."""


def find(name: str) -> tuple[Topic, str]:
    """Return the topic of ``runs`` or ``run:NAME``, and its argument.

    Raises:
        UnknownName: There is no such topic.
    """
    word, _, argument = name.partition(":")
    if word not in TOPICS:
        raise unknown_name("topic", word, TOPICS)
    return TOPICS[word], argument
