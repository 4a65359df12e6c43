"""Under which tags works are found: kept beside the works, and repaired after a rolling update."""

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from works.domain import TAG_LENGTH_MAX, Retagging

_SAID = """
    SELECT DISTINCT work_id, tag, user_id, is_public, created_at FROM work CROSS JOIN LATERAL jsonb_array_elements_text(body -> 'tags') AS tag
    WHERE work_id = ANY($1::uuid[]) AND status IN ('created', 'completed') AND body ? 'tags' AND length(tag) <= $2
"""


async def insert_tags(conn: asyncpg.Connection, work_ids: Collection[UUID]) -> None:
    """The tags under which their owners, and everybody the public ones, find these works, as the works say them now. Their rows are locked."""
    await conn.execute(
        f"""
        WITH said AS ({_SAID}), own AS (
            INSERT INTO own_tag (work_id, tag, user_id, is_public, created_at) SELECT work_id, tag, user_id, is_public, created_at FROM said
            ON CONFLICT DO NOTHING
        )
        INSERT INTO public_tag (work_id, tag, created_at) SELECT work_id, tag, created_at FROM said WHERE is_public ON CONFLICT DO NOTHING
        """,
        list(work_ids),
        TAG_LENGTH_MAX,
    )


async def save_tags(conn: asyncpg.Connection, work_ids: Collection[UUID]) -> None:
    """The same, in place of those under which they were found before."""
    for table in ("own_tag", "public_tag"):
        await conn.execute(f"DELETE FROM {table} WHERE work_id = ANY($1::uuid[])", list(work_ids))
    await insert_tags(conn, work_ids)


async def claim_retagging(conn: asyncpg.Connection, now: datetime) -> Retagging | None:
    """The walk over all works, where it is due and nobody else is at it."""
    row = await conn.fetchrow("SELECT since, began_at, after_id, look_at FROM retagging WHERE look_at <= $1 FOR UPDATE SKIP LOCKED", now)
    return Retagging(**row) if row is not None else None


async def save_retagging(conn: asyncpg.Connection, retagging: Retagging) -> None:
    """How far the walk is, and when to go on."""
    await conn.execute("UPDATE retagging SET after_id = $1, look_at = $2", retagging.after_id, retagging.look_at)


async def delete_retagging(conn: asyncpg.Connection) -> None:
    """No further walk."""
    await conn.execute("DELETE FROM retagging")


async def list_next(conn: asyncpg.Connection, after_id: UUID, limit: int) -> list[tuple[UUID, datetime]]:
    """Works of every status in the order of their ids, and when each was last changed."""
    rows = await conn.fetch("SELECT work_id, updated_at FROM work WHERE work_id > $1 ORDER BY work_id LIMIT $2", after_id, limit)
    return [(row["work_id"], row["updated_at"]) for row in rows]


async def lock_mistagged(conn: asyncpg.Connection, work_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these works their owners' lists do not find under just what they say; their rows are locked, those of deleted ones too."""
    rows = await conn.fetch(
        f"""
        WITH said AS ({_SAID}), kept AS (SELECT work_id, tag, user_id, is_public, created_at FROM own_tag WHERE work_id = ANY($1::uuid[])),
        wrong AS ((TABLE said EXCEPT TABLE kept) UNION (TABLE kept EXCEPT TABLE said))
        SELECT work_id FROM work WHERE work_id IN (SELECT work_id FROM wrong) ORDER BY work_id FOR UPDATE
        """,
        work_ids,
        TAG_LENGTH_MAX,
    )
    return [row["work_id"] for row in rows]
