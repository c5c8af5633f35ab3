"""Keep fewer indexes of spans: their key finds those of a trace, and few spans join another.

Revises: 4b1f0c2a9d37
"""

import sqlalchemy as sa
from alembic import op

revision = "7d2e91c4b8a6"
down_revision = "4b1f0c2a9d37"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_spans_trace_id_start_ns", table_name="spans")
    op.drop_index("ix_spans_joins", table_name="spans")
    op.create_index(
        "ix_spans_joins", "spans", ["joins"], unique=False, postgresql_where=sa.text("joins IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_spans_joins", table_name="spans", postgresql_where=sa.text("joins IS NOT NULL"))
    op.create_index("ix_spans_joins", "spans", ["joins"], unique=False)
    op.create_index("ix_spans_trace_id_start_ns", "spans", ["trace_id", "start_ns", "span_id"], unique=False)
