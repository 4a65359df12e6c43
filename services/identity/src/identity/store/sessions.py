"""Statements about sessions and their refresh tokens."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from common.ids import UserId
from identity.domain import REFRESH_IDLE, NewSession, Session

_SESSION = "session_id, user_id, device, number, revoked_number, created_at, used_at, refreshed_at, good_until, ended_at"


async def insert_sessions(conn: asyncpg.Connection, asks: Sequence[NewSession], now: datetime) -> None:
    """Begin them, each with its first refresh token; one that is there stays."""
    await conn.execute(
        """
        INSERT INTO session (session_id, user_id, device, revoked_number, created_at, used_at, refreshed_at, good_until)
        SELECT s.session_id, s.user_id, s.device, s.revoked_number, $6, $6, $6, $6::timestamptz + s.good_for
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::interval[]) AS s (session_id, user_id, device, revoked_number, good_for)
        ON CONFLICT DO NOTHING
        """,
        [one.session_id for one in asks],
        [one.user_id for one in asks],
        [one.device for one in asks],
        [one.revoked_number for one in asks],
        [max(REFRESH_IDLE, timedelta(seconds=one.token_seconds)) for one in asks],
        now,
    )
    await insert_refresh_tokens(conn, [(one.token_hash, one.session_id, 1, None) for one in asks], now)


async def insert_refresh_tokens(conn: asyncpg.Connection, rows: Sequence[tuple[bytes, UUID, int, bytes | None]], now: datetime) -> None:
    """Their hashes: (hash, session, number, parent's hash)."""
    await conn.execute(
        """
        INSERT INTO refresh_token (token_hash, session_id, number, parent_hash, issued_at)
        SELECT r.token_hash, r.session_id, r.number, r.parent_hash, $5
        FROM unnest($1::bytea[], $2::uuid[], $3::bigint[], $4::bytea[]) AS r (token_hash, session_id, number, parent_hash)
        ON CONFLICT DO NOTHING
        """,
        [row[0] for row in rows],
        [row[1] for row in rows],
        [row[2] for row in rows],
        [row[3] for row in rows],
        now,
    )


async def list_refresh_tokens(conn: asyncpg.Connection, hashes: Sequence[bytes]) -> dict[bytes, tuple[UUID, int]]:
    """Session and number of the tokens with these hashes."""
    rows = await conn.fetch("SELECT token_hash, session_id, number FROM refresh_token WHERE token_hash = ANY($1::bytea[])", list(hashes))
    return {row["token_hash"]: (row["session_id"], row["number"]) for row in rows}


async def lock_sessions(conn: asyncpg.Connection, session_ids: Sequence[UUID]) -> dict[UUID, Session]:
    """Sessions to be changed, sorted."""
    rows = await conn.fetch(f"SELECT {_SESSION} FROM session WHERE session_id = ANY($1::uuid[]) ORDER BY session_id FOR UPDATE", sorted(set(session_ids)))
    return {row["session_id"]: _session(row) for row in rows}


async def save_sessions(conn: asyncpg.Connection, sessions: Sequence[Session]) -> None:
    """Number and times as they are now."""
    await conn.execute(
        """
        UPDATE session s SET number = n.number, used_at = n.used_at, refreshed_at = n.refreshed_at, good_until = n.good_until, ended_at = n.ended_at
        FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[])
            AS n (session_id, number, used_at, refreshed_at, good_until, ended_at)
        WHERE s.session_id = n.session_id
        """,
        [one.session_id for one in sessions],
        [one.number for one in sessions],
        [one.used_at for one in sessions],
        [one.refreshed_at for one in sessions],
        [one.good_until for one in sessions],
        [one.ended_at for one in sessions],
    )


async def end_sessions(conn: asyncpg.Connection, *, session_ids: Sequence[UUID], user_ids: Sequence[UUID], now: datetime) -> None:
    """These, and all of these people; sorted, as everybody locks them."""
    await conn.execute(
        """
        UPDATE session s SET ended_at = $3 FROM (
            SELECT session_id FROM session
            WHERE (session_id = ANY($1::uuid[]) OR user_id = ANY($2::uuid[])) AND ended_at IS NULL ORDER BY session_id FOR UPDATE
        ) AS e WHERE s.session_id = e.session_id
        """,
        list(session_ids),
        list(user_ids),
        now,
    )


async def touch_session(conn: asyncpg.Connection, session_id: UUID, *, now: datetime, good_until: datetime) -> bool:
    """It got another access token; False when it has ended meanwhile."""
    row = await conn.fetchrow(
        "UPDATE session SET used_at = $2, good_until = greatest(good_until, $3) WHERE session_id = $1 AND ended_at IS NULL RETURNING 1",
        session_id,
        now,
        good_until,
    )
    return row is not None


async def list_sessions(conn: asyncpg.Connection, user_id: UserId, *, now: datetime, limit: int) -> list[Session]:
    """Where somebody is logged in, the newest first."""
    rows = await conn.fetch(
        f"""
        SELECT {_SESSION} FROM session WHERE user_id = $1 AND ended_at IS NULL AND good_until > $2 ORDER BY created_at DESC, session_id DESC LIMIT $3
        """,
        user_id,
        now,
        limit,
    )
    return [_session(row) for row in rows]


async def delete_old_sessions(conn: asyncpg.Connection, *, now: datetime, limit: int) -> int:
    """Sessions of which nothing is good any more, with their tokens' hashes; answers how many."""
    rows = await conn.fetch(
        "DELETE FROM session WHERE session_id IN (SELECT session_id FROM session WHERE good_until < $1 ORDER BY good_until LIMIT $2) RETURNING 1", now, limit
    )
    return len(rows)


def _session(row: asyncpg.Record) -> Session:
    return Session(**dict(row))
