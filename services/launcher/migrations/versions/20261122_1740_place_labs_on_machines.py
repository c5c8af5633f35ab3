"""Place labs on machines, keep their files for a time, give people rules of their own."""

import sqlalchemy as sa
from alembic import op

revision = "20261122_1740"
down_revision = "1ac8a5d24839"
branch_labels = None
depends_on = None

LABS = "labs"
WAIT_REASONS = (
    "capacity", "own_limit", "reserved", "no_machine", "cluster_away", "accounting_away", "turn",
)  # fmt: skip
GIVEN = (
    ("gpus", sa.Integer(), "0"),
    ("priority", sa.Integer(), "50"),
    ("passes", sa.Integer(), "0"),
    ("idle_minutes", sa.Integer(), "0"),
    ("files_released", sa.Boolean(), "false"),
)
"""Columns that every lab has, with what the labs that are there get."""


def upgrade() -> None:
    for name, kind, given in GIVEN:
        op.add_column(LABS, sa.Column(name, kind, nullable=False, server_default=sa.text(given)))
        op.alter_column(LABS, name, server_default=None)
    moment = sa.DateTime(timezone=True)
    for column in (
        sa.Column("gpu_name", sa.String(length=128)),
        sa.Column("node_class", sa.String(length=128)),
        sa.Column("place", sa.String(length=255)),
        sa.Column("reserved_place", sa.String(length=255)),
        sa.Column("wait_reason", sa.Enum(*WAIT_REASONS, name="waitreason", native_enum=False, length=32)),
        sa.Column("expected_start_at", moment),
        sa.Column("lifetime_seconds", sa.Float()),
        sa.Column("kept_until", moment),
        sa.Column("files_kept_until", moment),
    ):
        op.add_column(LABS, column)
    op.execute(
        "UPDATE labs SET idle_minutes = coalesce((specification_document #>> '{idle,minutes}')::int, 0)"
    )
    op.create_index(
        "labs_with_files",
        LABS,
        ["files_kept_until"],
        unique=False,
        postgresql_where=sa.text("files_kept_until IS NOT NULL"),
    )
    op.create_table(
        "run_times",
        sa.Column("lab_id", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("datalab", sa.String(length=64), nullable=False),
        sa.Column("version", sa.String(length=64), nullable=False),
        sa.Column("size", sa.String(length=32), nullable=False),
        sa.Column("ended_at", moment, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("lab_id", "attempt", name=op.f("pk_run_times")),
    )
    op.create_index(
        "run_times_recent",
        "run_times",
        ["datalab", "version", "size", sa.text("ended_at DESC")],
        unique=False,
    )
    op.create_table(
        "policies",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("idle_minutes", sa.Integer(), nullable=True),
        sa.Column("lifetime_seconds", sa.Float(), nullable=True),
        sa.Column("keep_seconds", sa.Float(), nullable=True),
        sa.Column("changed_at", moment, nullable=False),
        sa.Column("changed_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_policies")),
    )


def downgrade() -> None:
    op.drop_table("policies")
    op.drop_index("run_times_recent", table_name="run_times")
    op.drop_table("run_times")
    op.drop_index("labs_with_files", table_name=LABS)
    for name in (
        "files_kept_until", "kept_until", "lifetime_seconds", "expected_start_at", "wait_reason", "reserved_place",
        "place", "node_class", "gpu_name", "files_released", "idle_minutes", "passes", "priority", "gpus",
    ):  # fmt: skip
        op.drop_column(LABS, name)
