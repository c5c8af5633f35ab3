"""Find traces by the name of one of their spans.

Revises: c060164056c5
"""

from alembic import op

revision = "4b1f0c2a9d37"
down_revision = "c060164056c5"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_spans_name_trace_id", "spans", ["name", "trace_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_spans_name_trace_id", table_name="spans")
