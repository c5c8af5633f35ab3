"""What each NATS user may do, derived from the contracts; pure, so that every deployment grants the same."""

from dataclasses import dataclass, field

from datalabs_contracts.events import ENTITY_OWNERS
from datalabs_contracts.rpc import OPERATIONS, SERVICES, STANDALONE
from datalabs_contracts.streams import CONSUMERS, EVENTS, Consumer

SUBSCRIBER = "subscriber"
"""Reads all facts, changes nothing."""
TOPOLOGY = "topology"
"""Declares streams and durable consumers; used by the topology step only."""
USERS: tuple[str, ...] = (*SERVICES, STANDALONE, SUBSCRIBER, TOPOLOGY)

LIVE_READERS = ("gateway", "observer")
LIVE_WRITER = "launcher"
LIVE_SIGNS = ("live.interest", "live.lab.*.seen")
"""What those who read live figures tell those who make them: who looks, and whose lab is used."""
REPLAYER = "observer"
DELETED_ADVISORY = "$JS.EVENT.ADVISORY.CONSUMER.DELETED"
STREAM_DELETED_ADVISORY = "$JS.EVENT.ADVISORY.STREAM.DELETED"


@dataclass(frozen=True, kw_only=True)
class Permissions:
    """Subjects of one user; `responds` allows replies to requests that it received."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    never_publish: tuple[str, ...] = field(default=())
    responds: bool = False


def inbox_of(user: str) -> str:
    """Return the inbox prefix that only this user may read."""
    return f"_INBOX_{user}"


def replay_subject(service: str) -> str:
    """Return where a service takes dead letters back."""
    return f"replay.{service}"


def permissions_of(user: str) -> Permissions:
    """Return what a user may do."""
    if user == SUBSCRIBER:
        return _of_subscriber()
    if user == TOPOLOGY:
        return Permissions(publish=("$JS.API.>",), subscribe=(f"{inbox_of(user)}.>",))
    return _of_service(user)


def _of_service(service: str) -> Permissions:
    callable_operations = [operation for operation in OPERATIONS if service in operation.callers]
    publish = {operation.subject for operation in callable_operations}
    publish |= {f"rpc.{operation.service}.cancel" for operation in callable_operations}
    publish |= {f"events.{entity}.>" for entity, owner in ENTITY_OWNERS.items() if owner == service}
    subscribe = {f"{inbox_of(service)}.>"}
    if service in SERVICES:
        subscribe |= {f"rpc.{service}.>", replay_subject(service)}
        publish |= {
            "$JS.API.INFO",
            f"$JS.API.STREAM.INFO.{EVENTS.name}",
            # Without a name in the subject the server makes ephemeral consumers only.
            f"$JS.API.CONSUMER.CREATE.{EVENTS.name}",
            "$JS.FC.>",
        }
    for consumer in CONSUMERS:
        if consumer.service == service:
            publish |= _consuming(consumer)
            subscribe.add(f"{DELETED_ADVISORY}.{consumer.stream}.{consumer.name}")
            subscribe.add(f"{STREAM_DELETED_ADVISORY}.{consumer.stream}")
    if service == LIVE_WRITER:
        publish.add("live.>")
        subscribe.add("live.>")
    if service in LIVE_READERS:
        subscribe.add("live.>")
        publish.update(LIVE_SIGNS)
    if service == REPLAYER:
        publish.add(replay_subject("*"))
    return Permissions(
        publish=tuple(sorted(publish)), subscribe=tuple(sorted(subscribe)), responds=service in SERVICES
    )


def _consuming(consumer: Consumer) -> set[str]:
    path = f"{consumer.stream}.{consumer.name}"
    return {
        f"$JS.API.CONSUMER.INFO.{path}",
        f"$JS.API.CONSUMER.CREATE.{path}",
        f"$JS.API.CONSUMER.CREATE.{path}.>",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{path}",
        f"$JS.API.CONSUMER.MSG.NEXT.{path}",
        f"$JS.ACK.{path}.>",
        f"$JS.API.STREAM.INFO.{consumer.stream}",
        f"dead.{consumer.name}",
    }


def _of_subscriber() -> Permissions:
    stream = EVENTS.name
    durables = [consumer.name for consumer in CONSUMERS if consumer.stream == stream]
    return Permissions(
        publish=(
            "$JS.API.INFO",
            "$JS.API.STREAM.NAMES",
            f"$JS.API.STREAM.INFO.{stream}",
            f"$JS.API.STREAM.MSG.GET.{stream}",
            f"$JS.API.DIRECT.GET.{stream}",
            f"$JS.API.DIRECT.GET.{stream}.>",
            f"$JS.API.CONSUMER.CREATE.{stream}",
            f"$JS.API.CONSUMER.CREATE.{stream}.>",
            f"$JS.API.CONSUMER.INFO.{stream}.*",
            f"$JS.API.CONSUMER.DELETE.{stream}.*",
            f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
            f"$JS.ACK.{stream}.>",
            "$JS.FC.>",
        ),
        # The services' own consumers are out of reach: nothing can be read away from them, changed or deleted.
        never_publish=tuple(
            subject
            for name in durables
            for subject in (
                f"$JS.API.CONSUMER.CREATE.{stream}.{name}",
                f"$JS.API.CONSUMER.CREATE.{stream}.{name}.>",
                f"$JS.API.CONSUMER.DELETE.{stream}.{name}",
                f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}",
                f"$JS.ACK.{stream}.{name}.>",
            )
        ),
        subscribe=("events.>", "_INBOX.>", f"{inbox_of(SUBSCRIBER)}.>"),
    )
