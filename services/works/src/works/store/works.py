"""Works and songs as tasks tell them and as they are made by hand, and the numbers kept with them."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from works.domain import Body, NewWork, Told, body_of

# Every work that `changed` is now counted where it stands: on its owner's shelf and, when public, on everybody's, and in the tally of all.
# What is processing is not counted, so a task's work is counted once, at its end. Shelves are locked in sorted order.
_COUNTED = """
    counted AS (
        INSERT INTO shelf (user_id, kind, created, completed, failed, cancelled, public)
        SELECT whose.owner_id, kind, count(*) FILTER (WHERE own AND status = 'created'), count(*) FILTER (WHERE own AND status = 'completed'),
            count(*) FILTER (WHERE own AND status = 'failed'), count(*) FILTER (WHERE own AND status = 'cancelled'),
            count(*) FILTER (WHERE is_public AND status IN ('created', 'completed'))
        FROM changed CROSS JOIN LATERAL (VALUES (changed.user_id, true), ('00000000-0000-0000-0000-000000000000'::uuid, false)) AS whose (owner_id, own)
        WHERE status <> 'processing' AND (own OR is_public)
        GROUP BY whose.owner_id, kind ORDER BY whose.owner_id, kind
        ON CONFLICT (user_id, kind) DO UPDATE
        SET created = shelf.created + excluded.created, completed = shelf.completed + excluded.completed, failed = shelf.failed + excluded.failed,
            cancelled = shelf.cancelled + excluded.cancelled, public = shelf.public + excluded.public
    ), tallied AS (
        INSERT INTO tally (stripe, kind, created, completed, failed, cancelled)
        SELECT pg_backend_pid() % 16, kind, count(*) FILTER (WHERE status = 'created'), count(*) FILTER (WHERE status = 'completed'),
            count(*) FILTER (WHERE status = 'failed'), count(*) FILTER (WHERE status = 'cancelled')
        FROM changed WHERE status <> 'processing' GROUP BY kind ORDER BY kind
        ON CONFLICT (stripe, kind) DO UPDATE
        SET created = tally.created + excluded.created, completed = tally.completed + excluded.completed, failed = tally.failed + excluded.failed,
            cancelled = tally.cancelled + excluded.cancelled
    )
"""

# What tasks told goes in as one document: an array parameter costs half a microsecond of Python per element, a document a tenth of that.
# The same facts make a work's row or, where the task added to another work, a song's row. What is older than what the row knows
# changes nothing, and a row's owner never changes.
_KEEP_WORKS = f"""
    WITH changed AS (
        INSERT INTO work (work_id, user_id, kind, status, task_sequence, version, body, created_at, updated_at)
        SELECT (t ->> 'task_id')::uuid, (t ->> 'user_id')::uuid, t ->> 'kind', t ->> 'status', (t ->> 'sequence')::int, (t ->> 'status' = 'completed')::int,
            t -> 'body', (t ->> 'created_at')::timestamptz, $2
        FROM jsonb_array_elements($1::jsonb) AS t
        ON CONFLICT (work_id) DO UPDATE
        SET kind = excluded.kind, status = excluded.status, task_sequence = excluded.task_sequence, version = excluded.version, body = excluded.body,
            created_at = LEAST(work.created_at, excluded.created_at), updated_at = excluded.updated_at
        WHERE work.task_sequence < excluded.task_sequence AND work.user_id = excluded.user_id AND work.status <> 'deleted'
        RETURNING work_id, user_id, kind, status, is_public
    ), {_COUNTED}
    SELECT work_id, is_public FROM changed
"""

_KEEP_SONGS = """
    INSERT INTO song (task_id, work_id, user_id, status, task_sequence, body, created_at, updated_at)
    SELECT (t ->> 'task_id')::uuid, (t ->> 'work_id')::uuid, (t ->> 'user_id')::uuid, t ->> 'status', (t ->> 'sequence')::int,
        t -> 'body', (t ->> 'created_at')::timestamptz, $2
    FROM jsonb_array_elements($1::jsonb) AS t
    ON CONFLICT (task_id) DO UPDATE
    SET status = excluded.status, task_sequence = excluded.task_sequence, body = excluded.body,
        created_at = LEAST(song.created_at, excluded.created_at), updated_at = excluded.updated_at
    WHERE song.task_sequence < excluded.task_sequence AND song.user_id = excluded.user_id AND song.status <> 'deleted'
    RETURNING task_id
"""


async def keep_works(conn: asyncpg.Connection, told: Sequence[Told], now: datetime) -> dict[int, bool]:
    """Save what is newer than the rows know, and count it; answers by its id's number each work that changed and whether it is public.

    `told` is sorted by task.
    """
    rows = await conn.fetch(_KEEP_WORKS, [_document(one) for one in told], now)
    return {row["work_id"].int: row["is_public"] for row in rows}


async def keep_songs(conn: asyncpg.Connection, told: Sequence[Told], now: datetime) -> set[UUID]:
    """The same for songs added to other works; answers the tasks whose rows changed."""
    rows = await conn.fetch(_KEEP_SONGS, [_document(one) for one in told], now)
    return {row["task_id"] for row in rows}


def _document(told: Told) -> dict[str, object]:
    fact = told.fact
    return {
        "task_id": fact.task_id,
        "user_id": fact.user_id,
        "work_id": fact.work_id,
        "kind": fact.kind,
        "status": told.status,
        "sequence": fact.sequence,
        "body": body_of(fact),
        "created_at": told.created_at,
    }


async def move_creations_back(conn: asyncpg.Connection, created_at: Mapping[UUID, datetime]) -> None:
    """Set when works (or songs) were really asked for, where their creation is heard after their end."""
    for table, column in (("work", "work_id"), ("song", "task_id"), ("own_tag", "work_id"), ("public_tag", "work_id")):
        await conn.execute(
            f"""
            UPDATE {table} SET created_at = t.created_at FROM unnest($1::uuid[], $2::timestamptz[]) AS t (id, created_at)
            WHERE {table}.{column} = t.id AND {table}.created_at > t.created_at
            """,
            list(created_at),
            list(created_at.values()),
        )


async def complete_photos(conn: asyncpg.Connection, songs: Collection[tuple[UUID, UUID]], now: datetime) -> list[UUID]:
    """Photos that got their first song are complete now; answers whose they were. `songs` says for which work and whose each was.

    Every work that got one is locked, so that none is deleted before the songs' rows can be seen.
    """
    named = [work_id for work_id, _ in songs], [user_id for _, user_id in songs]
    grown = "unnest($1::uuid[], $2::uuid[]) AS t (work_id, user_id)"
    await conn.execute(f"SELECT FROM work w JOIN {grown} USING (work_id, user_id) ORDER BY w.work_id FOR UPDATE OF w", *named)
    rows = await conn.fetch(
        f"""
        UPDATE work SET status = 'completed', updated_at = $3 FROM {grown}
        WHERE work.work_id = t.work_id AND work.user_id = t.user_id AND work.status = 'created' RETURNING work.user_id
        """,
        *named,
        now,
    )
    return [row["user_id"] for row in rows]


async def empty_orphans(conn: asyncpg.Connection, task_ids: Sequence[UUID]) -> dict[UUID, Body]:
    """Songs whose work was deleted before they were heard of are nobody's: their rows become empty; answers what they said, by task."""
    rows = await conn.fetch(
        """
        WITH orphan AS (
            SELECT s.task_id, s.body FROM song s JOIN work w USING (work_id)
            WHERE s.task_id = ANY($1::uuid[]) AND s.status <> 'deleted' AND w.status = 'deleted' ORDER BY s.task_id FOR UPDATE OF s
        )
        UPDATE song SET status = 'deleted', body = '{}' FROM orphan WHERE song.task_id = orphan.task_id RETURNING orphan.task_id, orphan.body
        """,
        task_ids,
    )
    return {row["task_id"]: row["body"] for row in rows}


async def insert_works(conn: asyncpg.Connection, works: Sequence[NewWork], now: datetime) -> set[UUID]:
    """Save photos as works, sorted by id; answers those that were not there before."""
    rows = await conn.fetch(
        f"""
        WITH changed AS (
            INSERT INTO work (work_id, user_id, kind, status, version, is_public, body, body_hash, created_at, updated_at)
            SELECT n.work_id, n.user_id, 'photo', 'created', 1, n.is_public, n.body, n.body_hash, $6, $6
            FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::jsonb[], $5::bytea[]) AS n (work_id, user_id, is_public, body, body_hash)
            ON CONFLICT (work_id) DO NOTHING
            RETURNING work_id, user_id, kind, status, is_public
        ), {_COUNTED}
        SELECT work_id FROM changed
        """,
        [work.work_id for work in works],
        [work.user_id for work in works],
        [work.is_public for work in works],
        [work.body for work in works],
        [work.body_hash for work in works],
        now,
    )
    return {row["work_id"] for row in rows}


async def load_body_hashes(conn: asyncpg.Connection, work_ids: Sequence[UUID]) -> dict[UUID, bytes | None]:
    """What was asked under these names."""
    rows = await conn.fetch("SELECT work_id, body_hash FROM work WHERE work_id = ANY($1::uuid[])", work_ids)
    return {row["work_id"]: row["body_hash"] for row in rows}
