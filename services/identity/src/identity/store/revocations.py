"""Statements about tokens that ended before their time."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from common.revocations import Revocation, RevocationPage
from identity.domain import Revoke


async def insert_revocations(conn: asyncpg.Connection, asks: Sequence[Revoke], *, now: datetime, expires_at: datetime) -> list[int]:
    """Number them and write them down; answers their numbers in order. The people among them are locked already.

    The one row that numbers stays locked to the end: whoever commits a number has seen all lower ones committed.
    """
    last: int = await conn.fetchval(
        """
        INSERT INTO revocation_head AS h (one, number) VALUES (true, $1) ON CONFLICT (one) DO UPDATE SET number = h.number + $1 RETURNING number
        """,
        len(asks),
    )
    numbers = list(range(last - len(asks) + 1, last + 1))
    await conn.execute(
        """
        INSERT INTO revocation (number, user_id, session_id, reason, revoked_at, expires_at)
        SELECT r.number, r.user_id, r.session_id, r.reason, $5, $6
        FROM unnest($1::bigint[], $2::uuid[], $3::uuid[], $4::text[]) AS r (number, user_id, session_id, reason)
        """,
        numbers,
        [ask.user_id for ask in asks],
        [ask.session_id for ask in asks],
        [ask.reason for ask in asks],
        now,
        expires_at,
    )
    newest = {ask.user_id: number for ask, number in zip(asks, numbers, strict=True) if ask.session_id is None}
    if newest:
        await conn.execute(
            "UPDATE person p SET revoked_number = r.number FROM unnest($1::uuid[], $2::bigint[]) AS r (user_id, number) WHERE p.user_id = r.user_id",
            list(newest),
            list(newest.values()),
        )
    return numbers


async def list_revocations(conn: asyncpg.Connection, *, after: int, limit: int) -> RevocationPage:
    """The rows after a number, in order, and the highest number there is."""
    head: int = await conn.fetchval("SELECT coalesce(max(number), 0) FROM revocation_head")
    rows = await conn.fetch("SELECT number, user_id, session_id, reason, expires_at FROM revocation WHERE number > $1 ORDER BY number LIMIT $2", after, limit)
    return RevocationPage(
        head=head,
        revocations=[
            Revocation(
                number=row["number"],
                user_id=row["user_id"],
                session_id=str(row["session_id"]) if row["session_id"] is not None else None,
                reason=row["reason"],
                expires_at=row["expires_at"],
            )
            for row in rows
        ],
    )


async def delete_old_revocations(conn: asyncpg.Connection, *, now: datetime, limit: int) -> int:
    """Rows whose tokens have all expired by themselves, a batch of them; answers how many."""
    rows = await conn.fetch(
        "DELETE FROM revocation WHERE number IN (SELECT number FROM revocation WHERE expires_at < $1 ORDER BY expires_at LIMIT $2) RETURNING 1", now, limit
    )
    return len(rows)
