"""Every SQL statement notify runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import orjson

from common.db import Database
from notify.domain import Head, Notice

_CHUNK_BYTES_MAX = 7800


async def bump_heads(conn: asyncpg.Connection, counts: Mapping[UUID, int]) -> dict[UUID, Head]:
    """Raise each user's head by as many notices as they get, locking the heads in sorted order; answers the heads after it."""
    users = sorted(counts)
    rows = await conn.fetch(
        """
        INSERT INTO feed (user_id, seq) SELECT u, n FROM unnest($1::uuid[], $2::bigint[]) AS c (u, n) ORDER BY u
        ON CONFLICT (user_id) DO UPDATE SET seq = feed.seq + EXCLUDED.seq
        RETURNING user_id, epoch, seq
        """,
        users,
        [counts[user] for user in users],
    )
    return {row["user_id"]: Head(row["epoch"], row["seq"]) for row in rows}


async def insert_notices(conn: asyncpg.Connection, notices: Sequence[Notice], now: datetime, *, origin: str) -> None:
    """Add rows to the feeds and hint to the other replicas whose feeds grew; `origin` lets the writer skip its own hints."""
    users = list({str(notice.user_id) for notice in notices})
    await conn.execute(
        """
        WITH saved AS (
            INSERT INTO notice (user_id, seq, event_id, type, payload, created_at)
            SELECT n.user_id, n.seq, n.event_id, n.type, n.payload, $6
            FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::text[]) AS n (user_id, seq, event_id, type, payload)
        )
        SELECT pg_notify('feed', hint) FROM unnest($7::text[]) AS hint
        """,
        [notice.user_id for notice in notices],
        [notice.seq for notice in notices],
        [notice.event_id for notice in notices],
        [notice.type for notice in notices],
        [orjson.dumps(notice.payload).decode() for notice in notices],
        now,
        [f"{origin}:{chunk}" for chunk in hint_chunks(users)],
    )


def hint_chunks(users: Sequence[str]) -> list[str]:
    """User ids joined into hints that fit a NOTIFY (PostgreSQL refuses 8 000 bytes)."""
    per_chunk = _CHUNK_BYTES_MAX // 37
    return [",".join(users[start : start + per_chunk]) for start in range(0, len(users), per_chunk)]


async def get_head(db: Database, user_id: UUID) -> tuple[Head, int | None]:
    """A user's head and the oldest number still kept; opens the feed of a user who has none."""
    row = await db.fetchrow("SELECT epoch, seq, (SELECT min(n.seq) FROM notice n WHERE n.user_id = $1) AS oldest FROM feed WHERE user_id = $1", user_id)
    if row is None:
        await db.fetch("INSERT INTO feed (user_id, seq) VALUES ($1, 0) ON CONFLICT DO NOTHING", user_id)
        return await get_head(db, user_id)
    return Head(row["epoch"], row["seq"]), row["oldest"]


async def list_notices(db: Database, user_id: UUID, *, after_seq: int, limit: int) -> list[Notice]:
    """A user's notices after a number, oldest first."""
    rows = await db.fetch(
        """
        SELECT n.seq, n.event_id, n.type, n.payload, n.created_at, f.epoch
        FROM notice n JOIN feed f USING (user_id) WHERE n.user_id = $1 AND n.seq > $2 ORDER BY n.seq LIMIT $3
        """,
        user_id,
        after_seq,
        limit,
    )
    return [
        Notice(user_id, row["epoch"], row["seq"], row["event_id"], row["type"], orjson.loads(row["payload"]), int(row["created_at"].timestamp() * 1000))
        for row in rows
    ]


async def list_heads(db: Database, users: Sequence[UUID]) -> dict[UUID, int]:
    """The present numbers of these users' feeds."""
    rows = await db.fetch("SELECT user_id, seq FROM feed WHERE user_id = ANY($1::uuid[])", users)
    return {row["user_id"]: row["seq"] for row in rows}


async def save_read_mark(db: Database, user_id: UUID, seq: int) -> None:
    """Move the read mark forward, never past the head and never back."""
    await db.fetch("UPDATE feed SET read_seq = least($2, seq) WHERE user_id = $1 AND read_seq < least($2, seq)", user_id, seq)


async def delete_old_notices(db: Database, *, older_than: timedelta, limit: int) -> int:
    """Forget notices past retention, a small batch at a time; answers how many went."""
    rows = await db.fetch(
        """
        DELETE FROM notice WHERE (user_id, seq) IN (SELECT user_id, seq FROM notice WHERE created_at < $1 LIMIT $2) RETURNING 1
        """,
        db.clock.now() - older_than,
        limit,
    )
    return len(rows)
