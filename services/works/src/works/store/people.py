"""What people are called."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg


async def keep_names(conn: asyncpg.Connection, people: Sequence[tuple[UUID, str, str | None, int]]) -> list[str]:
    """Save people's names; what is older than the row changes nothing. Sorted by user, each user once. Answers the keys of pictures that were replaced."""
    rows = await conn.fetch(
        """
        WITH before AS (
            SELECT user_id, avatar_key FROM person WHERE user_id = ANY($1::uuid[])
        ), changed AS (
            INSERT INTO person (user_id, name, avatar_key, sequence)
            SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[])
            ON CONFLICT (user_id) DO UPDATE SET name = excluded.name, avatar_key = excluded.avatar_key, sequence = excluded.sequence
            WHERE person.sequence < excluded.sequence
            RETURNING user_id, avatar_key
        )
        SELECT before.avatar_key FROM changed JOIN before USING (user_id)
        WHERE before.avatar_key IS NOT NULL AND before.avatar_key IS DISTINCT FROM changed.avatar_key
        """,
        *([person[column] for person in people] for column in range(4)),
    )
    return [row["avatar_key"] for row in rows]
