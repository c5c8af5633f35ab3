"""Tables of the observer. Imported by `store` and the migrations only."""

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Integer, String, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from datalabs_runtime.tables import ServiceBase


class Base(ServiceBase):
    """Tables of the observer, with outbox, inbox and leases."""


events = Table(
    "events",
    Base.metadata,
    Column("id", String(64), primary_key=True),
    Column("type", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("entity_id", Text, nullable=False),
    Column("fact", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("owner", Text),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("trace_id", String(32)),
    Column("data", JSONB, nullable=False),
    Column("bytes", Integer, nullable=False),
    Index("ix_events_time_id", "time", "id"),
    Index("ix_events_entity_fact_time", "entity", "fact", "time"),
    Index("ix_events_entity_id_time", "entity_id", "time"),
    Index("ix_events_owner_time", "owner", "time"),
    Index("ix_events_trace_id", "trace_id"),
)

spans = Table(
    "spans",
    Base.metadata,
    Column("trace_id", String(32), primary_key=True),
    Column("span_id", String(16), primary_key=True),
    Column("joins", String(32), comment="The launch's trace that this span of another trace belongs to."),
    Column("parent_id", String(16)),
    Column("name", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("service", Text, nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("status", String(8), nullable=False),
    Column("status_message", Text, nullable=False),
    Column("attributes", JSONB, nullable=False),
    Column("events", JSONB, nullable=False),
    Column("bytes", Integer, nullable=False),
    Index("ix_spans_joins", "joins", postgresql_where=text("joins IS NOT NULL")),
    Index("ix_spans_name_trace_id", "name", "trace_id"),
)

traces = Table(
    "traces",
    Base.metadata,
    Column("trace_id", String(32), primary_key=True),
    Column("name", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("rooted", Boolean, nullable=False, comment="Whether name and service are the root span's."),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("spans", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("lab_id", Text),
    Column("bytes", BigInteger, nullable=False),
    Index("ix_traces_start_ns_trace_id", "start_ns", "trace_id"),
    Index("ix_traces_lab_id_start_ns", "lab_id", "start_ns"),
    comment="One row a trace, kept up to date with its spans, so that lists read no spans.",
)

dead_letters = Table(
    "dead_letters",
    Base.metadata,
    Column("id", String(32), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("subject", Text, nullable=False),
    Column("consumer", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("time", DateTime(timezone=True), nullable=False),
    Column("state", String(16), nullable=False),
    Column("data", Text, nullable=False),
    Column("headers", JSONB, nullable=False),
    Index("ix_dead_letters_time_id", "time", "id"),
)

shelves = Table(
    "shelves",
    Base.metadata,
    Column("name", String(16), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    comment="How many bytes lie in a table, counted as rows come and go: a table's file never shrinks by itself.",
)
