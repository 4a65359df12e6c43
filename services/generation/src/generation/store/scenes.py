"""Scenes."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import orjson
from asyncpg import Connection

from generation.domain import Scene

_SCENE = """scene_id, version, scene_name, category, description, prompt_template, cover_key, cover_link, parameters, tags, status, display_order,
    created_at, updated_at"""


async def list_scenes(conn: Connection) -> list[Scene]:
    """Every scene, in the order shown."""
    rows = await conn.fetch(f"SELECT {_SCENE} FROM scene ORDER BY display_order, scene_id")
    return [Scene(**row) for row in rows]


async def lock_scenes(conn: Connection, scene_ids: Sequence[str]) -> dict[str, Scene]:
    """Scenes to be changed, sorted."""
    rows = await conn.fetch(f"SELECT {_SCENE} FROM scene WHERE scene_id = ANY($1::text[]) ORDER BY scene_id FOR UPDATE", list(scene_ids))
    return {row["scene_id"]: Scene(**row) for row in rows}


async def lock_first(conn: Connection, scene_id: str) -> dict[str, Any] | None:
    """What was first made under the number an id ends with, also under another name; one transaction at a time goes on for it."""
    number = scene_id.rpartition("-")[2]
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('scene ' || $1, 0))", number)
    body: dict[str, Any] | None = await conn.fetchval(
        "SELECT body FROM scene_version WHERE scene_id LIKE '%-' || $1 ORDER BY created_at, version LIMIT 1", number
    )
    return body


def noted(scene: Scene) -> dict[str, Any]:
    """What is kept of a version."""
    body: dict[str, Any] = orjson.loads(orjson.dumps({name: value for name, value in asdict(scene).items() if name not in ("created_at", "updated_at")}))
    return body


async def last_version(conn: Connection, scene_id: str) -> int:
    """The highest version this id ever had, 0 for a new one: a scene made again under an old id goes on counting."""
    version: int = await conn.fetchval("SELECT coalesce(max(version), 0) FROM scene_version WHERE scene_id = $1", scene_id)
    return version


async def save_scene(conn: Connection, scene: Scene) -> None:
    """The scene as it is now, and what it said in this version."""
    await conn.execute(
        f"""
        INSERT INTO scene ({_SCENE}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
        ON CONFLICT (scene_id) DO UPDATE SET version = excluded.version, scene_name = excluded.scene_name, category = excluded.category,
            description = excluded.description, prompt_template = excluded.prompt_template, cover_key = excluded.cover_key, cover_link = excluded.cover_link,
            parameters = excluded.parameters, tags = excluded.tags, status = excluded.status, display_order = excluded.display_order,
            updated_at = excluded.updated_at
        """,
        scene.scene_id, scene.version, scene.scene_name, scene.category, scene.description, scene.prompt_template, scene.cover_key, scene.cover_link,
        scene.parameters, list(scene.tags), scene.status, scene.display_order, scene.created_at, scene.updated_at,
    )  # fmt: skip
    await _note(conn, scene)


async def delete_scene(conn: Connection, scene: Scene, now: datetime) -> None:
    """Gone from the list; its versions stay for the tasks that used them. The deletion is a version too."""
    await conn.execute("DELETE FROM scene WHERE scene_id = $1", scene.scene_id)
    await conn.execute(
        "INSERT INTO scene_version (scene_id, version, body, created_at) VALUES ($1, $2, $3, $4)", scene.scene_id, scene.version + 1, {"deleted": True}, now
    )


async def _note(conn: Connection, scene: Scene) -> None:
    await conn.execute(
        "INSERT INTO scene_version (scene_id, version, body, created_at) VALUES ($1, $2, $3, $4)",
        scene.scene_id, scene.version, noted(scene), scene.updated_at,
    )  # fmt: skip
