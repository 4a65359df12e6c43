"""What people are called."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg


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
