"""Uploads, how much their owners keep, and objects that nothing may name."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from common.objects.keys import task_of
from works.domain import StoredFile, owner_of

_COLUMNS = "file_id, user_id, key, content_type, size_bytes, width, height, md5, body_hash"


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
    rows = await conn.fetch(f"SELECT {_COLUMNS} FROM file WHERE file_id = ANY($1::uuid[])", file_ids)
    return {row["file_id"]: StoredFile(**row) for row in rows}


async def delete_files(conn: asyncpg.Connection, user_id: UUID, key: str) -> list[int]:
    """Forget every upload of a user that lies under a key; answers their sizes."""
    rows = await conn.fetch("DELETE FROM file WHERE user_id = $1 AND key = $2 RETURNING size_bytes", user_id, key)
    return [row["size_bytes"] for row in rows]


async def delete_files_by_id(conn: asyncpg.Connection, file_ids: Sequence[UUID]) -> list[StoredFile]:
    """Forget uploads; answers those that were there."""
    return [StoredFile(**row) for row in await conn.fetch(f"DELETE FROM file WHERE file_id = ANY($1::uuid[]) RETURNING {_COLUMNS}", file_ids)]


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
    """Whether anything shows what lies under a key: a file, a work made of it, a person; for what a task made, its work or its song."""
    found: bool = await conn.fetchval(
        """
        SELECT EXISTS (SELECT FROM file WHERE user_id = $2 AND key = $1) OR EXISTS (SELECT FROM work WHERE body ? 'image' AND body ->> 'image' = $1)
            OR EXISTS (SELECT FROM person WHERE avatar_key = $1)
            OR EXISTS (SELECT FROM work WHERE work_id = $3 AND status <> 'deleted') OR EXISTS (SELECT FROM song WHERE task_id = $3 AND status <> 'deleted')
        """,
        key,
        owner_of(key),
        task_of(key),
    )
    return found


async def lock_incoming(conn: asyncpg.Connection, folder: str) -> None:
    """One transaction at a time goes on for this folder: what is announced in it is counted, and no row stands for it."""
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", folder)


async def count_incoming(conn: asyncpg.Connection, folder: str) -> int:
    """How many uploads of a folder are announced and not completed."""
    found: int = await conn.fetchval(
        """
        SELECT count(*) FROM loose_object AS loose
        WHERE key >= $1 AND key < $2 AND NOT EXISTS (SELECT FROM file WHERE file_id = substr(loose.key, length($1) + 1, 36)::uuid)
        """,
        folder,
        f"{folder[:-1]}0",
    )
    return found


async def has_file(conn: asyncpg.Connection, user_id: UUID, key: str) -> bool:
    """Whether a user uploaded what lies under this key."""
    found: bool = await conn.fetchval("SELECT EXISTS (SELECT FROM file WHERE user_id = $1 AND key = $2)", user_id, key)
    return found
