"""Reading the ledger."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg


async def find_adjustments(conn: asyncpg.Connection, adjustment_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """Which of these were made: the account and the signed amount of each."""
    rows = await conn.fetch(
        """
        SELECT source, account_id, CASE WHEN credit = account_id THEN amount ELSE -amount END AS amount
        FROM entry WHERE kind = 'adjustment' AND source = ANY($1::text[])
        """,
        [str(adjustment_id) for adjustment_id in adjustment_ids],
    )
    return {UUID(row["source"]): (row["account_id"], row["amount"]) for row in rows}
