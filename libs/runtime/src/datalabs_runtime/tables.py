"""The tables that every service has beside its own: outbox, inbox and leases, in its own metadata."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, DateTime, Identity, Index, LargeBinary, MetaData, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraint names are made the same way everywhere, so that Alembic can find them again."""

OUTBOX_CHANNEL = "outbox"
"""NOTIFY channel that wakes the relay."""
NOW_AND_WAKE = f"(SELECT now() FROM pg_notify('{OUTBOX_CHANNEL}', ''))"  # noqa: S608 - of a constant
"""When an event was written, in SQL: the insert itself wakes the relay at commit, which costs no round trip."""


class OutboxRow:
    """An event written in the transaction of its cause, until the relay has published it (and some days more)."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(64), unique=True)
    subject: Mapped[str] = mapped_column(String(255))
    entity: Mapped[str] = mapped_column(String(128))
    revision: Mapped[int] = mapped_column(BigInteger)
    headers: Mapped[dict[str, Any]] = mapped_column(JSONB)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), default=text(NOW_AND_WAKE))
    published_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class InboxRow:
    """An event whose effect is in this database already, by consumer."""

    __tablename__ = "inbox"

    consumer: Mapped[str] = mapped_column(String(64), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    handled_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()"), index=True
    )


class LeaseRow:
    """Who leads, and in which epoch; the epoch rises with every change of holder."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(128))
    epoch: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class ServiceBase(DeclarativeBase):
    """Base of a service's tables.

    `class Base(ServiceBase): "Tables of the launcher."` gives the service its own metadata, with the tables
    outbox, inbox and leases mapped as `Base.Outbox`, `Base.Inbox` and `Base.Lease`.
    """

    __abstract__ = True
    Outbox: ClassVar[Any]
    Inbox: ClassVar[Any]
    Lease: ClassVar[Any]

    def __init_subclass__(cls, **options: Any) -> None:
        direct = ServiceBase in cls.__bases__
        if direct:
            cls.__abstract__ = True
            cls.metadata = MetaData(naming_convention=NAMING)
            # A registry of its own: all services live in one interpreter before they are forked.
            cls.registry = cls._sa_registry = registry(metadata=cls.metadata)
        super().__init_subclass__(**options)
        if direct:
            pending = Index("outbox_unpublished", "id", postgresql_where=text("published_at IS NULL"))
            cls.Outbox = type("Outbox", (OutboxRow, cls), {"__table_args__": (pending,)})
            cls.Inbox = type("Inbox", (InboxRow, cls), {})
            cls.Lease = type("Lease", (LeaseRow, cls), {})


def make_base() -> type[ServiceBase]:
    """Return a fresh base; `class Base(ServiceBase)` does the same in a way that mypy follows."""
    return type("Base", (ServiceBase,), {"__doc__": "Tables of one service."})
