"""Make volumes starters and collections.

Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from datalabs_runtime.messaging_tables import drop_messaging_tables, make_messaging_tables

revision = "1c019308a0bf"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "collections",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("collection", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("available", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collections")),
    )
    make_messaging_tables()
    op.create_table(
        "starters",
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column(
            "folder",
            sa.String(length=255),
            nullable=False,
            comment="The folder of the home that took the file.",
        ),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", "folder", "path", name=op.f("pk_starters")),
    )
    op.create_table(
        "volumes",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("owner", sa.String(length=32), nullable=False),
        sa.Column(
            "name", sa.String(length=64), nullable=False, comment="`home`, or the lab's id for a scratch."
        ),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("used_bytes", sa.BigInteger(), nullable=True),
        sa.Column("quota_bytes", sa.BigInteger(), nullable=True),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volumes")),
    )
    op.create_index("ix_volumes_owner", "volumes", ["owner"], unique=False)
    op.create_index(
        "uq_volumes_home", "volumes", ["owner"], unique=True, postgresql_where=sa.text("kind = 'home'")
    )
    op.create_index(
        "uq_volumes_scratch", "volumes", ["name"], unique=True, postgresql_where=sa.text("kind = 'scratch'")
    )


def downgrade() -> None:
    op.drop_index("uq_volumes_scratch", table_name="volumes", postgresql_where=sa.text("kind = 'scratch'"))
    op.drop_index("uq_volumes_home", table_name="volumes", postgresql_where=sa.text("kind = 'home'"))
    op.drop_index("ix_volumes_owner", table_name="volumes")
    op.drop_table("volumes")
    op.drop_table("starters")
    drop_messaging_tables()
    op.drop_table("collections")
