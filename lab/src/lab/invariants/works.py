"""Works' promise: each result is kept once, by its owner, with exactly what was delivered; and the shelves count right."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import asyncpg

from lab.invariants.places import say
from lab.invariants.tasks import ENDED, Task
from works.domain import TAG_LENGTH_MAX


async def check_works(works: asyncpg.Connection, generation: asyncpg.Connection | None, tasks: Mapping[UUID, Task]) -> list[str]:
    """One row per task: a work of its own, or a song of another work; nothing else but photos. Of deleted ones only the row is left."""
    own = {row["id"]: row for row in await works.fetch(_OWN)}
    songs = {row["id"]: row for row in await works.fetch(_SONGS)}
    kept = {**songs, **{each: row for each, row in own.items() if row["kind"] != "photo"}}
    deleted = {each for each, row in kept.items() if row["status"] == "deleted"}
    found = say("ended tasks without a work", _missing(tasks, own, songs))
    found += say("works of no task", [each for each in kept if each not in tasks])
    found += say("works that do not match their task", _mismatches(tasks, own, songs))
    if generation is not None:
        delivered = {row["task_id"]: row["keys"] for row in await generation.fetch(_DELIVERED)}
        ended = [task for task in tasks.values() if task.state in ENDED and task.task_id in kept and task.task_id not in deleted]
        found += say(
            "works that do not have what was delivered",
            [task.task_id for task in ended if (kept[task.task_id]["keys"] or []) != delivered.get(task.task_id, [])],
        )
    return found


def _missing(tasks: Mapping[UUID, Task], own: Mapping[UUID, Any], songs: Mapping[UUID, Any]) -> Iterator[UUID]:
    for task in tasks.values():
        place = own if task.work_id == task.task_id else songs
        if task.state in ENDED and task.task_id not in place:
            yield task.task_id


def _mismatches(tasks: Mapping[UUID, Task], own: Mapping[UUID, Any], songs: Mapping[UUID, Any]) -> Iterator[str]:
    for task in tasks.values():
        is_song_of_another = task.work_id != task.task_id
        row = (songs if is_song_of_another else own).get(task.task_id)
        if row is None or task.state not in ENDED:
            continue
        if is_song_of_another and task.task_id in own:
            yield f"{task.task_id} (kept twice)"
        if (row["user_id"], row["work_id"]) != (task.user_id, task.work_id):
            yield f"{task.task_id} (another owner or work)"
        if row["status"] not in (task.outcome, "deleted") or row["task_sequence"] != task.version:
            yield f"{task.task_id} ({row['status']} at {row['task_sequence']}, the task is {task.state} at {task.version})"


async def check_shelves(works: asyncpg.Connection) -> list[str]:
    """The kept numbers are those of the rows."""
    found = say("shelves that count wrong", [row[0] for row in await works.fetch(_WRONG_SHELVES)])
    found += say("kinds that are tallied wrong", [row[0] for row in await works.fetch(_WRONG_TALLIES)])
    found += say("works with wrong likes", [row[0] for row in await works.fetch(_WRONG_LIKES)])
    found += say("works with wrong tags", [row[0] for row in await works.fetch(_WRONG_OWN_TAGS)])
    return found + say("works with wrong public tags", [row[0] for row in await works.fetch(_WRONG_TAGS)])


_KEYS = "(SELECT array_agg(item ->> 'key' ORDER BY (item ->> 'index')::int) FROM jsonb_array_elements(body::jsonb -> 'items') AS item)"
_OWN = f"SELECT work_id AS id, work_id, user_id, kind, status, task_sequence, {_KEYS} AS keys FROM work"
_SONGS = f"SELECT task_id AS id, work_id, user_id, 'song' AS kind, status, task_sequence, {_KEYS} AS keys FROM song"
_DELIVERED = "SELECT task_id, array_agg(key ORDER BY index) AS keys FROM item WHERE state = 'delivered' GROUP BY task_id"
_WRONG_SHELVES = """
    WITH counted AS (
        SELECT user_id, kind, count(*) FILTER (WHERE status = 'created') AS created, count(*) FILTER (WHERE status = 'completed') AS completed,
            count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
            count(*) FILTER (WHERE is_public AND status IN ('created', 'completed')) AS public
        FROM work GROUP BY user_id, kind
        UNION ALL
        SELECT '00000000-0000-0000-0000-000000000000', kind, 0, 0, 0, 0, count(*) FROM work
        WHERE is_public AND status IN ('created', 'completed') GROUP BY kind
    )
    SELECT format('%s of %s', kind, user_id) FROM shelf FULL JOIN counted USING (user_id, kind)
    WHERE (coalesce(shelf.created, 0), coalesce(shelf.completed, 0), coalesce(shelf.failed, 0), coalesce(shelf.cancelled, 0), coalesce(shelf.public, 0))
        <> (coalesce(counted.created, 0), coalesce(counted.completed, 0), coalesce(counted.failed, 0), coalesce(counted.cancelled, 0),
            coalesce(counted.public, 0))
"""
_WRONG_TALLIES = """
    WITH counted AS (
        SELECT kind, count(*) FILTER (WHERE status = 'created') AS created, count(*) FILTER (WHERE status = 'completed') AS completed,
            count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'cancelled') AS cancelled
        FROM work GROUP BY kind
    ), tallied AS (
        SELECT kind, sum(created) AS created, sum(completed) AS completed, sum(failed) AS failed, sum(cancelled) AS cancelled FROM tally GROUP BY kind
    )
    SELECT kind FROM tallied t FULL JOIN counted c USING (kind)
    WHERE (coalesce(t.created, 0), coalesce(t.completed, 0), coalesce(t.failed, 0), coalesce(t.cancelled, 0))
        <> (coalesce(c.created, 0), coalesce(c.completed, 0), coalesce(c.failed, 0), coalesce(c.cancelled, 0))
"""
_WRONG_LIKES = """
    SELECT work_id FROM work FULL JOIN (SELECT work_id, count(*) AS fans FROM liked GROUP BY work_id) AS counted USING (work_id)
    WHERE coalesce(work.likes, 0) <> coalesce(counted.fans, 0)
"""
_WRONG_TAGS = f"""
    WITH wanted AS (
        SELECT DISTINCT work_id, tag FROM work CROSS JOIN LATERAL jsonb_array_elements_text(body::jsonb -> 'tags') AS tag
        WHERE is_public AND status IN ('created', 'completed') AND body::jsonb ? 'tags' AND length(tag) <= {TAG_LENGTH_MAX}
    )
    SELECT work_id FROM wanted FULL JOIN public_tag USING (work_id, tag) WHERE (wanted IS NULL) <> (public_tag IS NULL)
"""
_WRONG_OWN_TAGS = f"""
    WITH wanted AS (
        SELECT DISTINCT work_id, tag, user_id, is_public, created_at FROM work CROSS JOIN LATERAL jsonb_array_elements_text(body::jsonb -> 'tags') AS tag
        WHERE status IN ('created', 'completed') AND body::jsonb ? 'tags' AND length(tag) <= {TAG_LENGTH_MAX}
    )
    SELECT work_id FROM wanted FULL JOIN own_tag USING (work_id, tag, user_id, is_public, created_at) WHERE (wanted IS NULL) <> (own_tag IS NULL)
"""
