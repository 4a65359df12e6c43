"""What providers called back with."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from asyncpg import Connection

from generation.domain import Callback, CallbackState


async def find_attempt(conn: Connection, task_id: UUID, token_hash: bytes) -> tuple[int, bool] | None:
    """(number, is open) of the task's attempt with this token."""
    row = await conn.fetchrow(
        "SELECT attempt_no, state IN ('submitting', 'submitted', 'unknown') FROM attempt WHERE task_id = $1 AND token_hash = $2", task_id, token_hash
    )
    return (row[0], row[1]) if row is not None else None


async def has_taken(conn: Connection, task_id: UUID, attempt_no: int) -> bool:
    """Whether the attempt was called back for already."""
    found: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM callback WHERE task_id = $1 AND attempt_no = $2 AND state = 'taken')", task_id, attempt_no)
    return found


async def insert_callback(conn: Connection, ask: Callback, *, attempt_no: int, state: CallbackState, now: datetime) -> bool:
    """Keep one; False when the same bytes are there already. The caller holds the lock of the task."""
    found = await conn.fetchval(
        """
        INSERT INTO callback (task_id, attempt_no, received_at, says, state, size_bytes, body_sha256, body) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (task_id, attempt_no, body_sha256) DO NOTHING RETURNING true
        """,
        ask.task_id, attempt_no, now, ask.says, state, len(ask.body), ask.body_sha256, ask.body,
    )  # fmt: skip
    return found is not None


async def read_taken(conn: Connection, task_id: UUID, attempt_no: int) -> tuple[str, bytes] | None:
    """(what it says, body) of the call that answers an attempt."""
    row = await conn.fetchrow(
        "SELECT says, body FROM callback WHERE task_id = $1 AND attempt_no = $2 AND state = 'taken' AND body IS NOT NULL", task_id, attempt_no
    )
    return (row[0], row[1]) if row is not None else None


async def forget_bodies(conn: Connection, *, before: datetime, limit: int) -> int:
    """Drop the bodies of old calls; answers how many."""
    rows: Sequence[object] = await conn.fetch(
        """
        UPDATE callback SET body = NULL
        WHERE callback_id IN (SELECT callback_id FROM callback WHERE body IS NOT NULL AND received_at < $1 ORDER BY received_at LIMIT $2)
        RETURNING callback_id
        """,
        before, limit,
    )  # fmt: skip
    return len(rows)
