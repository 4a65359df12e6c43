"""Every SQL statement works runs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from works.domain import EVERYBODY, KINDS, SEEN, NewWork, Reach, StoredFile, Told, Wanted, Work, body_of, owner_of

# Every work that `changed` is now counted where it stands: on its owner's shelf and, when public, on everybody's. What is processing is not
# counted, so a task's work is counted once, at its end. Shelves are locked in sorted order.
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
        WHERE work.task_sequence < excluded.task_sequence AND work.user_id = excluded.user_id
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
    WHERE song.task_sequence < excluded.task_sequence AND song.user_id = excluded.user_id
    RETURNING task_id
"""

_NEWEST_FIRST = "ORDER BY created_at DESC, work_id DESC"


async def keep_works(conn: asyncpg.Connection, told: Sequence[Told], now: datetime) -> dict[UUID, bool]:
    """Save what is newer than the rows know, and count it; answers the works that changed and whether each is public. `told` is sorted by task."""
    rows = await conn.fetch(_KEEP_WORKS, [_document(one) for one in told], now)
    return {row["work_id"]: row["is_public"] for row in rows}


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
    for table, column in (("work", "work_id"), ("song", "task_id")):
        await conn.execute(
            f"""
            UPDATE {table} SET created_at = t.created_at FROM unnest($1::uuid[], $2::timestamptz[]) AS t (id, created_at)
            WHERE {table}.{column} = t.id AND {table}.created_at > t.created_at
            """,
            list(created_at),
            list(created_at.values()),
        )


async def complete_photos(conn: asyncpg.Connection, songs: Collection[tuple[UUID, UUID]], now: datetime) -> list[UUID]:
    """Photos that got their first song are complete now; answers whose they were. `songs` says for which work and whose each was."""
    rows = await conn.fetch(
        """
        UPDATE work SET status = 'completed', updated_at = $3
        WHERE status = 'created' AND work_id IN (
            SELECT w.work_id FROM work w JOIN unnest($1::uuid[], $2::uuid[]) AS t (work_id, user_id) ON w.work_id = t.work_id AND w.user_id = t.user_id
            WHERE w.status = 'created' ORDER BY w.work_id FOR UPDATE OF w
        )
        RETURNING user_id
        """,
        [work_id for work_id, _ in songs],
        [user_id for _, user_id in songs],
        now,
    )
    return [row["user_id"] for row in rows]


async def move_completed_photos(conn: asyncpg.Connection, owners: Sequence[UUID]) -> None:
    """Count photos that were completed where they stand now, one per owner named."""
    await conn.execute(
        """
        INSERT INTO shelf (user_id, kind, created, completed)
        SELECT owner_id, 'photo', -count(*), count(*) FROM unnest($1::uuid[]) AS owner_id GROUP BY owner_id ORDER BY owner_id
        ON CONFLICT (user_id, kind) DO UPDATE SET created = shelf.created + excluded.created, completed = shelf.completed + excluded.completed
        """,
        owners,
    )


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


async def insert_files(conn: asyncpg.Connection, files: Sequence[StoredFile], now: datetime) -> set[UUID]:
    """Save uploads, sorted by id; answers those that were not there before."""
    rows = await conn.fetch(
        """
        INSERT INTO file (file_id, user_id, key, content_type, size_bytes, width, height, md5, body_hash, created_at)
        SELECT f.*, $10
        FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::int[], $6::int[], $7::int[], $8::bytea[], $9::bytea[]) AS f
        ON CONFLICT (file_id) DO NOTHING
        RETURNING file_id
        """,
        [file.file_id for file in files],
        [file.user_id for file in files],
        [file.key for file in files],
        [file.content_type for file in files],
        [file.size_bytes for file in files],
        [file.width for file in files],
        [file.height for file in files],
        [file.md5 for file in files],
        [file.body_hash for file in files],
        now,
    )
    return {row["file_id"] for row in rows}


async def load_files(conn: asyncpg.Connection, file_ids: Sequence[UUID]) -> dict[UUID, StoredFile]:
    """Uploads by id."""
    rows = await conn.fetch(
        "SELECT file_id, user_id, key, content_type, size_bytes, width, height, md5, body_hash FROM file WHERE file_id = ANY($1::uuid[])", file_ids
    )
    return {row["file_id"]: StoredFile(**row) for row in rows}


async def delete_files(conn: asyncpg.Connection, user_id: UUID, key: str) -> list[int]:
    """Forget every upload of a user that lies under a key; answers their sizes."""
    rows = await conn.fetch("DELETE FROM file WHERE user_id = $1 AND key = $2 RETURNING size_bytes", user_id, key)
    return [row["size_bytes"] for row in rows]


async def lock_storage(conn: asyncpg.Connection, user_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many bytes these users keep; their rows are there and locked afterwards. `user_ids` is sorted."""
    rows = await conn.fetch(
        """
        INSERT INTO storage (user_id, files, bytes) SELECT user_id, 0, 0 FROM unnest($1::uuid[]) AS user_id
        ON CONFLICT (user_id) DO UPDATE SET files = storage.files
        RETURNING user_id, bytes
        """,
        user_ids,
    )
    return {row["user_id"]: row["bytes"] for row in rows}


async def find_storage(conn: asyncpg.Connection, user_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many bytes these users keep; those who keep none may be absent."""
    rows = await conn.fetch("SELECT user_id, bytes FROM storage WHERE user_id = ANY($1::uuid[])", user_ids)
    return {row["user_id"]: row["bytes"] for row in rows}


async def move_storage(conn: asyncpg.Connection, changes: Sequence[tuple[UUID, int, int]]) -> None:
    """Add files and bytes (or take them away) to users' rows, which are locked."""
    await conn.execute(
        """
        UPDATE storage SET files = storage.files + c.files, bytes = storage.bytes + c.bytes
        FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS c (user_id, files, bytes) WHERE storage.user_id = c.user_id
        """,
        *([change[column] for change in changes] for column in range(3)),
    )


async def insert_loose_objects(conn: asyncpg.Connection, keys: Sequence[str], look_at: datetime) -> None:
    """Remember keys that nothing may name; one that is being removed right now is waited for. `keys` is sorted."""
    await conn.execute(
        """
        INSERT INTO loose_object (key, look_at) SELECT key, $2 FROM unnest($1::text[]) AS key
        ON CONFLICT (key) DO UPDATE SET look_at = GREATEST(loose_object.look_at, excluded.look_at)
        """,
        keys,
        look_at,
    )


async def delete_loose_objects(conn: asyncpg.Connection, keys: Sequence[str]) -> None:
    """Something names these keys now. `keys` is sorted."""
    await conn.execute("DELETE FROM loose_object WHERE key IN (SELECT key FROM loose_object WHERE key = ANY($1::text[]) ORDER BY key FOR UPDATE)", keys)


async def list_due_objects(conn: asyncpg.Connection, now: datetime, limit: int) -> list[str]:
    """Keys to look at by now, those that waited longest first."""
    return [row["key"] for row in await conn.fetch("SELECT key FROM loose_object WHERE look_at <= $1 ORDER BY look_at LIMIT $2", now, limit)]


async def claim_loose_object(conn: asyncpg.Connection, key: str, now: datetime) -> bool:
    """Take a due key off the list; until the end of the transaction nobody else can put it there, and so nobody stores its bytes."""
    found: bool = await conn.fetchval(
        """
        WITH taken AS (
            DELETE FROM loose_object
            WHERE key IN (SELECT key FROM loose_object WHERE key = $1 AND look_at <= $2 FOR UPDATE SKIP LOCKED)
            RETURNING key
        )
        SELECT EXISTS (SELECT FROM taken)
        """,
        key,
        now,
    )
    return found


async def is_named(conn: asyncpg.Connection, key: str) -> bool:
    """Whether anything shows what lies under an upload's key: a file, a work made of it, a person."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM file WHERE user_id = $2 AND key = $1) OR EXISTS (SELECT FROM work WHERE body ? 'image' AND body ->> 'image' = $1)
            OR EXISTS (SELECT FROM person WHERE avatar_key = $1)
        """,
        key,
        owner_of(key),
    )
    return found


async def count_incoming(conn: asyncpg.Connection, folder: str) -> int:
    """How many uploads of a folder are announced and not completed."""
    found: int = await conn.fetchval("SELECT count(*) FROM loose_object WHERE key >= $1 AND key < $2", folder, f"{folder[:-1]}0")
    return found


async def has_file(conn: asyncpg.Connection, user_id: UUID, key: str) -> bool:
    """Whether a user uploaded what lies under this key."""
    found: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM file WHERE user_id = $1 AND key = $2)", user_id, key)
    return found


async def keep_names(conn: asyncpg.Connection, people: Sequence[tuple[UUID, str, str | None, int]]) -> None:
    """Save people's names; what is older than the row changes nothing. Sorted by user, each user once."""
    await conn.execute(
        """
        INSERT INTO person (user_id, name, avatar_key, sequence)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[])
        ON CONFLICT (user_id) DO UPDATE SET name = excluded.name, avatar_key = excluded.avatar_key, sequence = excluded.sequence
        WHERE person.sequence < excluded.sequence
        """,
        *([person[column] for person in people] for column in range(4)),
    )


async def lock_works(conn: asyncpg.Connection, work_ids: Sequence[UUID]) -> dict[UUID, Work]:
    """Works to be changed, sorted; deleted ones are absent."""
    rows = await conn.fetch(
        """
        SELECT work_id, user_id, kind, status, is_public, is_favorite, body, body_hash, created_at, updated_at, version, plays, likes
        FROM work WHERE work_id = ANY($1::uuid[]) AND status <> 'deleted' ORDER BY work_id FOR UPDATE
        """,
        sorted(set(work_ids)),
    )
    return {row["work_id"]: Work(**row) for row in rows}


async def save_marks(conn: asyncpg.Connection, work: Work) -> None:
    """Flags, tags and version as they are now."""
    await conn.execute(
        "UPDATE work SET is_favorite = $2, is_public = $3, body = $4, version = $5, updated_at = $6 WHERE work_id = $1",
        work.work_id, work.is_favorite, work.is_public, work.body, work.version, work.updated_at,
    )  # fmt: skip


async def empty_works(conn: asyncpg.Connection, work_ids: Sequence[UUID], now: datetime) -> None:
    """What is left of a deleted work: its id, and how new it was."""
    await conn.execute(
        """
        UPDATE work SET status = 'deleted', body = '{}', is_public = false, is_favorite = false, version = version + 1, plays = 0, likes = 0, updated_at = $2
        WHERE work_id = ANY($1::uuid[])
        """,
        list(work_ids),
        now,
    )
    await conn.execute("DELETE FROM liked WHERE work_id = ANY($1::uuid[])", list(work_ids))
    await conn.execute("DELETE FROM played WHERE work_id = ANY($1::uuid[])", list(work_ids))


async def move_shelves(conn: asyncpg.Connection, changes: Sequence[tuple[UUID, str, str, int]]) -> None:
    """(user, kind, column, by) added to the kept numbers, in order of user and kind."""
    for user_id, kind, column, by in sorted(changes):
        assert column in ("created", "completed", "failed", "cancelled", "public")
        await conn.execute(
            f"""
            INSERT INTO shelf (user_id, kind, {column}) VALUES ($1, $2, $3)
            ON CONFLICT (user_id, kind) DO UPDATE SET {column} = shelf.{column} + excluded.{column}
            """,
            user_id, kind, by,
        )  # fmt: skip


async def insert_admin_actions(conn: asyncpg.Connection, admin_id: UUID, works: Sequence[Work], now: datetime) -> None:
    """What an operator took away from whom."""
    await conn.execute(
        "INSERT INTO admin_action (admin_id, work_id, user_id, action, acted_at) SELECT $1, w, u, 'delete', $4 FROM unnest($2::uuid[], $3::uuid[]) AS x (w, u)",
        admin_id, [work.work_id for work in works], [work.user_id for work in works], now,
    )  # fmt: skip


async def set_liked(conn: asyncpg.Connection, work_id: UUID, user_id: UUID, *, liked: bool, now: datetime) -> bool:
    """Like it or not any more; False when nothing changed."""
    if liked:
        sql, args = "INSERT INTO liked (work_id, user_id, liked_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING 1", (work_id, user_id, now)
    else:
        sql, args = "DELETE FROM liked WHERE work_id = $1 AND user_id = $2 AND $3::timestamptz IS NOT NULL RETURNING 1", (work_id, user_id, now)
    return await conn.fetchrow(sql, *args) is not None


async def set_played(conn: asyncpg.Connection, work_id: UUID, user_id: UUID, *, again_after: timedelta, now: datetime) -> bool:
    """Remember that it was played; False when it counted a short while ago already."""
    row = await conn.fetchrow(
        """
        INSERT INTO played (work_id, user_id, played_at) VALUES ($1, $2, $3)
        ON CONFLICT (work_id, user_id) DO UPDATE SET played_at = excluded.played_at WHERE played.played_at <= $4 RETURNING 1
        """,
        work_id, user_id, now, now - again_after,
    )  # fmt: skip
    return row is not None


async def move_counts(conn: asyncpg.Connection, work_id: UUID, *, plays: int = 0, likes: int = 0) -> tuple[int, int, int]:
    """Add to a work's plays and likes; answers version, plays and likes after it."""
    row = await conn.fetchrow(
        "UPDATE work SET plays = plays + $2, likes = likes + $3, version = version + 1 WHERE work_id = $1 RETURNING version, plays, likes",
        work_id,
        plays,
        likes,
    )
    assert row is not None
    return (row[0], row[1], row[2])


async def list_everybodys(
    conn: asyncpg.Connection, *, kind: str | None, status: str | None, user_id: UUID | None, limit: int, offset: int
) -> tuple[list[Work], int]:
    """A page of all works, the newest first, for operators, and how many there are."""
    chosen = "status <> 'deleted' AND ($1::text IS NULL OR kind = $1) AND ($2::text IS NULL OR status = $2) AND ($3::uuid IS NULL OR user_id = $3)"
    page = f"SELECT * FROM work WHERE {chosen} {_NEWEST_FIRST} LIMIT $4 OFFSET $5"
    rows = await conn.fetch(_shown(page), kind, status, user_id, limit, offset)
    total: int = await conn.fetchval(f"SELECT count(*) FROM work WHERE {chosen}", kind, status, user_id)
    return [_work(row) for row in rows], total


async def count_everybodys(conn: asyncpg.Connection, *, today: datetime) -> tuple[int, int, int, int]:
    """All works, today's, those completed and those failed: from the shelves where they know."""
    row = await conn.fetchrow(
        """
        SELECT coalesce(sum(created + completed + failed + cancelled), 0)::bigint + (SELECT count(*) FROM work WHERE status = 'processing'),
            (SELECT count(*) FROM work WHERE status <> 'deleted' AND created_at >= $1),
            coalesce(sum(completed), 0)::bigint, coalesce(sum(failed), 0)::bigint
        FROM shelf WHERE user_id <> $2
        """,
        today,
        EVERYBODY,
    )
    assert row is not None
    return (row[0], row[1], row[2], row[3])


async def load_work(conn: asyncpg.Connection, work_id: UUID) -> Work | None:
    """One work with its songs and its creator."""
    row = await conn.fetchrow(_shown("SELECT * FROM work WHERE work_id = $1 AND status <> 'deleted'"), work_id)
    return _work(row) if row is not None else None


async def load_works(conn: asyncpg.Connection, work_ids: Sequence[UUID]) -> list[Work]:
    """Works by id; unknown ids are absent."""
    return [_work(row) for row in await conn.fetch(_shown("SELECT * FROM work WHERE work_id = ANY($1::uuid[]) AND status <> 'deleted'"), work_ids)]


async def list_works(conn: asyncpg.Connection, wanted: Wanted) -> list[Work]:
    """A page of works, the newest first. Each reach walks an index of its own."""
    args: list[object] = []
    reach_end = _arg(args, wanted.limit + wanted.offset)
    parts = [f"(SELECT * FROM work WHERE {_conditions(wanted, reach, args)} {_NEWEST_FIRST} LIMIT {reach_end})" for reach in wanted.reaches]
    page = f"SELECT * FROM ({' UNION ALL '.join(parts)}) AS reached {_NEWEST_FIRST} LIMIT {_arg(args, wanted.limit)} OFFSET {_arg(args, wanted.offset)}"
    return [_work(row) for row in await conn.fetch(_shown(page), *args)]


async def count_works(conn: asyncpg.Connection, wanted: Wanted) -> int:
    """How many works a list has in all: from the shelves where they know, else counted in the reach's own index."""
    args: list[object] = []
    counts = []
    for reach in wanted.reaches:
        column = _kept_number(wanted, reach)
        if column is None:
            counts.append(f"(SELECT count(*) FROM work WHERE {_conditions(wanted, reach, args)})")
        else:
            shelves = f"user_id = {_arg(args, reach.owner_id or EVERYBODY)} AND kind = ANY({_arg(args, wanted.kinds)}::text[])"
            counts.append(f"(SELECT coalesce(sum({column}), 0)::bigint FROM shelf WHERE {shelves})")
    found: int = await conn.fetchval(f"SELECT {' + '.join(counts)}", *args)
    return found


def _kept_number(wanted: Wanted, reach: Reach) -> str | None:
    """The expression over shelves that answers a list's total, or None where they do not know."""
    if wanted.tag is not None or wanted.is_favorite is not None or wanted.status == "processing":
        return None
    if reach.is_public is None:
        return wanted.status or "created + completed"
    if wanted.status is not None and (wanted.status != "completed" or "photo" in wanted.kinds):
        return None
    return "public" if reach.is_public else "created + completed - public"


def _conditions(wanted: Wanted, reach: Reach, args: list[object]) -> str:
    # The statuses stand in the text, not among the arguments: a partial index is only found by what the planner can read.
    found = ["status IN ('created', 'completed')" if wanted.status is None or wanted.status in SEEN else "status IN ('processing', 'failed', 'cancelled')"]
    if wanted.status is not None:
        found.append(f"status = {_arg(args, wanted.status)}")
    if reach.owner_id is not None:
        found.append(f"user_id = {_arg(args, reach.owner_id)}")
    if reach.is_public is not None or reach.owner_id is None:
        found.append("NOT is_public" if reach.is_public is False else "is_public")
    if wanted.kinds != KINDS:
        found.append(f"kind = ANY({_arg(args, wanted.kinds)}::text[])")
    if wanted.is_favorite is not None:
        found.append(f"is_favorite = {_arg(args, wanted.is_favorite)}")
    if wanted.tag is not None:
        found.append(f"body -> 'tags' ? {_arg(args, wanted.tag)}")
    return " AND ".join(found)


def _arg(args: list[object], value: object) -> str:
    args.append(value)
    return f"${len(args)}"


def _shown(works: str) -> str:
    """Works as they are shown: with the songs added to them (the owner's own only) and the name of their creator."""
    return f"""
        SELECT w.work_id, w.user_id, w.kind, w.status, w.is_public, w.is_favorite, w.body, w.body_hash, w.created_at, w.updated_at, w.version, w.plays, w.likes,
            (SELECT jsonb_agg(s.body ORDER BY s.created_at, s.task_id) FROM song s
             WHERE s.work_id = w.work_id AND s.user_id = w.user_id AND s.status = 'completed') AS songs,
            p.name AS creator_name, p.avatar_key
        FROM ({works}) AS w LEFT JOIN person p ON p.user_id = w.user_id
        {_NEWEST_FIRST}
    """


def _work(row: Any) -> Work:
    return Work(**{**row, "songs": tuple(row["songs"] or ()), "creator_name": row["creator_name"] or ""})
