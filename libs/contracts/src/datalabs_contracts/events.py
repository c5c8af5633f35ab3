"""Facts: CloudEvents in NATS binary mode, their types, subjects and data (DESIGN section 3)."""

import re
from dataclasses import dataclass

from datalabs_contracts.base import Contract
from datalabs_contracts.datalabs import CollectionFact, DatalabFact, ReadinessFact
from datalabs_contracts.labs import LabFact
from datalabs_contracts.people import PersonFact, SessionFact
from datalabs_contracts.usage import UsageFact
from datalabs_contracts.volumes import VolumeFact

HEADER_ID = "ce-id"
HEADER_TYPE = "ce-type"
HEADER_SOURCE = "ce-source"
HEADER_SUBJECT = "ce-subject"
HEADER_TIME = "ce-time"
HEADER_SPECVERSION = "ce-specversion"
HEADER_CONTENT_TYPE = "content-type"
HEADER_TRACEPARENT = "traceparent"
HEADER_CORRELATION = "correlationid"
HEADER_CAUSATION = "causationid"
HEADER_DEDUPLICATION = "Nats-Msg-Id"
SOURCE_BASE = "/services/"
_NO_TOKEN = re.compile(r"[^A-Za-z0-9_-]")


@dataclass(frozen=True, kw_only=True)
class EventType:
    """One version of one fact: its entity and fact words, its data model and a sentence for the documents."""

    entity: str
    fact: str
    data: type[Contract]
    summary: str
    version: int = 1

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return f"org.datalabs.{self.entity}.{self.fact}.v{self.version}"

    def subject(self, entity_id: str) -> str:
        """Return the NATS subject of this fact about one entity.

        The header `ce-subject` has the id as it is; what a subject's token cannot hold becomes `_` here.
        """
        return f"events.{self.entity}.{_NO_TOKEN.sub('_', entity_id)}.{self.fact}"


def _lab(fact: str, summary: str) -> EventType:
    return EventType(entity="lab", fact=fact, data=LabFact, summary=summary)


LAB_QUEUED = _lab("queued", "A lab was asked for and stored; it is never forgotten from here on.")
LAB_PREPARING = _lab("preparing", "The lab was admitted; its volumes and environment are made ready.")
LAB_STARTING = _lab("starting", "The lab was handed to the scheduler.")
LAB_READY = _lab("ready", "The lab answered through its own protocol.")
LAB_UNREACHABLE = _lab("unreachable", "Nothing is heard of the lab's machine; it may well be running.")
LAB_STOPPING = _lab("stopping", "The lab was asked to end.")
LAB_STOPPED = _lab("stopped", "The lab ended as intended; nothing of it runs.")
LAB_FAILED = _lab("failed", "The lab ended against the intent; nothing of it runs.")
LAB_PROGRESSED = _lab("progressed", "The phase, its progress or the place in the queue changed.")
LAB_EXTENDED = _lab("extended", "The lab's expiry moved.")
LAB_EXPIRING = _lab(
    "expiring", "The lab will end soon; `detail.minutes` and `detail.reason` say when and why."
)
LAB_DELETED = _lab("deleted", "The lab was removed from its owner's list.")

DATALAB_PUBLISHED = EventType(
    entity="datalab",
    fact="published",
    data=DatalabFact,
    summary="A datalab or a new version of one is in the catalogue.",
)
DATALAB_CHANGED = EventType(
    entity="datalab", fact="changed", data=DatalabFact, summary="The description of a datalab changed."
)
DATALAB_WITHDRAWN = EventType(
    entity="datalab", fact="withdrawn", data=DatalabFact, summary="A datalab left the catalogue."
)
ENVIRONMENT_CHANGED = EventType(
    entity="environment",
    fact="changed",
    data=ReadinessFact,
    summary="A version's environment is nearer to ready.",
)
COLLECTION_CHANGED = EventType(
    entity="collection",
    fact="changed",
    data=CollectionFact,
    summary="A collection was installed, changed or lost.",
)
PERSON_CREATED = EventType(entity="person", fact="created", data=PersonFact, summary="An account was made.")
PERSON_CHANGED = EventType(entity="person", fact="changed", data=PersonFact, summary="An account changed.")
SESSION_STARTED = EventType(entity="session", fact="started", data=SessionFact, summary="Somebody signed in.")
SESSION_ENDED = EventType(entity="session", fact="ended", data=SessionFact, summary="A session was ended.")
VOLUME_CREATED = EventType(entity="volume", fact="created", data=VolumeFact, summary="A volume was made.")
VOLUME_MEASURED = EventType(
    entity="volume", fact="measured", data=VolumeFact, summary="A volume's use was measured."
)
VOLUME_RELEASED = EventType(
    entity="volume", fact="released", data=VolumeFact, summary="A scratch was removed with its lab."
)
USAGE_RECORDED = EventType(
    entity="usage",
    fact="recorded",
    data=UsageFact,
    summary="An attempt's seconds were entered in the ledger.",
)

EVENT_TYPES: tuple[EventType, ...] = (
    LAB_QUEUED, LAB_PREPARING, LAB_STARTING, LAB_READY, LAB_UNREACHABLE, LAB_STOPPING, LAB_STOPPED, LAB_FAILED,
    LAB_PROGRESSED, LAB_EXTENDED, LAB_EXPIRING, LAB_DELETED,
    DATALAB_PUBLISHED, DATALAB_CHANGED, DATALAB_WITHDRAWN, ENVIRONMENT_CHANGED, COLLECTION_CHANGED,
    PERSON_CREATED, PERSON_CHANGED, SESSION_STARTED, SESSION_ENDED, VOLUME_CREATED, VOLUME_MEASURED, VOLUME_RELEASED,
    USAGE_RECORDED,
)  # fmt: skip
"""Every fact of the platform, for documents and tests."""

ENTITY_OWNERS: dict[str, str] = {
    "lab": "launcher",
    "environment": "launcher",
    "datalab": "catalogue",
    "collection": "storage",
    "volume": "storage",
    "person": "auth",
    "session": "auth",
    "usage": "accounting",
}
"""The service that alone publishes the facts of an entity; NATS permissions are made from it."""

BY_TYPE: dict[str, EventType] = {event.type: event for event in EVENT_TYPES}

LIVE_SAMPLE = "live.lab.{lab_id}.sample"
"""Core NATS, not stored: a `Sample` of a running lab, published every few seconds by the launcher."""
LIVE_SEEN = "live.lab.{lab_id}.seen"
"""Core NATS, not stored: a `Seen`, at most twice a minute while a browser uses a lab, published by the gateway."""
LIVE_INTEREST = "live.interest"
"""Core NATS, not stored: an `Interest`, renewed by whoever shows samples; without it nothing is measured."""
