"""The statements over the table of facts not yet told."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from common.bus.envelope import Outgoing, bundle, unbundle
from common.db import Database


class Backlog(NamedTuple):
    """What was not told, and what could not be heard."""

    oldest_at: datetime | None
    """When the oldest fact was said that is not told yet, whoever holds it; parked ones are another matter."""
    parked: int
    """Rows with facts that the broker would not take."""
    dead_letters: int
    """Facts of others that this service could not take and nobody gave back."""


async def claim_rows(db: Database, limit: int, lease: timedelta) -> list[list[Outgoing]]:
    """Lease up to `limit` rows that nobody holds, oldest first; answers the facts of each.

    A lease that ends later than any begun now could is from before the database's clock was put back, and holds no more.
    """
    now = db.clock.now()
    rows = await db.fetch(
        """
        UPDATE outbox SET leased_until = $2
        WHERE position IN (
            SELECT position FROM outbox WHERE (leased_until <= $1 OR leased_until > $4) AND parked_at IS NULL
            ORDER BY position LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        RETURNING position, facts, created_at
        """,
        now,
        now + lease,
        limit,
        now + 2 * lease,
    )
    return [unbundle(row) for row in sorted(rows, key=lambda row: row["position"])]


async def renew_rows(db: Database, positions: Sequence[int], lease: timedelta) -> None:
    """Keep rows that are still in flight."""
    await db.fetch("UPDATE outbox SET leased_until = $2 WHERE position = ANY($1::bigint[])", positions, db.clock.now() + lease)


async def delete_rows(db: Database, positions: Sequence[int]) -> None:
    """Forget rows whose every fact the broker has acknowledged."""
    await db.fetch("DELETE FROM outbox WHERE position = ANY($1::bigint[])", positions)


async def park_rows(db: Database, parked: Sequence[tuple[Sequence[Outgoing], str]]) -> None:
    """Set aside the facts of rows that the broker will never take, with the reason; those beside them were told."""
    await db.fetch(
        """
        UPDATE outbox SET facts = p.facts, parked_at = $4, error = p.error
        FROM unnest($1::bigint[], $2::text[], $3::text[]) AS p (position, facts, error) WHERE outbox.position = p.position
        """,
        [facts[0].position for facts, _ in parked],
        [bundle(facts) for facts, _ in parked],
        [error for _, error in parked],
        db.clock.now(),
    )


async def unpark_rows(db: Database, limit: int) -> None:
    """Let the sweep try parked facts again, those that waited longest first."""
    await db.fetch(
        """
        UPDATE outbox SET parked_at = NULL, error = NULL
        WHERE position IN (SELECT position FROM outbox WHERE parked_at IS NOT NULL ORDER BY parked_at LIMIT $1 FOR UPDATE SKIP LOCKED)
        """,
        limit,
    )


async def read_backlog(db: Database) -> Backlog:
    """How things stand."""
    [row] = await db.fetch(
        """
        SELECT
            (SELECT created_at FROM outbox WHERE parked_at IS NULL ORDER BY position LIMIT 1),
            (SELECT count(*) FROM outbox WHERE parked_at IS NOT NULL),
            (SELECT count(*) FROM dead_letter WHERE replayed_at IS NULL)
        """
    )
    return Backlog(*row)


async def count_rows(db: Database) -> int:
    """How many facts are not told yet, parked ones included."""
    count: int = await db.fetchval("SELECT count(*) FROM outbox_fact")
    return count
