"""Every SQL statement notify runs."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import orjson

from common.db import Database
from notify.domain import Announcement, Bought, Delivery, Head, News, Notice

_HINT_USERS_MAX = 210
"""Ids that fit a NOTIFY (PostgreSQL refuses 8 000 bytes)."""


async def insert_news(conn: asyncpg.Connection, news: Sequence[News], later: Sequence[int], now: datetime, *, origin: str) -> dict[int, Head]:
    """Raise each user's head by as many notices as they get, locking the heads in sorted order, and add the rows under their numbers.

    `later` says how many of the same user's come after each. Answers the heads after it, by the number of the user's id. The other replicas are
    given hints whose feeds grew; `origin` lets the writer skip its own.
    """
    rows = await conn.fetch(
        """
        WITH news AS (
            SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::text[]) AS n (user_id, later, event_id, type, payload)
        ), head AS (
            INSERT INTO feed (user_id, seq) SELECT user_id, count(*) FROM news GROUP BY user_id ORDER BY user_id
            ON CONFLICT (user_id) DO UPDATE SET seq = feed.seq + EXCLUDED.seq
            RETURNING user_id, epoch, seq
        ), saved AS (
            INSERT INTO notice (user_id, seq, event_id, type, payload, created_at)
            SELECT user_id, head.seq - news.later, event_id, type, payload, $6 FROM news JOIN head USING (user_id)
        ), hint AS (
            SELECT string_agg(user_id::text, ',') AS users FROM (SELECT user_id, (row_number() OVER () - 1) / $8 AS part FROM head) AS parted GROUP BY part
        )
        SELECT user_id, epoch, seq, (SELECT count(pg_notify('feed', $7 || ':' || users)) FROM hint) AS hints FROM head
        """,
        [one.user_id for one in news],
        later,
        [one.event_id for one in news],
        [one.type for one in news],
        [orjson.dumps(one.payload, default=str).decode() for one in news],
        now,
        origin,
        _HINT_USERS_MAX,
    )
    return {row["user_id"].int: Head(row["epoch"], row["seq"]) for row in rows}


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


async def open_feeds(conn: asyncpg.Connection, users: Sequence[UUID]) -> None:
    """Give people who are new a feed, so that what is said to everybody reaches them too."""
    await conn.execute("INSERT INTO feed (user_id, seq) SELECT u, 0 FROM unnest($1::uuid[]) AS u ORDER BY u ON CONFLICT DO NOTHING", sorted(users))


async def insert_announcement(conn: asyncpg.Connection, one: Announcement) -> bool:
    """Keep it; False when its id is taken."""
    row = await conn.fetchrow(
        """
        INSERT INTO announcement (announcement_id, title, content, data, user_ids, body_hash, said_by, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING 1
        """,
        one.announcement_id,
        one.title,
        one.content,
        orjson.dumps(one.data).decode(),
        list(one.user_ids) if one.user_ids is not None else None,
        one.body_hash,
        one.said_by,
        one.created_at,
    )
    return row is not None


async def find_announcement(conn: asyncpg.Connection, announcement_id: UUID) -> Announcement | None:
    """One, by id."""
    row = await conn.fetchrow("SELECT * FROM announcement WHERE announcement_id = $1", announcement_id)
    return _announcement(row) if row is not None else None


async def lock_open_announcement(conn: asyncpg.Connection) -> Announcement | None:
    """The oldest that has not reached everybody and that no other replica spreads now."""
    row = await conn.fetchrow("SELECT * FROM announcement WHERE done_at IS NULL ORDER BY created_at LIMIT 1 FOR UPDATE SKIP LOCKED")
    return _announcement(row) if row is not None else None


async def list_audience(conn: asyncpg.Connection, one: Announcement, *, limit: int) -> list[UUID]:
    """The next users it goes to, by id."""
    rows = await conn.fetch(
        """
        SELECT f.user_id FROM feed f WHERE f.user_id > $1 AND ($2::uuid[] IS NULL OR f.user_id = ANY($2)) ORDER BY f.user_id LIMIT $3
        """,
        one.spread_to,
        list(one.user_ids) if one.user_ids is not None else None,
        limit,
    )
    return [row["user_id"] for row in rows]


async def save_spread(conn: asyncpg.Connection, announcement_id: UUID, *, spread_to: UUID, reached: int, done_at: datetime | None) -> None:
    """How far it went."""
    await conn.execute(
        "UPDATE announcement SET spread_to = $2, reached = $3, done_at = $4 WHERE announcement_id = $1", announcement_id, spread_to, reached, done_at
    )


async def insert_deliveries(conn: asyncpg.Connection, deliveries: Sequence[Delivery], now: datetime) -> None:
    """Keep what was asked for, due at once."""
    await conn.execute(
        """
        INSERT INTO delivery (delivery_id, user_id, template, ref, bought, due_at, created_at)
        SELECT d.delivery_id, d.user_id, d.template, d.ref, d.bought::jsonb, $6, $6
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[]) AS d (delivery_id, user_id, template, ref, bought) ORDER BY d.delivery_id
        ON CONFLICT DO NOTHING
        """,
        [one.delivery_id for one in deliveries],
        [one.user_id for one in deliveries],
        [one.template for one in deliveries],
        [one.ref for one in deliveries],
        [orjson.dumps(one.bought).decode() if one.bought is not None else None for one in deliveries],
        now,
    )


async def claim_deliveries(db: Database, *, lease: timedelta, limit: int) -> list[Delivery]:
    """Lease what is due; each claim counts as a try, so one that kills its sender ends as well."""
    now = db.clock.now()
    rows = await db.fetch(
        """
        UPDATE delivery SET due_at = $2, tries = tries + 1
        WHERE delivery_id IN (SELECT delivery_id FROM delivery WHERE state = 'waiting' AND due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING delivery_id, user_id, template, ref, tries, bought::text
        """,
        now,
        now + lease,
        limit,
    )
    return [Delivery(row["delivery_id"], row["user_id"], row["template"], row["ref"], row["tries"], _bought_of(row["bought"])) for row in rows]


def _bought_of(kept: str | None) -> Bought | None:
    return Bought(**orjson.loads(kept)) if kept is not None else None


async def end_delivery(db: Database, one: Delivery, *, error: str | None) -> None:
    """Sent, or given up with a reason; guarded by the try, so a sender whose lease ran out changes nothing."""
    await db.fetch(
        "UPDATE delivery SET state = $3, error = $4, ended_at = $5 WHERE delivery_id = $1 AND tries = $2 AND state = 'waiting'",
        one.delivery_id,
        one.tries,
        "sent" if error is None else "failed",
        error,
        db.clock.now(),
    )


async def delay_delivery(db: Database, one: Delivery, *, by: timedelta, error: str) -> None:
    """Try again later."""
    await db.fetch(
        "UPDATE delivery SET due_at = $3, error = $4 WHERE delivery_id = $1 AND tries = $2 AND state = 'waiting'",
        one.delivery_id,
        one.tries,
        db.clock.now() + by,
        error,
    )


def _announcement(row: asyncpg.Record) -> Announcement:
    return Announcement(
        row["announcement_id"],
        row["title"],
        row["content"],
        orjson.loads(row["data"]),
        tuple(row["user_ids"]) if row["user_ids"] is not None else None,
        row["body_hash"],
        row["said_by"],
        row["created_at"],
        row["spread_to"],
        row["reached"],
        row["done_at"] is not None,
    )
