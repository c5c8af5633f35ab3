"""Make the event history, spans, traces, dead letters and shelves.

Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from datalabs_runtime.messaging_tables import drop_messaging_tables, make_messaging_tables

revision = "c060164056c5"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letters")),
    )
    op.create_index("ix_dead_letters_time_id", "dead_letters", ["time", "id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("entity_id", sa.Text(), nullable=False),
        sa.Column("fact", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("trace_id", sa.String(length=32), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_entity_fact_time", "events", ["entity", "fact", "time"], unique=False)
    op.create_index("ix_events_entity_id_time", "events", ["entity_id", "time"], unique=False)
    op.create_index("ix_events_owner_time", "events", ["owner", "time"], unique=False)
    op.create_index("ix_events_time_id", "events", ["time", "id"], unique=False)
    op.create_index("ix_events_trace_id", "events", ["trace_id"], unique=False)
    make_messaging_tables()
    op.create_table(
        "shelves",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_shelves")),
        comment="How many bytes lie in a table, counted as rows come and go: a table's file never shrinks by itself.",
    )
    op.create_table(
        "spans",
        sa.Column("trace_id", sa.String(length=32), nullable=False),
        sa.Column("span_id", sa.String(length=16), nullable=False),
        sa.Column(
            "joins",
            sa.String(length=32),
            nullable=True,
            comment="The launch's trace that this span of another trace belongs to.",
        ),
        sa.Column("parent_id", sa.String(length=16), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("status_message", sa.Text(), nullable=False),
        sa.Column("attributes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("events", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("trace_id", "span_id", name=op.f("pk_spans")),
    )
    op.create_index("ix_spans_joins", "spans", ["joins"], unique=False)
    op.create_index("ix_spans_trace_id_start_ns", "spans", ["trace_id", "start_ns", "span_id"], unique=False)
    op.create_table(
        "traces",
        sa.Column("trace_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column(
            "rooted", sa.Boolean(), nullable=False, comment="Whether name and service are the root span's."
        ),
        sa.Column("start_ns", sa.BigInteger(), nullable=False),
        sa.Column("end_ns", sa.BigInteger(), nullable=False),
        sa.Column("spans", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column("lab_id", sa.Text(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("trace_id", name=op.f("pk_traces")),
        comment="One row a trace, kept up to date with its spans, so that lists read no spans.",
    )
    op.create_index("ix_traces_lab_id_start_ns", "traces", ["lab_id", "start_ns"], unique=False)
    op.create_index("ix_traces_start_ns_trace_id", "traces", ["start_ns", "trace_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_traces_start_ns_trace_id", table_name="traces")
    op.drop_index("ix_traces_lab_id_start_ns", table_name="traces")
    op.drop_table("traces")
    op.drop_index("ix_spans_trace_id_start_ns", table_name="spans")
    op.drop_index("ix_spans_joins", table_name="spans")
    op.drop_table("spans")
    op.drop_table("shelves")
    drop_messaging_tables()
    op.drop_index("ix_events_trace_id", table_name="events")
    op.drop_index("ix_events_time_id", table_name="events")
    op.drop_index("ix_events_owner_time", table_name="events")
    op.drop_index("ix_events_entity_id_time", table_name="events")
    op.drop_index("ix_events_entity_fact_time", table_name="events")
    op.drop_table("events")
    op.drop_index("ix_dead_letters_time_id", table_name="dead_letters")
    op.drop_table("dead_letters")
