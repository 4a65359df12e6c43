"""What is read of works: one, several, pages, totals."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from works.domain import EVERYBODY, EVERYBODYS_ROWS_MAX, KINDS, SEEN, STATUSES, UNSEEN, Everybodys, Numbers, Place, Reach, Wanted, Work

_NEWEST_FIRST = "ORDER BY created_at DESC, work_id DESC"
_SEEN = "status IN ('created', 'completed')"
_UNSEEN = "status IN ('processing', 'failed', 'cancelled')"


async def load_work(conn: asyncpg.Connection, work_id: UUID) -> Work | None:
    """One work with its songs and its creator."""
    row = await conn.fetchrow(_shown("SELECT * FROM work WHERE work_id = $1 AND status <> 'deleted'"), work_id)
    return _work(row) if row is not None else None


async def load_works(conn: asyncpg.Connection, work_ids: Sequence[UUID]) -> list[Work]:
    """Works by id; unknown ids are absent."""
    return [_work(row) for row in await conn.fetch(_shown("SELECT * FROM work WHERE work_id = ANY($1::uuid[]) AND status <> 'deleted'"), work_ids)]


async def list_deleted(conn: asyncpg.Connection, work_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Those of these works that were deleted, and whose they were."""
    rows = await conn.fetch("SELECT work_id, user_id FROM work WHERE work_id = ANY($1::uuid[]) AND status = 'deleted'", work_ids)
    return {row["work_id"]: row["user_id"] for row in rows}


async def list_works(conn: asyncpg.Connection, wanted: Wanted) -> list[Work]:
    """A page of works, the newest first. Each reach walks an index of its own."""
    args: list[object] = []
    branches = [branch for reach in wanted.reaches for branch in _branches(wanted, reach, args)]
    works = await _list_page(conn, branches, args, limit=wanted.limit, offset=wanted.offset)
    return works if wanted.tag is None else [work for work in works if wanted.shows(work)]


async def count_works(conn: asyncpg.Connection, wanted: Wanted) -> int:
    """How many works a list has in all: from the shelves where they know, else counted in the reach's own index, everybody's as deep as lists go."""
    args: list[object] = []
    counts = []
    for reach in wanted.reaches:
        column = _kept_number(wanted, reach)
        if column is not None:
            shelves = f"user_id = {_arg(args, reach.owner_id or EVERYBODY)} AND kind = ANY({_arg(args, wanted.kinds)}::text[])"
            counts.append(f"(SELECT coalesce(sum({column}), 0)::bigint FROM shelf WHERE {shelves})")
        else:
            walked = " UNION ALL ".join(_branches(wanted, reach, args))
            end = "" if reach.owner_id is not None else f"LIMIT {EVERYBODYS_ROWS_MAX}"
            counts.append(f"(SELECT count(*) FROM (SELECT FROM ({walked}) AS walked {end}) AS counted)")
    found: int = await conn.fetchval(f"SELECT {' + '.join(counts)}", *args)
    return found


async def list_everybodys(conn: asyncpg.Connection, wanted: Everybodys) -> list[Work]:
    """A page of all works, the newest first, for operators. A kind and a status have an index of their own, and so has an owner."""
    args: list[object] = []
    branches = list(_operators_branches(wanted, args))
    return await _list_page(conn, branches, args, limit=wanted.limit, offset=wanted.offset)


async def count_everybodys(conn: asyncpg.Connection, wanted: Everybodys) -> int:
    """How many such works there are: kept numbers, and what is processing, which is bounded by the tasks on their way."""
    kept = [status for status in wanted.statuses if status != "processing"]
    args: list[object] = [list(wanted.kinds)]
    counts = []
    if kept:
        table = "tally WHERE" if wanted.user_id is None else f"shelf WHERE user_id = {_arg(args, wanted.user_id)} AND"
        counts.append(f"(SELECT coalesce(sum({' + '.join(kept)}), 0)::bigint FROM {table} kind = ANY($1::text[]))")
    if "processing" in wanted.statuses:
        whose = "" if wanted.user_id is None else f" AND user_id = {_arg(args, wanted.user_id)}"
        counts.append(f"(SELECT count(*) FROM work WHERE status = 'processing' AND kind = ANY($1::text[]){whose})")
    found: int = await conn.fetchval(f"SELECT {' + '.join(counts)}", *args)
    return found


async def count_all(conn: asyncpg.Connection, *, today: datetime) -> Numbers:
    """All works, those asked for since `today` began, those completed and those failed."""
    row = await conn.fetchrow(
        """
        SELECT coalesce(sum(created + completed + failed + cancelled), 0)::bigint
                + (SELECT count(*) FROM work WHERE status = 'processing' AND kind = ANY($2::text[])) AS total,
            (SELECT count(*) FROM work WHERE kind = ANY($2::text[]) AND status = ANY($3::text[]) AND status <> 'deleted' AND created_at >= $1) AS today,
            coalesce(sum(completed), 0)::bigint AS completed, coalesce(sum(failed), 0)::bigint AS failed
        FROM tally
        """,
        today,
        KINDS,
        STATUSES,
    )
    assert row is not None
    return Numbers(**row)


async def _list_page(conn: asyncpg.Connection, branches: Sequence[str], args: list[object], *, limit: int, offset: int) -> list[Work]:
    # The ids of the page come out of the indexes alone, however deep it lies; only its own rows are looked at. An array, because the planner
    # never expects many elements in one, whatever the limit.
    if len(branches) > 1:
        # Each walk ends where the page ends at the latest. Said so, the planner merges them in their order; else it would walk all to their ends and sort.
        end = f"{_NEWEST_FIRST} LIMIT {_arg(args, offset + limit)}"
        branches = [f"({branch} {end})" for branch in branches]
    page = f"SELECT work_id FROM ({' UNION ALL '.join(branches)}) AS reached {_NEWEST_FIRST} LIMIT {_arg(args, limit)} OFFSET {_arg(args, offset)}"
    return [_work(row) for row in await conn.fetch(_shown(f"SELECT * FROM work WHERE work_id = ANY(ARRAY({page}))"), *args)]


def _branches(wanted: Wanted, reach: Reach, args: list[object]) -> Iterator[str]:
    """The walks that together reach what a list shows; each goes along one index, the newest first."""
    if wanted.tag is not None:
        assert wanted.kinds == KINDS, "tags are listed for works of every kind"
        assert wanted.status is None, "tags are listed for works that are there"
        assert wanted.is_favorite is None, "tags are listed for works that are favourites or not"
        yield f"SELECT work_id, created_at FROM {_tagged(reach, args)} AND tag = {_arg(args, wanted.tag)}{_beyond(wanted.after, args)}"
    elif reach.owner_id is None and wanted.kinds != KINDS:
        for kind in wanted.kinds:
            yield f"SELECT work_id, created_at FROM work WHERE kind = '{kind}' AND {_conditions(wanted, reach, args)}{_beyond(wanted.after, args)}"
    else:
        kinds = f" AND kind = ANY({_arg(args, wanted.kinds)}::text[])" if wanted.kinds != KINDS else ""
        yield f"SELECT work_id, created_at FROM work WHERE {_conditions(wanted, reach, args)}{kinds}{_beyond(wanted.after, args)}"


def _tagged(reach: Reach, args: list[object]) -> str:
    if reach.owner_id is None:
        return "public_tag WHERE true"
    shown = {None: "", True: " AND is_public", False: " AND NOT is_public"}[reach.is_public]
    return f"own_tag WHERE user_id = {_arg(args, reach.owner_id)}{shown}"


def _operators_branches(wanted: Everybodys, args: list[object]) -> Iterator[str]:
    if wanted.user_id is None:
        for kind in wanted.kinds:
            for status in wanted.statuses:
                yield f"SELECT work_id, created_at FROM work WHERE kind = '{kind}' AND status = '{status}'"
        return
    whose = f"user_id = {_arg(args, wanted.user_id)} AND kind = ANY({_arg(args, wanted.kinds)}::text[])"
    seen = [status for status in wanted.statuses if status in SEEN]
    if seen:
        yield f"SELECT work_id, created_at FROM work WHERE {whose} AND {_SEEN} AND status = ANY({_arg(args, seen)}::text[])"
    for status in UNSEEN:
        if status in wanted.statuses:
            yield f"SELECT work_id, created_at FROM work WHERE {whose} AND {_UNSEEN} AND status = '{status}'"


def _beyond(after: Place | None, args: list[object]) -> str:
    return f" AND (created_at, work_id) < ({_arg(args, after.created_at)}, {_arg(args, after.work_id)})" if after is not None else ""


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
    found = [_SEEN if wanted.status is None or wanted.status in SEEN else _UNSEEN]
    if wanted.status is not None:
        found.append(f"status = {_arg(args, wanted.status)}")
    if reach.owner_id is not None:
        found.append(f"user_id = {_arg(args, reach.owner_id)}")
    if reach.is_public is not None or reach.owner_id is None:
        found.append("NOT is_public" if reach.is_public is False else "is_public")
    if wanted.is_favorite is not None:
        found.append("is_favorite" if wanted.is_favorite else "NOT is_favorite")
    return " AND ".join(found)


def _arg(args: list[object], value: object) -> str:
    args.append(value)
    return f"${len(args)}"


def _shown(works: str) -> str:
    """Works as they are shown: with the songs added to them (the owner's own only) and the name of their creator."""
    return f"""
        SELECT w.work_id, w.user_id, w.kind, w.status, w.is_public, w.is_favorite, w.body, w.body_hash, w.created_at, w.updated_at, w.version, w.edition,
            w.plays, w.likes,
            (SELECT jsonb_agg(s.body ORDER BY s.created_at, s.task_id) FROM song s
             WHERE s.work_id = w.work_id AND s.user_id = w.user_id AND s.status = 'completed') AS songs,
            p.name AS creator_name, p.avatar_key
        FROM ({works}) AS w LEFT JOIN person p ON p.user_id = w.user_id
        {_NEWEST_FIRST}
    """


def _work(row: Any) -> Work:
    return Work(**{**row, "songs": tuple(row["songs"] or ()), "creator_name": row["creator_name"] or ""})
