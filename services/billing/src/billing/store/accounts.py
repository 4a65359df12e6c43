"""Reading accounts."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from billing.domain import Balance, Purse


async def list_balances(conn: asyncpg.Connection, user_ids: Sequence[UUID]) -> dict[UUID, Balance]:
    """What those of these users have whose accounts are open."""
    rows = await conn.fetch(
        """
        SELECT user_id, asset, account_id, posted - held AS available, held, posted, posted + consumed AS total_in, consumed, records,
            consumes, recharges, recharged,
            (SELECT max(ends_at) FROM membership_period AS period WHERE period.user_id = account.user_id) AS active_until
        FROM account WHERE user_id = ANY($1::uuid[]) ORDER BY user_id, asset
        """,
        user_ids,
    )
    purses = {(row["user_id"], row["asset"]): Purse(*list(row)[2:12]) for row in rows}
    return {
        row["user_id"]: Balance(row["user_id"], purses[row["user_id"], "credit"], purses[row["user_id"], "point"], row["active_until"])
        for row in rows
        if row["asset"] == "point" and (row["user_id"], "credit") in purses
    }


async def list_expiring_accounts(conn: asyncpg.Connection, now_us: int, limit: int) -> list[int]:
    """Accounts with grants that have run out."""
    rows = await conn.fetch("SELECT account_id FROM account WHERE next_expiry_us <= $1 ORDER BY next_expiry_us LIMIT $2", now_us, limit)
    return [row["account_id"] for row in rows]


async def sum_open_holds(conn: asyncpg.Connection) -> tuple[int, datetime | None]:
    """How many holds are open, and since when the oldest."""
    row = await conn.fetchrow("SELECT count(*) AS open, min(placed_at) AS oldest FROM hold WHERE state = 'open'")
    return row["open"], row["oldest"]
