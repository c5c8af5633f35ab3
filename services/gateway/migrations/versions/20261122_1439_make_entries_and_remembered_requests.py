"""Make entries and remembered requests.

Revises:
"""

import sqlalchemy as sa
from alembic import op

revision = "fe918cfc8dce"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "entry_codes",
        sa.Column("code_sha256", sa.String(length=64), nullable=False),
        sa.Column("lab_id", sa.String(length=16), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("session_sha256", sa.String(length=64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("code_sha256", name=op.f("pk_entry_codes")),
    )
    op.create_index(op.f("ix_entry_codes_expires_at"), "entry_codes", ["expires_at"], unique=False)
    op.create_index(op.f("ix_entry_codes_session_id"), "entry_codes", ["session_id"], unique=False)
    op.create_table(
        "lab_sessions",
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("lab_id", sa.String(length=16), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("session_id", sa.String(length=64), nullable=False),
        sa.Column("session_sha256", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("secret_sha256", name=op.f("pk_lab_sessions")),
    )
    op.create_index(op.f("ix_lab_sessions_expires_at"), "lab_sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_lab_sessions_session_id"), "lab_sessions", ["session_id"], unique=False)
    op.create_table(
        "remembered_requests",
        sa.Column("key_sha256", sa.String(length=64), nullable=False),
        sa.Column("body_sha256", sa.String(length=64), nullable=False),
        sa.Column("reply", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key_sha256", name=op.f("pk_remembered_requests")),
    )
    op.create_index(
        op.f("ix_remembered_requests_created_at"), "remembered_requests", ["created_at"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_remembered_requests_created_at"), table_name="remembered_requests")
    op.drop_table("remembered_requests")
    op.drop_index(op.f("ix_lab_sessions_session_id"), table_name="lab_sessions")
    op.drop_index(op.f("ix_lab_sessions_expires_at"), table_name="lab_sessions")
    op.drop_table("lab_sessions")
    op.drop_index(op.f("ix_entry_codes_session_id"), table_name="entry_codes")
    op.drop_index(op.f("ix_entry_codes_expires_at"), table_name="entry_codes")
    op.drop_table("entry_codes")
