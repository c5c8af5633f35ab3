"""What comes with every launch, for many at once: reservations, and the starts of attempts.

These statements go straight to PostgreSQL (`datalabs_runtime.direct`) and work within the caller's transaction. Lists
travel as one JSON document, so that a statement's text is the same for every length.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from datalabs_accounting.models import Attempt, Holding, Override, Reservation
from datalabs_contracts.labs import Amounts
from datalabs_contracts.usage import Reserve
from datalabs_runtime.direct import Connection, Direct

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(word, 0)) FROM unnest(%(words)s::text[]) AS word"

_HOLDINGS = """
    SELECT asked.owner, held.labs, held.cores, held.memory_mib,
        own.unlimited, own.max_labs, own.max_cores, own.max_memory_mib
    FROM unnest(%(owners)s::text[]) AS asked(owner)
    LEFT JOIN overrides AS own ON own.owner = asked.owner
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(labs), 0) AS labs, coalesce(sum(cores), 0) AS cores,
            coalesce(sum(memory_mib), 0) AS memory_mib
        FROM reservations WHERE reservations.owner = asked.owner
    ) AS held
"""

_HELD = """
    SELECT lab_id, attempt FROM reservations
    WHERE (lab_id, attempt) IN (SELECT * FROM unnest(%(labs)s::text[], %(attempts)s::int[]))
"""

_HOLD = """
    INSERT INTO reservations (lab_id, attempt, owner, labs, cores, memory_mib, confirmed_at)
    SELECT lab_id, attempt, owner, labs, cores, memory_mib, %(at)s
    FROM json_to_recordset(%(asked)s::json) AS asked(
        lab_id text, attempt int, owner text, labs int, cores float8, memory_mib int
    )
    ON CONFLICT (lab_id, attempt) DO UPDATE SET confirmed_at = excluded.confirmed_at
"""

# An event twice in one batch is one inbox row, and of several facts of one attempt the newest is written: a statement
# may not change a row twice. Data-modifying WITH clauses see the same snapshot, so the ledger is as it was before.
_START = """
    WITH told AS (
        SELECT * FROM json_to_recordset(%(starts)s::json) AS told(
            event_id text, lab_id text, attempt int, owner text, name text, datalab text, size text,
            cores float8, memory_mib int, started_at timestamptz, revision bigint
        )
    ), fresh AS (
        INSERT INTO inbox (consumer, event_id) SELECT %(consumer)s, event_id FROM told
        ON CONFLICT DO NOTHING RETURNING event_id
    ), newest AS (
        SELECT DISTINCT ON (lab_id, attempt) told.* FROM told JOIN fresh USING (event_id)
        WHERE NOT EXISTS (
            SELECT FROM ledger WHERE ledger.lab_id = told.lab_id AND ledger.attempt = told.attempt
        )
        ORDER BY lab_id, attempt, revision DESC
    )
    INSERT INTO running
        (lab_id, attempt, owner, name, datalab, size, cores, memory_mib, started_at, revision)
    SELECT lab_id, attempt, owner, name, datalab, size, cores, memory_mib, started_at, revision FROM newest
    ON CONFLICT (lab_id, attempt) DO UPDATE SET
        owner = excluded.owner, name = excluded.name, datalab = excluded.datalab, size = excluded.size,
        cores = excluded.cores, memory_mib = excluded.memory_mib, started_at = excluded.started_at,
        revision = excluded.revision
    WHERE running.revision < excluded.revision
"""


def attempt_word(lab_id: str, attempt: int) -> str:
    """Return what to lock while an attempt's start or end is written."""
    return f"attempt:{lab_id}:{attempt}"


def owner_word(owner: str) -> str:
    """Return what to lock while somebody's limits are counted."""
    return f"owner:{owner}"


async def lock(connection: Connection, words: Collection[str]) -> None:
    """Let transactions that lock a word go one after the other; always in the same order, so none wait crosswise."""
    if words:
        await connection.execute(_LOCK, {"words": sorted(words)})


async def held_of(
    connection: Connection, owners: Collection[str], keys: Collection[Reservation]
) -> tuple[dict[str, Holding], set[Reservation]]:
    """Return what owners hold and what may differ from the default, and which of these attempts hold already."""
    asked = {"labs": [key.lab_id for key in keys], "attempts": [key.attempt for key in keys]}
    holdings = await connection.execute(_HOLDINGS, {"owners": list(owners)})
    held = await connection.execute(_HELD, asked)
    return (
        {row.owner: _holding(row) for row in await holdings.fetchall()},
        {Reservation(lab_id=row.lab_id, attempt=row.attempt) for row in await held.fetchall()},
    )


def _holding(row: Any) -> Holding:
    return Holding(
        used=Amounts(labs=row.labs, cores=row.cores, memory_mib=row.memory_mib),
        override=Override(
            unlimited=bool(row.unlimited),
            labs=row.max_labs,
            cores=row.max_cores,
            memory_mib=row.max_memory_mib,
        ),
    )


async def hold(connection: Connection, requests: Sequence[Reserve], *, at: datetime) -> None:
    """Write reservations down, or confirm those that stand; each attempt may be there once."""
    if not requests:
        return
    rows = [
        {
            "lab_id": request.lab_id,
            "attempt": request.attempt,
            "owner": request.owner,
            "labs": request.amounts.labs,
            "cores": request.amounts.cores,
            "memory_mib": request.amounts.memory_mib,
        }
        for request in requests
    ]
    await connection.execute(_HOLD, {"asked": json.dumps(rows), "at": at})


async def start_attempts(direct: Direct, starts: Sequence[tuple[str, Attempt]], *, consumer: str) -> None:
    """Note which attempts run, each event once; the highest revision is believed, and an end that is known stays."""
    rows = [
        {
            **vars(attempt),
            "event_id": event_id,
            "started_at": attempt.started_at.isoformat(),
            "ended_at": None,
        }
        for event_id, attempt in starts
    ]
    # Sent together: one round trip instead of four.
    async with direct.connection() as connection, connection.pipeline(), connection.transaction():
        await lock(connection, {attempt_word(attempt.lab_id, attempt.attempt) for _, attempt in starts})
        await connection.execute(_START, {"starts": json.dumps(rows), "consumer": consumer})
