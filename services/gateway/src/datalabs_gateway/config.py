"""The gateway's settings."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from datalabs_runtime.settings import Settings

_ROOT = Path(__file__).resolve().parents[4]
"""The repository, seen from this file in a source tree; an installation names its folders in the settings."""


class GatewaySettings(Settings):
    """What the public door allows and where its files are."""

    section: ClassVar[str] = "gateway"

    dashboard_folder: Path = Field(
        default=_ROOT / "dashboard" / "dist", description="The built dashboard: index.html and its assets."
    )
    documents_folder: Path = Field(
        default=_ROOT / "docs", description="Folder of openapi.gen.json and asyncapi.gen.json."
    )
    max_body_bytes: int = Field(
        default=1024 * 1024, gt=0, description="A larger request body is refused unread."
    )
    session_cache_seconds: float = Field(
        default=30, gt=0, le=30, description="How long a session is believed without asking auth."
    )
    lab_token_seconds: int = Field(
        default=45,
        gt=0,
        le=60,
        description="Life of the edge's token; with lab_session_check_seconds the bound of a sign-out.",
    )
    lab_session_check_seconds: float = Field(
        default=15, ge=0, description="How old the knowledge of a session may be when a lab token is made."
    )
    lab_session_seconds: float = Field(
        default=7 * 86400, gt=0, description="How long a browser stays let in to a lab."
    )
    entry_code_seconds: float = Field(
        default=60, gt=0, le=60, description="How long the code of an opened lab can be used."
    )
    reads_per_second: float = Field(
        default=2500, gt=0, description="Reads a person may make each second; twice that in a burst."
    )
    writes_per_second: float = Field(
        default=50, gt=0, description="Changes a person may make each second; five times that in a burst."
    )
    launches_per_ten_seconds: float = Field(
        default=100, gt=0, description="Launches a person may ask for in ten seconds."
    )
    strangers_per_second: float = Field(
        default=50, gt=0, description="Requests without a session from one address each second."
    )
    events_ring_seconds: float = Field(
        default=600, gt=0, description="How long a live event can be had again by Last-Event-ID."
    )
    events_ring_length: int = Field(
        default=5000, gt=0, description="How many live events are kept for one person at most."
    )
    events_heartbeat_seconds: float = Field(
        default=15, gt=0, description="Silence after which an event stream sends a comment."
    )
    ended_labs_in_memory: int = Field(
        default=5000, ge=0, description="Ended labs kept in memory; older ones are asked of the launcher."
    )
    telemetry_max_bytes: int = Field(
        default=256 * 1024, gt=0, description="The largest body of spans that is taken."
    )
    telemetry_per_second: float = Field(
        default=10, gt=0, description="Bodies of spans a sender may post each second."
    )
