"""The photo dialect: what owners and operators change about works, and what operators see."""

import re
from uuid import UUID

from common.errors import Forbidden, InvalidParameter, ServiceError, WorkNotFound
from common.web import Answer, Request, Route
from common.web.photo import Ok, Page
from works import commands, store
from works.api.photo import render_work, viewing_of
from works.deps import Deps
from works.domain import Marks
from works.schemas.curate import (
    DELETED,
    AdminWork,
    AdminWorksData,
    AdminWorksQuery,
    BatchDelete,
    Overview,
    OverviewWorks,
    WorkChange,
)
from works.schemas.photo import WorkData

_ETAG = re.compile(r'(?:W/)?"(\d{1,18})"')


async def change_work(request: Request[Deps]) -> Answer:
    """Marks of a work; `If-Match` with the ETag of what was seen refuses a work that was changed since."""
    deps, wish = request.deps, request.body
    assert isinstance(wish, WorkChange)
    marks = Marks(
        request.id("work_id", WorkNotFound),
        is_favorite=wish.is_favorite,
        is_public=wish.is_public,
        tags=tuple(wish.tags) if wish.tags is not None else None,
        version=_version_seen(request),
    )
    async with deps.db.transaction() as tx:
        [outcome] = await commands.mark_works(tx, _whose(request), [marks])
    if isinstance(outcome, ServiceError):
        raise outcome
    async with deps.db.read() as conn:
        shown = await store.load_work(conn, outcome.work_id) or outcome
    return Answer(Ok(data=WorkData(work=render_work(shown, viewing_of(request)))), headers={"ETag": f'"{shown.version}"'})


async def delete_work(request: Request[Deps]) -> Answer:
    deps, admin = request.deps, request.principal.is_admin
    async with deps.db.transaction() as tx:
        await commands.delete_works(tx, _whose(request), [request.id("work_id", WorkNotFound)], deps.storage, by_admin=request.user_id if admin else None)
    return Answer(Ok[None](message=DELETED[request.lang]))


async def delete_batch(request: Request[Deps]) -> Answer:
    """All or none. The dialect's clients expect 403 when one of them is not theirs, which an unknown one is as well."""
    deps, wish = request.deps, request.body
    assert isinstance(wish, BatchDelete)
    try:
        async with deps.db.transaction() as tx:
            await commands.delete_works(
                tx, _whose(request), list(dict.fromkeys(wish.work_ids)), deps.storage, by_admin=request.user_id if request.principal.is_admin else None
            )
    except WorkNotFound:
        raise Forbidden("at least one of these works is not yours; none was deleted") from None
    return Answer(Ok[None](message=DELETED[request.lang]))


async def list_everybodys(request: Request[Deps]) -> Answer:
    """Everybody's works with their owners' names."""
    deps, query = request.deps, request.query
    async with deps.db.read() as conn:
        works, total = await store.list_everybodys(conn, kind=query.type, status=query.status, user_id=query.user_id, limit=query.pageSize, offset=query.offset)
    viewing = viewing_of(request)
    rows = [
        AdminWork(
            **render_work(work, viewing).model_dump(),
            nickname=work.creator_name,
            avatar_url=deps.signer.sign(work.avatar_key, now=viewing.now, owner=False) if work.avatar_key else None,
        )
        for work in works
    ]
    return Answer(Ok(data=AdminWorksData(works=rows, pagination=Page.of(query, total))))


async def show_overview(request: Request[Deps]) -> Answer:
    now = request.deps.clock.now()
    async with request.deps.db.read() as conn:
        total, today, completed, failed = await store.count_everybodys(conn, today=now.replace(hour=0, minute=0, second=0, microsecond=0))
    return Answer(Overview(works=OverviewWorks(total_works=total, today_works=today, completed_works=completed, failed_works=failed)))


def _whose(request: Request[Deps]) -> UUID | None:
    """Whose works may be changed: the asker's own, an admin's are everybody's."""
    return None if request.principal.is_admin else request.user_id


def _version_seen(request: Request[Deps]) -> int | None:
    given = request.http.headers.get("If-Match", "").strip()
    if given in ("", "*"):
        return None
    found = _ETAG.fullmatch(given)
    if found is None:
        raise InvalidParameter.of("If-Match", "must be the ETag of the work")
    return int(found[1])


ROUTES = (
    Route("PUT", "/api/works/{work_id}", change_work, body=WorkChange, answers={200: Ok[WorkData]}, summary="Mark a work"),
    Route("DELETE", "/api/works/{work_id}", delete_work, answers={200: Ok[None]}, summary="Delete a work"),
    Route("POST", "/api/works/batch/delete", delete_batch, body=BatchDelete, answers={200: Ok[None]}, summary="Delete works, all or none"),
    Route("GET", "/api/admin/works", list_everybodys, auth="admin", query=AdminWorksQuery, answers={200: Ok[AdminWorksData]}, summary="All works"),
    Route("DELETE", "/api/admin/works/{work_id}", delete_work, auth="admin", answers={200: Ok[None]}, summary="Delete anybody's work"),
    Route("GET", "/internal/admin/overview", show_overview, auth="admin", answers={200: Overview}, summary="How many works there are"),
)
