"""Tables of the catalogue. Imported by `store` and the migrations only."""

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, Index, Integer, String, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR

from datalabs_runtime.tables import ServiceBase


class Base(ServiceBase):
    """Tables of the catalogue, with outbox, inbox and leases."""


datalabs = Table(
    "datalabs",
    Base.metadata,
    Column("slug", String(64), primary_key=True),
    Column("root", Text, nullable=False, comment="The content folder it comes from."),
    Column("folder", Text, nullable=False),
    Column("digest", String(64), nullable=False, comment="Of the folder as it was imported last."),
    Column("title", Text, nullable=False),
    Column(
        "sort_title", Text(collation="C"), nullable=False, comment="Folded; what hits of one rank sort by."
    ),
    Column("abstract", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("domain", Text, nullable=False),
    Column("mission", Text, nullable=False),
    Column("keywords", ARRAY(Text), nullable=False),
    Column("licence", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("contact", JSONB, nullable=False),
    Column("citation", JSONB(none_as_null=True)),
    Column("funder", Text, nullable=False),
    Column("icon", Text, nullable=False),
    Column("icon_digest", String(64), nullable=False),
    Column("latest_version", String(64), nullable=False),
    Column("people", Integer, nullable=False, server_default=text("0")),
    Column("revision", BigInteger, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Column("withdrawn_at", DateTime(timezone=True)),
    Column("search", TSVECTOR, nullable=False),
    Index("ix_datalabs_search", "search", postgresql_using="gin"),
    Index("ix_datalabs_sort_title", "sort_title", "slug"),
)

versions = Table(
    "versions",
    Base.metadata,
    Column("datalab", String(64), ForeignKey("datalabs.slug"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("specification", JSONB, nullable=False),
    Column("published_at", DateTime(timezone=True), nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)

launches = Table(
    "launches",
    Base.metadata,
    Column("datalab", String(64), ForeignKey("datalabs.slug"), primary_key=True),
    Column("username", String(32), primary_key=True),
    Column("first_at", DateTime(timezone=True), nullable=False),
)

import_problems = Table(
    "import_problems",
    Base.metadata,
    Column("folder", Text, primary_key=True),
    Column("problem", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
)

collections = Table(
    "collections",
    Base.metadata,
    Column("id", String(64), primary_key=True),
    Column("collection", JSONB, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
