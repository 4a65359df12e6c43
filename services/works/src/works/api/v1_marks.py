"""What neither dialect has a path for: the gallery, plays, likes."""

from datetime import timedelta
from uuid import UUID

from pydantic import Field

from common.errors import WorkNotFound
from common.web import Answer, Model, Query, Request, Route
from works import commands, queries
from works.api.song import render_song_work
from works.deps import Deps
from works.domain import Reach, Wanted, Work
from works.schemas.curate import Counted
from works.schemas.song import SongWork

PLAY_AGAIN = timedelta(hours=1)
"""A listener counts once an hour."""


class GalleryQuery(Query):
    """How much of the gallery, and where to go on."""

    limit: int = Field(default=20, ge=1, le=100)
    page: int = Field(default=1, ge=1, le=500)
    tag: str | None = Field(default=None, max_length=50)


class Gallery(Model):
    """Public works, the newest first."""

    works: list[SongWork]


async def show_gallery(request: Request[Deps]) -> Answer:
    query: GalleryQuery = request.query
    wanted = Wanted(reaches=(Reach(None, is_public=True),), tag=query.tag, limit=query.limit, offset=(query.page - 1) * query.limit)
    found = await queries.page_of_works(request.deps.db, wanted)
    return Answer(Gallery(works=[render_song_work(work, request) for work in found.works]))


async def play(request: Request[Deps]) -> Answer:
    work = await _seen(request)
    async with request.deps.db.transaction() as tx:
        counted = await commands.count_play(tx, work, request.user_id, again_after=PLAY_AGAIN)
    return Answer(_counted(counted))


async def like(request: Request[Deps]) -> Answer:
    return await _like(request, liked=True)


async def unlike(request: Request[Deps]) -> Answer:
    return await _like(request, liked=False)


async def _like(request: Request[Deps], *, liked: bool) -> Answer:
    work = await _seen(request)
    async with request.deps.db.transaction() as tx:
        counted = await commands.like(tx, work, request.user_id, liked=liked)
    return Answer(_counted(counted))


async def _seen(request: Request[Deps]) -> Work:
    work_id: UUID = request.id("work_id", WorkNotFound)
    return await queries.seen_work(request.deps.db, work_id, request.principal)


def _counted(work: Work) -> Counted:
    return Counted(work_id=work.work_id, plays=work.plays, likes=work.likes)


ROUTES = (
    Route("GET", "/v1/gallery", show_gallery, auth="optional", query=GalleryQuery, answers={200: Gallery}, summary="Public works, the newest first"),
    Route("POST", "/v1/works/{work_id}/plays", play, answers={200: Counted}, summary="It was played; counts once an hour per listener"),
    Route("PUT", "/v1/works/{work_id}/like", like, answers={200: Counted}, summary="Like it"),
    Route("DELETE", "/v1/works/{work_id}/like", unlike, answers={200: Counted}, summary="Not any more"),
)
