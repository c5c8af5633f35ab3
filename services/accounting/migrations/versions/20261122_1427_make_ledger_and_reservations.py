"""Make the ledger, running attempts, reservations and overrides.

Revises:
"""

import sqlalchemy as sa
from alembic import op

from datalabs_runtime.messaging_tables import drop_messaging_tables, make_messaging_tables

revision = "968bc3f49542"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    make_messaging_tables()
    op.create_table(
        "ledger",
        sa.Column("lab_id", sa.String(length=10), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("datalab", sa.String(length=63), nullable=False),
        sa.Column("size", sa.String(length=32), nullable=False),
        sa.Column("cores", sa.Float(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("ended_at >= started_at", name=op.f("ck_ledger_ends_after_start")),
        sa.PrimaryKeyConstraint("lab_id", "attempt", name=op.f("pk_ledger")),
        comment="Append-only: a trigger refuses every change of an entry.",
    )
    op.create_index("ix_ledger_owner_started_at", "ledger", ["owner", "started_at"], unique=False)
    op.create_index("ix_ledger_started_at", "ledger", ["started_at"], unique=False)
    op.create_table(
        "overrides",
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("unlimited", sa.Boolean(), nullable=False),
        sa.Column("max_labs", sa.Integer(), nullable=True),
        sa.Column("max_cores", sa.Float(), nullable=True),
        sa.Column("max_memory_mib", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_overrides")),
        comment="Limits of single people where they differ from the site's; an empty column means the site's.",
    )
    op.create_table(
        "reservations",
        sa.Column("lab_id", sa.String(length=10), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("labs", sa.Integer(), nullable=False),
        sa.Column("cores", sa.Float(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("lab_id", "attempt", name=op.f("pk_reservations")),
    )
    op.create_index("ix_reservations_owner", "reservations", ["owner"], unique=False)
    op.create_table(
        "running",
        sa.Column("lab_id", sa.String(length=10), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("datalab", sa.String(length=63), nullable=False),
        sa.Column("size", sa.String(length=32), nullable=False),
        sa.Column("cores", sa.Float(), nullable=False),
        sa.Column("memory_mib", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lab_id", "attempt", name=op.f("pk_running")),
        comment="Attempts whose end is not known yet; they move to the ledger.",
    )
    op.create_index("ix_running_owner", "running", ["owner"], unique=False)
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the ledger is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def downgrade() -> None:
    op.drop_index("ix_running_owner", table_name="running")
    op.drop_table("running")
    op.drop_index("ix_reservations_owner", table_name="reservations")
    op.drop_table("reservations")
    op.drop_table("overrides")
    drop_messaging_tables()
    op.drop_index("ix_ledger_started_at", table_name="ledger")
    op.drop_index("ix_ledger_owner_started_at", table_name="ledger")
    op.drop_table("ledger")
    op.execute("DROP FUNCTION refuse_change()")
