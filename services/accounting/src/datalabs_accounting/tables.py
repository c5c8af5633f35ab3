"""Tables of accounting. Imported by `store` and the migrations only."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    String,
    Table,
    Text,
)

from datalabs_runtime.tables import ServiceBase


class Base(ServiceBase):
    """Tables of accounting, with outbox, inbox and leases."""


ledger = Table(
    "ledger",
    Base.metadata,
    Column("lab_id", String(10), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("datalab", String(63), nullable=False),
    Column("size", String(32), nullable=False),
    Column("cores", Float, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True), nullable=False),
    Column("revision", BigInteger, nullable=False),
    CheckConstraint("ended_at >= started_at", name="ends_after_start"),
    Index("ix_ledger_owner_started_at", "owner", "started_at"),
    Index("ix_ledger_started_at", "started_at"),
    comment="Append-only: a trigger refuses every change of an entry.",
)

running = Table(
    "running",
    Base.metadata,
    Column("lab_id", String(10), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("name", Text, nullable=False),
    Column("datalab", String(63), nullable=False),
    Column("size", String(32), nullable=False),
    Column("cores", Float, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("ix_running_owner", "owner"),
    comment="Attempts whose end is not known yet; they move to the ledger.",
)

reservations = Table(
    "reservations",
    Base.metadata,
    Column("lab_id", String(10), primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("labs", Integer, nullable=False),
    Column("cores", Float, nullable=False),
    Column("memory_mib", Integer, nullable=False),
    Column("confirmed_at", DateTime(timezone=True), nullable=False),
    Index("ix_reservations_owner", "owner"),
)

overrides = Table(
    "overrides",
    Base.metadata,
    Column("owner", String(32), primary_key=True),
    Column("unlimited", Boolean, nullable=False),
    Column("max_labs", Integer),
    Column("max_cores", Float),
    Column("max_memory_mib", Integer),
    comment="Limits of single people where they differ from the site's; an empty column means the site's.",
)
