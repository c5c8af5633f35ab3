"""Streams and durable consumers, declared once by the topology step and never by a service."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A JetStream stream; sizes in bytes. `duplicates` is the window in which a repeated message id is dropped."""

    name: str
    subjects: tuple[str, ...]
    max_age: timedelta
    max_bytes: int
    duplicates: timedelta = timedelta(minutes=10)
    summary: str = ""


@dataclass(frozen=True, kw_only=True)
class Consumer:
    """A durable pull consumer of one service; `job` names what it does.

    `traced` is off for those that only write down what passes: watching a launch must not fill its trace. What a
    process had been given when it died, or was stopped for too long, is given again after `ack_wait`.
    """

    service: str
    job: str
    stream: str
    subjects: tuple[str, ...]
    ack_wait: timedelta = timedelta(seconds=15)
    max_ack_pending: int = 256
    traced: bool = True

    @property
    def name(self) -> str:
        """The durable name."""
        return f"{self.service}-{self.job}"


EVENTS = Stream(
    name="EVENTS",
    subjects=("events.>",),
    max_age=timedelta(days=14),
    max_bytes=2 * 1024**3,
    summary="All facts of the platform.",
)
DEAD_LETTERS = Stream(
    name="DEAD_LETTERS",
    subjects=("dead.>",),
    max_age=timedelta(days=30),
    max_bytes=256 * 1024**2,
    summary="Messages whose handlers gave up, `dead.<consumer>`.",
)
STREAMS: tuple[Stream, ...] = (EVENTS, DEAD_LETTERS)

ACCOUNTING_LEDGER = Consumer(
    service="accounting",
    job="ledger",
    stream=EVENTS.name,
    subjects=("events.lab.*.starting", "events.lab.*.ready", "events.lab.*.stopped", "events.lab.*.failed"),
)
OBSERVER_HISTORY = Consumer(
    service="observer",
    job="history",
    stream=EVENTS.name,
    subjects=("events.>",),
    max_ack_pending=2048,
    traced=False,
)
OBSERVER_DEAD_LETTERS = Consumer(
    service="observer", job="dead-letters", stream=DEAD_LETTERS.name, subjects=("dead.>",), traced=False
)
LAUNCHER_ENVIRONMENTS = Consumer(
    service="launcher",
    job="environments",
    stream=EVENTS.name,
    subjects=("events.datalab.*.published", "events.datalab.*.withdrawn"),
)
CATALOGUE_POPULARITY = Consumer(
    service="catalogue", job="popularity", stream=EVENTS.name, subjects=("events.lab.*.ready",)
)
STORAGE_SCRATCH = Consumer(
    service="storage", job="scratch", stream=EVENTS.name, subjects=("events.lab.*.deleted",)
)
CONSUMERS: tuple[Consumer, ...] = (
    ACCOUNTING_LEDGER,
    OBSERVER_HISTORY,
    OBSERVER_DEAD_LETTERS,
    LAUNCHER_ENVIRONMENTS,
    CATALOGUE_POPULARITY,
    STORAGE_SCRATCH,
)
