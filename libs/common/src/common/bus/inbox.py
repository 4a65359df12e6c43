"""The statements over the facts already heard, per group."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg

from common.db import Database, Tx


async def insert_heard(tx: Tx, group: str, event_ids: Sequence[UUID]) -> set[UUID]:
    """Mark facts as heard; answers those that were not before. Sorted, so that two replicas never wait in a ring."""
    rows = await tx.conn.fetch(
        """
        INSERT INTO inbox (event_id, group_name, heard_at)
        SELECT e, $2, $3 FROM unnest($1::uuid[]) AS e ORDER BY e ON CONFLICT DO NOTHING RETURNING event_id
        """,
        event_ids,
        group,
        tx.now,
    )
    return {row["event_id"] for row in rows}


async def delete_old(db: Database, older_than: timedelta, *, limit: int = 5000) -> int:
    """Forget marks older than any possible replay, a small batch at a time; answers how many went."""
    rows: list[asyncpg.Record] = await db.fetch(
        """
        DELETE FROM inbox WHERE (event_id, group_name) IN (SELECT event_id, group_name FROM inbox WHERE heard_at < $1 LIMIT $2) RETURNING 1
        """,
        db.clock.now() - older_than,
        limit,
    )
    return len(rows)
