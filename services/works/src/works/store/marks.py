"""What owners, listeners and operators change about works."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from works.domain import Body, Counted, Moved, Work

Pairs = Collection[tuple[UUID, UUID]]
"""Works and who reacted to each, sorted."""


async def lock_works(conn: asyncpg.Connection, work_ids: Collection[UUID]) -> dict[UUID, Work]:
    """Works to be changed, sorted; deleted ones are absent."""
    rows = await conn.fetch(
        """
        SELECT work_id, user_id, kind, status, is_public, is_favorite, body, body_hash, created_at, updated_at, version, edition, plays, likes
        FROM work WHERE work_id = ANY($1::uuid[]) AND status <> 'deleted' ORDER BY work_id FOR UPDATE
        """,
        sorted(set(work_ids)),
    )
    return {row["work_id"]: Work(**row) for row in rows}


async def find_growing(conn: asyncpg.Connection, work_ids: Collection[UUID]) -> set[UUID]:
    """Which of these works their owners wait for a song of."""
    rows = await conn.fetch(
        """
        SELECT s.work_id FROM song s JOIN work w USING (work_id)
        WHERE s.work_id = ANY($1::uuid[]) AND s.status = 'processing' AND s.user_id = w.user_id
        """,
        list(work_ids),
    )
    return {row["work_id"] for row in rows}


async def save_marks(conn: asyncpg.Connection, work: Work) -> None:
    """Flags, tags, version and edition as they are now."""
    await conn.execute(
        "UPDATE work SET is_favorite = $2, is_public = $3, body = $4, version = $5, edition = $6, updated_at = $7 WHERE work_id = $1",
        work.work_id, work.is_favorite, work.is_public, work.body, work.version, work.edition, work.updated_at,
    )  # fmt: skip


async def empty_works(conn: asyncpg.Connection, work_ids: Sequence[UUID], now: datetime) -> dict[UUID, Body]:
    """What is left of a deleted work: its id, and how new it was; the same of its songs, and nothing of who liked it.

    Answers what the songs said, by the tasks that made them.
    """
    await conn.execute(
        """
        UPDATE work SET status = 'deleted', body = '{}', is_public = false, is_favorite = false, version = version + 1, plays = 0, likes = 0, updated_at = $2
        WHERE work_id = ANY($1::uuid[])
        """,
        work_ids,
        now,
    )
    songs = await conn.fetch(
        """
        WITH gone AS (
            SELECT s.task_id, s.body FROM song s JOIN work w USING (work_id)
            WHERE s.work_id = ANY($1::uuid[]) AND s.user_id = w.user_id AND s.status IN ('completed', 'failed', 'cancelled')
            ORDER BY s.task_id FOR UPDATE OF s
        )
        UPDATE song SET status = 'deleted', body = '{}' FROM gone WHERE song.task_id = gone.task_id RETURNING gone.task_id, gone.body
        """,
        work_ids,
    )
    for table in ("liked", "played", "own_tag", "public_tag"):
        await conn.execute(f"DELETE FROM {table} WHERE work_id = ANY($1::uuid[])", work_ids)
    return {song["task_id"]: song["body"] for song in songs}


async def move_shelves(conn: asyncpg.Connection, moves: Mapping[tuple[UUID, str], Moved]) -> None:
    """Add to the kept numbers of these owners and kinds."""
    keys = sorted(moves)
    await conn.execute(
        """
        INSERT INTO shelf (user_id, kind, created, completed, failed, cancelled, public)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
        ON CONFLICT (user_id, kind) DO UPDATE
        SET created = shelf.created + excluded.created, completed = shelf.completed + excluded.completed, failed = shelf.failed + excluded.failed,
            cancelled = shelf.cancelled + excluded.cancelled, public = shelf.public + excluded.public
        """,
        [user_id for user_id, _ in keys],
        [kind for _, kind in keys],
        *([moves[key][column] for key in keys] for column in ("created", "completed", "failed", "cancelled", "public")),
    )


async def move_tally(conn: asyncpg.Connection, moves: Mapping[str, Moved]) -> None:
    """Add to the numbers of all works of these kinds."""
    kinds = sorted(moves)
    await conn.execute(
        """
        INSERT INTO tally (stripe, kind, created, completed, failed, cancelled)
        SELECT pg_backend_pid() % 16, * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
        ON CONFLICT (stripe, kind) DO UPDATE
        SET created = tally.created + excluded.created, completed = tally.completed + excluded.completed, failed = tally.failed + excluded.failed,
            cancelled = tally.cancelled + excluded.cancelled
        """,
        kinds,
        *([moves[kind][column] for kind in kinds] for column in ("created", "completed", "failed", "cancelled")),
    )


async def insert_admin_actions(
    conn: asyncpg.Connection, admin_id: UUID, action: str, works: Sequence[tuple[Work, object, object]], reason: str, now: datetime
) -> None:
    """What an operator did to whose work: each with what was before and what is after."""
    await conn.execute(
        """
        INSERT INTO admin_action (admin_id, work_id, user_id, action, before, after, reason, acted_at)
        SELECT $1, w.work_id, w.user_id, $2, w.before, w.after, $3, $4
        FROM unnest($5::uuid[], $6::uuid[], $7::jsonb[], $8::jsonb[]) AS w (work_id, user_id, before, after)
        """,
        admin_id, action, reason, now,
        [work.work_id for work, _, _ in works], [work.user_id for work, _, _ in works],
        [before for _, before, _ in works], [after for _, _, after in works],
    )  # fmt: skip


async def insert_likes(conn: asyncpg.Connection, pairs: Pairs, now: datetime) -> list[UUID]:
    """Works that somebody likes now who did not, once for each."""
    rows = await conn.fetch(
        """
        INSERT INTO liked (work_id, user_id, liked_at) SELECT work_id, user_id, $3 FROM unnest($1::uuid[], $2::uuid[]) AS x (work_id, user_id)
        ON CONFLICT DO NOTHING RETURNING work_id
        """,
        *_columns(pairs), now,
    )  # fmt: skip
    return [row["work_id"] for row in rows]


async def delete_likes(conn: asyncpg.Connection, pairs: Pairs) -> list[UUID]:
    """Works that somebody does not like any more, once for each."""
    rows = await conn.fetch(
        """
        DELETE FROM liked USING unnest($1::uuid[], $2::uuid[]) AS x (work_id, user_id)
        WHERE liked.work_id = x.work_id AND liked.user_id = x.user_id RETURNING liked.work_id
        """,
        *_columns(pairs),
    )
    return [row["work_id"] for row in rows]


async def insert_plays(conn: asyncpg.Connection, pairs: Pairs, *, counts_before: datetime, now: datetime) -> list[UUID]:
    """Works that somebody played who did not since `counts_before`, once for each."""
    rows = await conn.fetch(
        """
        INSERT INTO played (work_id, user_id, played_at) SELECT w, u, $3 FROM unnest($1::uuid[], $2::uuid[]) AS x (w, u)
        ON CONFLICT (work_id, user_id) DO UPDATE SET played_at = excluded.played_at WHERE played.played_at <= $4 RETURNING work_id
        """,
        *_columns(pairs), now, counts_before,
    )  # fmt: skip
    return [row["work_id"] for row in rows]


async def delete_plays(conn: asyncpg.Connection, before: datetime, limit: int) -> int:
    """Forget plays from before a time; answers how many went."""
    rows = await conn.fetch(
        """
        DELETE FROM played WHERE (work_id, user_id) IN (
            SELECT work_id, user_id FROM played WHERE played_at <= $1 ORDER BY played_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ) RETURNING 1
        """,
        before,
        limit,
    )
    return len(rows)


async def move_counts(conn: asyncpg.Connection, moves: Mapping[UUID, tuple[int, int]]) -> dict[UUID, tuple[int, Counted]]:
    """Add to the plays and likes of locked works, whose version grows by one for each of the two that moved; answers version and counts after it."""
    rows = await conn.fetch(
        """
        UPDATE work SET plays = work.plays + m.plays, likes = work.likes + m.likes, version = version + (m.plays <> 0)::int + (m.likes <> 0)::int
        FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS m (work_id, plays, likes)
        WHERE work.work_id = m.work_id RETURNING work.work_id, work.version, work.plays, work.likes
        """,
        list(moves),
        [plays for plays, _ in moves.values()],
        [likes for _, likes in moves.values()],
    )
    return {row["work_id"]: (row["version"], Counted(row["work_id"], row["plays"], row["likes"])) for row in rows}


def _columns(pairs: Pairs) -> tuple[list[UUID], list[UUID]]:
    return [work_id for work_id, _ in pairs], [user_id for _, user_id in pairs]
