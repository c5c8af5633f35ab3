"""Tables of auth. Imported by `store` and the migrations only."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, ForeignKey, Index, Integer, String, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from datalabs_runtime.tables import ServiceBase


class Base(ServiceBase):
    """Tables of auth, with outbox, inbox and leases."""


people = Table(
    "people",
    Base.metadata,
    Column("id", String(32), primary_key=True),
    Column("username", String(32), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("roles", ARRAY(String(16)), nullable=False),
    Column("uid", BigInteger, nullable=False, unique=True),
    Column("active", Boolean, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

uids = Table(
    "uids",
    Base.metadata,
    Column("name", String(16), primary_key=True),
    Column("next_uid", BigInteger, nullable=False, comment="Only grows: a uid is never given twice."),
)

sessions = Table(
    "sessions",
    Base.metadata,
    Column("id", String(32), primary_key=True),
    Column("secret_sha256", String(64), nullable=False, unique=True),
    Column("person_id", String(32), ForeignKey("people.id"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("last_seen_at", DateTime(timezone=True), nullable=False),
    Column("ended_at", DateTime(timezone=True)),
    Column("revision", BigInteger, nullable=False),
    Index("ix_sessions_person_id", "person_id"),
    Index("ix_sessions_ended_at", "ended_at"),
)

brakes = Table(
    "brakes",
    Base.metadata,
    Column("key", String(64), primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("failed_at", DateTime(timezone=True)),
    Column("blocked_until", DateTime(timezone=True)),
    Column("trusted_at", DateTime(timezone=True)),
)
