"""Tables of storage. Imported by `store` and the migrations only."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, String, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from datalabs_runtime.tables import ServiceBase


class Base(ServiceBase):
    """Tables of storage, with outbox, inbox and leases."""


volumes = Table(
    "volumes",
    Base.metadata,
    Column("id", String(16), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("owner", String(32), nullable=False),
    Column("name", String(64), nullable=False, comment="`home`, or the lab's id for a scratch."),
    Column("uid", BigInteger, nullable=False),
    Column("used_bytes", BigInteger),
    Column("quota_bytes", BigInteger),
    Column("measured_at", DateTime(timezone=True)),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("released_at", DateTime(timezone=True)),
    Index("uq_volumes_home", "owner", unique=True, postgresql_where=text("kind = 'home'")),
    Index("uq_volumes_scratch", "name", unique=True, postgresql_where=text("kind = 'scratch'")),
    Index("ix_volumes_owner", "owner"),
)

starters = Table(
    "starters",
    Base.metadata,
    Column("owner", String(32), primary_key=True),
    Column("folder", String(255), primary_key=True, comment="The folder of the home that took the file."),
    Column("path", Text, primary_key=True),
    Column("given_at", DateTime(timezone=True), nullable=False),
)

collections = Table(
    "collections",
    Base.metadata,
    Column("id", String(64), primary_key=True),
    Column("collection", JSONB, nullable=False),
    Column("available", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("withdrawn_at", DateTime(timezone=True)),
)
