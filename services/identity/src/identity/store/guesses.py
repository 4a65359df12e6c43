"""Statements about wrong guesses of passwords, and about the places people did log in from."""

from collections.abc import Sequence
from datetime import datetime

import asyncpg

from identity.domain import GUESSES_FORGOTTEN, PLACE_KNOWN


async def is_known_place(conn: asyncpg.Connection, key_hash: bytes, now: datetime) -> bool:
    """Whether this account logged in from this address lately."""
    found: bool = await conn.fetchval("SELECT EXISTS (SELECT 1 FROM login_place WHERE key_hash = $1 AND seen_at > $2)", key_hash, now - PLACE_KNOWN)
    return found


async def remember_place(conn: asyncpg.Connection, key_hash: bytes, now: datetime) -> None:
    await conn.execute(
        "INSERT INTO login_place AS p (key_hash, seen_at) VALUES ($1, $2) ON CONFLICT (key_hash) DO UPDATE SET seen_at = greatest(p.seen_at, $2)", key_hash, now
    )


async def lock_guesses(conn: asyncpg.Connection, keys: Sequence[bytes], now: datetime) -> dict[bytes, tuple[int, datetime]]:
    """How many guesses and when the last one was, locked in the order of the keys."""
    # In one statement: between two of them a right password elsewhere could take the row away.
    rows = await conn.fetch(
        """
        INSERT INTO login_guess AS g (key_hash, guesses, last_at) SELECT k, 0, $2 FROM unnest($1::bytea[]) AS k ORDER BY k
        ON CONFLICT (key_hash) DO UPDATE SET guesses = g.guesses RETURNING key_hash, guesses, last_at
        """,
        list(keys),
        now,
    )
    return {row["key_hash"]: (row["guesses"], row["last_at"]) for row in rows}


async def count_guesses(conn: asyncpg.Connection, keys: Sequence[bytes], now: datetime) -> None:
    """One more; after a day without one they begin anew."""
    await conn.execute(
        """
        UPDATE login_guess SET guesses = CASE WHEN last_at < $3 THEN 1 ELSE guesses + 1 END, last_at = $2 WHERE key_hash = ANY($1::bytea[])
        """,
        list(keys),
        now,
        now - GUESSES_FORGOTTEN,
    )


async def forgive_guesses(conn: asyncpg.Connection, *, forget: Sequence[bytes], give_back: Sequence[bytes]) -> None:
    """The password was right: what was aimed at the account is forgotten, where it came from gets its one guess back."""
    keys = sorted({*forget, *give_back})
    await conn.execute("SELECT 1 FROM login_guess WHERE key_hash = ANY($1::bytea[]) ORDER BY key_hash FOR UPDATE", keys)
    await conn.execute("DELETE FROM login_guess WHERE key_hash = ANY($1::bytea[])", list(forget))
    await conn.execute("UPDATE login_guess SET guesses = greatest(guesses - 1, 0) WHERE key_hash = ANY($1::bytea[])", list(give_back))


async def delete_old_guesses(conn: asyncpg.Connection, *, now: datetime, limit: int) -> int:
    """What is forgotten anyway; answers how many rows went."""
    rows = await conn.fetch(
        """
        DELETE FROM login_guess WHERE key_hash IN (SELECT key_hash FROM login_guess WHERE last_at < $1 ORDER BY last_at LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING 1
        """,
        now - GUESSES_FORGOTTEN,
        limit,
    )
    places = await conn.fetch(
        """
        DELETE FROM login_place WHERE key_hash IN (SELECT key_hash FROM login_place WHERE seen_at < $1 ORDER BY seen_at LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING 1
        """,
        now - PLACE_KNOWN,
        limit,
    )
    return max(len(rows), len(places))
