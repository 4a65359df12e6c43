"""Scenes."""

from asyncpg import Connection

from generation.domain import Scene


async def list_scenes(conn: Connection) -> list[Scene]:
    """Every scene, in the order shown."""
    rows = await conn.fetch(
        """
        SELECT scene_id, version, scene_name, category, description, prompt_template, cover_key, parameters, tags, status, display_order, created_at, updated_at
        FROM scene ORDER BY display_order, scene_id
        """
    )
    return [Scene(**row) for row in rows]
