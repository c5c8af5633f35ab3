"""The gateway's tables: entries to labs' origins and remembered requests; secrets only as hashes."""

from datetime import datetime

from sqlalchemy import DateTime, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from datalabs_runtime.tables import NAMING


class Base(DeclarativeBase):
    """Tables of the gateway; it publishes no facts and consumes none durably, so it has no outbox and no inbox."""

    metadata = MetaData(naming_convention=NAMING)


class LabSessionRow(Base):
    """A browser that was let in to one lab's origin."""

    __tablename__ = "lab_sessions"

    secret_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    lab_id: Mapped[str] = mapped_column(String(16))
    username: Mapped[str] = mapped_column(String(64))
    session_id: Mapped[str] = mapped_column(String(64), index=True)
    session_sha256: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class EntryCodeRow(Base):
    """A one-time code; its row goes with its use."""

    __tablename__ = "entry_codes"

    code_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    lab_id: Mapped[str] = mapped_column(String(16))
    username: Mapped[str] = mapped_column(String(64))
    session_id: Mapped[str] = mapped_column(String(64), index=True)
    session_sha256: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


class RememberedRow(Base):
    """A request with an idempotency key and its answer; `reply` is null while it is under way."""

    __tablename__ = "remembered_requests"

    key_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    reply: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)
