"""Make datalabs versions and launches.

Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from datalabs_runtime.messaging_tables import drop_messaging_tables, make_messaging_tables

revision = "c5428a435679"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "collections",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("collection", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_collections")),
    )
    op.create_table(
        "datalabs",
        sa.Column("slug", sa.String(length=64), nullable=False),
        sa.Column("root", sa.Text(), nullable=False, comment="The content folder it comes from."),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column(
            "digest", sa.String(length=64), nullable=False, comment="Of the folder as it was imported last."
        ),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column(
            "sort_title",
            sa.Text(collation="C"),
            nullable=False,
            comment="Folded; what hits of one rank sort by.",
        ),
        sa.Column("abstract", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("mission", sa.Text(), nullable=False),
        sa.Column("keywords", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("licence", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("creator", sa.Text(), nullable=False),
        sa.Column("contact", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("citation", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("funder", sa.Text(), nullable=False),
        sa.Column("icon", sa.Text(), nullable=False),
        sa.Column("icon_digest", sa.String(length=64), nullable=False),
        sa.Column("latest_version", sa.String(length=64), nullable=False),
        sa.Column("people", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("search", postgresql.TSVECTOR(), nullable=False),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_datalabs")),
    )
    op.create_index("ix_datalabs_search", "datalabs", ["search"], unique=False, postgresql_using="gin")
    op.create_index("ix_datalabs_sort_title", "datalabs", ["sort_title", "slug"], unique=False)
    op.create_table(
        "import_problems",
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("folder", name=op.f("pk_import_problems")),
    )
    make_messaging_tables()
    op.create_table(
        "launches",
        sa.Column("datalab", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=32), nullable=False),
        sa.Column("first_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["datalab"], ["datalabs.slug"], name=op.f("fk_launches_datalab_datalabs")),
        sa.PrimaryKeyConstraint("datalab", "username", name=op.f("pk_launches")),
    )
    op.create_table(
        "versions",
        sa.Column("datalab", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("specification", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["datalab"], ["datalabs.slug"], name=op.f("fk_versions_datalab_datalabs")),
        sa.PrimaryKeyConstraint("datalab", "name", name=op.f("pk_versions")),
    )


def downgrade() -> None:
    op.drop_table("versions")
    op.drop_table("launches")
    drop_messaging_tables()
    op.drop_table("import_problems")
    op.drop_index("ix_datalabs_sort_title", table_name="datalabs")
    op.drop_index("ix_datalabs_search", table_name="datalabs", postgresql_using="gin")
    op.drop_table("datalabs")
    op.drop_table("collections")
