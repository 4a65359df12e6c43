"""The journal of submissions."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from asyncpg import Connection

from generation.domain import Attempt, AttemptEnd

_COLUMNS = ("attempt_no", "item_index", "claim_no", "state", "provider", "provider_id", "created_at", "ended_at")


async def insert_attempt(conn: Connection, task_id: UUID, attempt: Attempt) -> None:
    """Journal an intention. The caller holds the lock of its task."""
    await conn.execute(
        """
        INSERT INTO attempt (task_id, attempt_no, item_index, claim_no, created_at, state, provider, token_hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (task_id, attempt_no) DO NOTHING
        """,
        task_id, attempt.attempt_no, attempt.item_index, attempt.claim_no, attempt.created_at, attempt.state, attempt.provider,
        attempt.token_hash,
    )  # fmt: skip


async def save_attempts(conn: Connection, ends: Sequence[tuple[UUID, AttemptEnd]], *, now: datetime) -> None:
    """What became of attempts; one that succeeded or failed stays so. An attempt ends with these two states only."""
    await conn.execute(
        """
        UPDATE attempt SET state = n.state, provider_id = coalesce(n.provider_id, attempt.provider_id), note = coalesce(n.note, attempt.note),
                           ended_at = CASE WHEN n.state IN ('succeeded', 'failed') THEN $6::timestamptz END
        FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[]) AS n (task_id, attempt_no, state, provider_id, note)
        WHERE attempt.task_id = n.task_id AND attempt.attempt_no = n.attempt_no AND attempt.state IN ('submitting', 'submitted', 'unknown')
        """,
        [task_id for task_id, _ in ends], [end.attempt_no for _, end in ends], [end.state for _, end in ends], [end.provider_id for _, end in ends],
        [end.note for _, end in ends], now,
    )  # fmt: skip


async def list_attempts(conn: Connection, task_ids: Collection[UUID]) -> dict[UUID, list[Attempt]]:
    """The journal of each of these tasks, in order."""
    rows = await conn.fetch(f"SELECT task_id, {', '.join(_COLUMNS)} FROM attempt WHERE task_id = ANY($1::uuid[]) ORDER BY task_id, attempt_no", list(task_ids))
    found: dict[UUID, list[Attempt]] = {task_id: [] for task_id in task_ids}
    for row in rows:
        task_id, *columns = row
        found[task_id].append(Attempt(**dict(zip(_COLUMNS, columns, strict=True))))
    return found
