"""Make labs, attempts, transitions, addresses and environments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from datalabs_runtime.messaging_tables import drop_messaging_tables, make_messaging_tables

revision = "1ac8a5d24839"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("address_ring")))
    op.create_table(
        "addresses",
        sa.Column("port", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("lab_id", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("port", name=op.f("pk_addresses")),
    )
    op.create_index("addresses_of_attempt", "addresses", ["lab_id", "attempt"], unique=True)
    op.create_table(
        "attempts",
        sa.Column("lab_id", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("traceparent", sa.String(length=64), nullable=True),
        sa.Column("steps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("log_lines", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("log_truncated", sa.Boolean(), nullable=False),
        sa.Column("traced", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("lab_id", "attempt", name=op.f("pk_attempts")),
    )
    op.create_index("attempts_job", "attempts", ["job_id"], unique=True)
    op.create_index(
        "attempts_untraced", "attempts", ["lab_id"], unique=False, postgresql_where=sa.text("NOT traced")
    )
    op.create_table(
        "environments",
        sa.Column("datalab", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column(
            "runtime",
            sa.Enum("process", "container", "vm", name="runtime", native_enum=False, length=32),
            nullable=True,
        ),
        sa.Column(
            "state",
            sa.Enum(
                "waiting",
                "preparing",
                "ready",
                "failed",
                "unavailable",
                name="readinessstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("fraction", sa.Double(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("specification_document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("datalab", "version", name=op.f("pk_environments")),
    )
    make_messaging_tables()
    op.create_table(
        "labs",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("owner_uid", sa.Integer(), nullable=False),
        sa.Column("unlimited", sa.Boolean(), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("datalab", sa.String(length=64), nullable=False),
        sa.Column("datalab_title", sa.String(length=255), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("notebook", "web", "desktop", "batch", name="kind", native_enum=False, length=32),
            nullable=False,
        ),
        sa.Column(
            "runtime",
            sa.Enum("process", "container", "vm", name="runtime", native_enum=False, length=32),
            nullable=True,
        ),
        sa.Column("size", sa.String(length=32), nullable=False),
        sa.Column("cores", sa.Double(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("disk_mib", sa.Integer(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("collections", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("volumes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("specification_document", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=True),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "preparing",
                "starting",
                "ready",
                "unreachable",
                "stopping",
                "stopped",
                "failed",
                name="labstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("phase", sa.String(length=32), nullable=False),
        sa.Column("progress_fraction", sa.Double(), nullable=True),
        sa.Column("progress_text", sa.String(), nullable=False),
        sa.Column(
            "reason",
            sa.Enum(
                "completed",
                "stopped_by_user",
                "stopped_by_operator",
                "idle",
                "expired",
                "quota_exceeded",
                "no_capacity",
                "image_unavailable",
                "volume_unavailable",
                "start_timeout",
                "out_of_memory",
                "disk_full",
                "pids_exceeded",
                "crashed",
                "node_lost",
                "preempted",
                "launcher_error",
                name="reason",
                native_enum=False,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("signal", sa.Integer(), nullable=True),
        sa.Column("last_lines", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("queue_position", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_active_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("noticed_minutes", sa.Integer(), nullable=True),
        sa.Column("traceparent", sa.String(length=64), nullable=True),
        sa.Column("job_id", sa.String(length=64), nullable=True),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("intended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("submitted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("host", sa.String(length=64), nullable=True),
        sa.Column("host_port", sa.Integer(), nullable=True),
        sa.Column("node", sa.String(length=128), nullable=True),
        sa.Column("state_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("phase_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("delete_requested", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_by", sa.String(length=128), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labs")),
    )
    op.create_index(
        "labs_alive",
        "labs",
        ["state", "due_at"],
        unique=False,
        postgresql_where=sa.text("state NOT IN ('stopped', 'failed')"),
    )
    op.create_index("labs_idempotency", "labs", ["owner", "idempotency_key"], unique=True)
    op.create_index(
        "labs_newest",
        "labs",
        [sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_index(
        "labs_of_owner",
        "labs",
        ["owner", sa.literal_column("created_at DESC"), sa.literal_column("id DESC")],
        unique=False,
    )
    op.create_table(
        "launch_times",
        sa.Column("lab_id", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("datalab", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("size", sa.String(length=32), nullable=False),
        sa.Column("ready_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("phases", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("lab_id", "attempt", name=op.f("pk_launch_times")),
    )
    op.create_index(
        "launch_times_recent",
        "launch_times",
        ["datalab", "version", "size", sa.literal_column("ready_at DESC")],
        unique=False,
    )
    op.create_table(
        "transitions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("lab_id", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "queued",
                "preparing",
                "starting",
                "ready",
                "unreachable",
                "stopping",
                "stopped",
                "failed",
                name="labstate",
                native_enum=False,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("phase", sa.String(length=32), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column(
            "reason",
            sa.Enum(
                "completed",
                "stopped_by_user",
                "stopped_by_operator",
                "idle",
                "expired",
                "quota_exceeded",
                "no_capacity",
                "image_unavailable",
                "volume_unavailable",
                "start_timeout",
                "out_of_memory",
                "disk_full",
                "pids_exceeded",
                "crashed",
                "node_lost",
                "preempted",
                "launcher_error",
                name="reason",
                native_enum=False,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transitions")),
    )
    op.create_index("transitions_of_attempt", "transitions", ["lab_id", "attempt", "id"], unique=False)


def downgrade() -> None:
    op.execute(sa.schema.DropSequence(sa.Sequence("address_ring")))
    op.drop_index("transitions_of_attempt", table_name="transitions")
    op.drop_table("transitions")
    drop_messaging_tables()
    op.drop_index("launch_times_recent", table_name="launch_times")
    op.drop_table("launch_times")
    op.drop_index("labs_of_owner", table_name="labs")
    op.drop_index("labs_newest", table_name="labs")
    op.drop_index("labs_idempotency", table_name="labs")
    op.drop_index(
        "labs_alive", table_name="labs", postgresql_where=sa.text("state NOT IN ('stopped', 'failed')")
    )
    op.drop_table("labs")
    op.drop_table("environments")
    op.drop_index("attempts_untraced", table_name="attempts", postgresql_where=sa.text("NOT traced"))
    op.drop_index("attempts_job", table_name="attempts")
    op.drop_table("attempts")
    op.drop_index("addresses_of_attempt", table_name="addresses")
    op.drop_table("addresses")
