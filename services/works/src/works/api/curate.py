"""The photo dialect: what owners and operators change about works, and what operators see."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from common.errors import Forbidden, ServiceError, WorkDeleteFailed, WorkNotFound, WorkUpdateFailed
from common.web import Answer, Request, Route
from common.web.photo import Ok, Page
from works import commands, queries
from works.api.conditional import edition_seen, shown
from works.api.photo import WorkOk, render_work, viewing_of
from works.deps import Deps
from works.domain import KINDS, STATUSES, Everybodys, Marks, Work
from works.schemas.curate import DELETED, AdminWork, AdminWorksData, AdminWorksQuery, BatchDelete, Overview, OverviewWorks, Reason, WorkChange
from works.schemas.photo import WorkData

AdminWorksOk = Ok[AdminWorksData]
Done = Ok[None]


async def change_work(request: Request[Deps]) -> Answer:
    """Marks of a work; `If-Match` with the ETag of what was seen refuses a work that was changed since."""
    deps, wish = request.deps, request.body
    assert isinstance(wish, WorkChange)
    marks = Marks(
        request.id("work_id", WorkNotFound),
        is_favorite=wish.is_favorite,
        is_public=wish.is_public,
        tags=tuple(wish.tags) if wish.tags is not None else None,
        edition=edition_seen(request),
    )
    async with deps.db.transaction() as tx:
        [outcome] = await commands.mark_works(tx, _whose(request), [marks], admin_id=_admin(request))
    deps.public_works.drop(marks.work_id)
    if isinstance(outcome, ServiceError):
        raise outcome
    work = await queries.seen_work(deps.db, deps.public_works, marks.work_id, request.principal)
    return shown(request, WorkOk(data=WorkData(work=render_work(work, viewing_of(request)))), edition=work.edition)


async def delete_work(request: Request[Deps]) -> Answer:
    await _delete(request, [request.id("work_id", WorkNotFound)])
    return Answer(Done(message=DELETED[request.lang]))


async def delete_batch(request: Request[Deps]) -> Answer:
    """All or none. The dialect's clients expect 403 when one of them is not theirs, and an unknown one is nobody's."""
    wish = request.body
    assert isinstance(wish, BatchDelete)
    try:
        await _delete(request, list(dict.fromkeys(wish.work_ids)))
    except WorkNotFound:
        raise Forbidden("at least one of these works is not yours; none was deleted") from None
    return Answer(Done(message=DELETED[request.lang]))


async def _delete(request: Request[Deps], work_ids: Sequence[UUID]) -> None:
    deps = request.deps
    reason = request.query.reason if isinstance(request.query, Reason) else ""
    async with deps.db.transaction() as tx:
        await commands.delete_works(tx, _whose(request), work_ids, deps.storage, admin_id=_admin(request), reason=reason)
    deps.public_works.drop(*work_ids)


async def list_everybodys(request: Request[Deps]) -> Answer:
    """Everybody's works with their owners' names."""
    deps, query = request.deps, request.query
    assert isinstance(query, AdminWorksQuery)
    wanted = Everybodys(
        kinds=(query.type,) if query.type else KINDS,
        statuses=(query.status,) if query.status else STATUSES,
        user_id=query.user_id,
        limit=query.pageSize,
        offset=query.offset,
    )
    found = await queries.page_of_everybodys(deps.db, wanted)
    return Answer(AdminWorksOk(data=AdminWorksData(works=await _render_for_operators(request, found.works), pagination=Page.of(query, found.total))))


async def _render_for_operators(request: Request[Deps], works: Sequence[Work]) -> list[AdminWork]:
    """Names are kept as identity tells them; for whom it has not told yet it is asked."""
    deps, viewing = request.deps, viewing_of(request)
    nameless = [work.user_id for work in works if not work.creator_name]
    asked = await deps.people.find(nameless) if nameless and deps.people is not None else {}
    rows = []
    for work in works:
        person = asked.get(work.user_id)
        avatar_key = work.avatar_key or (person.avatar_key if person else None)
        more: dict[str, Any] = {
            "nickname": work.creator_name or (person.username if person else ""),
            "avatar_url": deps.signer.sign(avatar_key, now=viewing.now, owner=False) if avatar_key else None,
        }
        rows.append(AdminWork(**dict(render_work(work, viewing)), **more))
    return rows


async def show_overview(request: Request[Deps]) -> Answer:
    numbers = await queries.numbers_of_all(request.deps.db, request.deps.kept_numbers)
    works = OverviewWorks(total_works=numbers.total, today_works=numbers.today, completed_works=numbers.completed, failed_works=numbers.failed)
    return Answer(Overview(works=works))


def _whose(request: Request[Deps]) -> UUID | None:
    """Whose works may be changed: the asker's own, an admin's are everybody's."""
    return None if request.principal.is_admin else request.user_id


def _admin(request: Request[Deps]) -> UUID | None:
    """Whose deed is written down."""
    return request.user_id if request.principal.is_admin else None


ROUTES = (
    Route("PUT", "/api/works/{work_id}", change_work, body=WorkChange, answers={200: WorkOk}, refusals=(WorkNotFound, WorkUpdateFailed), summary="Mark a work"),
    Route("DELETE", "/api/works/{work_id}", delete_work, answers={200: Done}, refusals=(WorkNotFound, WorkDeleteFailed), summary="Delete a work"),
    Route(
        "POST",
        "/api/works/batch/delete",
        delete_batch,
        body=BatchDelete,
        answers={200: Done},
        refusals=(WorkDeleteFailed,),
        summary="Delete works, all or none",
    ),
    Route("GET", "/api/admin/works", list_everybodys, auth="admin", query=AdminWorksQuery, answers={200: AdminWorksOk}, summary="All works"),
    Route(
        "DELETE",
        "/api/admin/works/{work_id}",
        delete_work,
        auth="admin",
        query=Reason,
        answers={200: Done},
        refusals=(WorkNotFound, WorkDeleteFailed),
        summary="Delete anybody's work",
    ),
    Route("GET", "/internal/admin/overview", show_overview, auth="admin", answers={200: Overview}, summary="How many works there are"),
)
