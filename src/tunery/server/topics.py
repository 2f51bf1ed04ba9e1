"""Topics of the live channel: what can change, read from a cursor.

A topic is asked again and again, in a thread: what is new behind this cursor, and where is the end
now? It keeps nothing per client. A list that has no log of its own uses ``Changes``.
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
        """Give what is new.

        Args:
            argument: What stands behind the colon: ``NAME`` of ``run:NAME``; else empty.
            cursor: Where the reader is; empty at first, which asks for everything.

        Returns:
            Messages, each with a ``kind`` (``topic`` is added), and the cursor behind them.

        Raises:
            TuneryError: There is no such thing; the reader gets a message of kind ``error``.
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
"""Every topic by the word before the colon."""


def find(name: str) -> tuple[Topic, str]:
    """The topic of ``runs`` or ``run:NAME``, and its argument.

    Raises:
        UnknownName: There is none.
    """
    word, _, argument = name.partition(":")
    if word not in TOPICS:
        raise unknown_name("topic", word, TOPICS)
    return TOPICS[word], argument
