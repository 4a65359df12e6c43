"""What neither dialect has a path for: the gallery, plays, likes."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from common.errors import InvalidParameter, WorkNotFound
from common.web import Answer, Request, Route
from works import queries
from works.api.conditional import shown
from works.api.song import render_song_work
from works.deps import Deps
from works.domain import Place, Reaction
from works.schemas.v1 import Gallery, GalleryQuery, WorkCounts

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PLACE_BYTES = 24


async def show_gallery(request: Request[Deps]) -> Answer:
    query: GalleryQuery = request.query
    after = _read_place(query.after) if query.after else None
    works, place = await queries.list_gallery(request.deps.db, tag=query.tag, after=after, limit=query.limit)
    return shown(request, Gallery(works=[render_song_work(work, request) for work in works], next=_write_place(place) if place else None))


async def play(request: Request[Deps]) -> Answer:
    return await _react(request, "play")


async def like(request: Request[Deps]) -> Answer:
    return await _react(request, "like")


async def unlike(request: Request[Deps]) -> Answer:
    return await _react(request, "unlike")


async def _react(request: Request[Deps], says: Literal["play", "like", "unlike"]) -> Answer:
    deps, work_id = request.deps, request.id("work_id", WorkNotFound)
    counted = await deps.react(Reaction(work_id, request.principal, says))
    deps.public_works.drop(work_id)
    return Answer(WorkCounts(work_id=work_id, plays=counted.plays, likes=counted.likes))


def _write_place(place: Place) -> str:
    moment = (place.created_at - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(moment.to_bytes(8, "big") + place.work_id.bytes).decode()


def _read_place(given: str) -> Place:
    try:
        content = base64.b64decode(given.encode("ascii"), altchars=b"-_", validate=True)
        if len(content) != _PLACE_BYTES:
            raise ValueError
        return Place(_EPOCH + int.from_bytes(content[:8], "big") * _MICROSECOND, UUID(bytes=content[8:]))
    except (ValueError, OverflowError, binascii.Error):
        raise InvalidParameter.of("after", "next") from None


ROUTES = (
    Route("GET", "/v1/gallery", show_gallery, auth="optional", query=GalleryQuery, answers={200: Gallery, 304: None}, summary="Public works, the newest first"),
    Route(
        "POST",
        "/v1/works/{work_id}/plays",
        play,
        answers={200: WorkCounts},
        refusals=(WorkNotFound,),
        summary="It was played; counts once an hour per listener",
    ),
    Route("PUT", "/v1/works/{work_id}/like", like, answers={200: WorkCounts}, refusals=(WorkNotFound,), summary="Like it"),
    Route("DELETE", "/v1/works/{work_id}/like", unlike, answers={200: WorkCounts}, refusals=(WorkNotFound,), summary="Not any more"),
)
