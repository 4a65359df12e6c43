"""The photo dialect: my works, one work."""

from dataclasses import dataclass
from datetime import datetime

from common.auth import Principal
from common.errors import WorkNotFound
from common.messages import Lang, failure_slug, text
from common.objects import UrlSigner, content_type_of, thumbnail_key
from common.web import Answer, Request, Route
from common.web.photo import Ok, Page
from works import queries
from works.api.conditional import shown
from works.deps import Deps
from works.domain import PICTURE_KINDS, Wanted, Work, owns
from works.schemas.photo import PhotoWork, PhotoWorksQuery, Picture, WorkData, WorksData

WorkOk = Ok[WorkData]
WorksOk = Ok[WorksData]


@dataclass(frozen=True, slots=True)
class Viewing:
    """For whom and when something is shown: it decides how long its links live, and in what language it says why a task failed."""

    signer: UrlSigner
    viewer: Principal | None
    now: datetime
    lang: Lang

    def link(self, work: Work, key: str) -> str:
        return self.signer.sign(key, now=self.now, owner=owns(self.viewer, work.user_id))

    def thumbnail(self, work: Work) -> str | None:
        """The link to the small picture that stands for a work, made when it is first looked at."""
        key = thumbnail_key(work.image_key) if work.image_key is not None else None
        return self.link(work, key) if key is not None else None


def viewing_of(request: Request[Deps]) -> Viewing:
    """For whoever asks, now."""
    return Viewing(request.deps.signer, request.maybe_principal, request.deps.clock.now(), request.lang)


async def list_works(request: Request[Deps]) -> Answer:
    query: PhotoWorksQuery = request.query
    viewer = request.maybe_principal
    owner_id = query.user_id or (viewer.user_id if viewer is not None else None)
    wanted = Wanted(
        reaches=queries.reach_of_owner(viewer, owner_id, is_public=query.is_public, is_favorite=query.is_favorite, status=query.status),
        kinds=(query.type,) if query.type else PICTURE_KINDS,
        status=query.status,
        is_favorite=query.is_favorite if owner_id is not None and owns(viewer, owner_id) else None,
        limit=query.pageSize,
        offset=query.offset,
    )
    found = await queries.page_of_works(request.deps.db, wanted)
    viewing = viewing_of(request)
    return shown(request, WorksOk(data=WorksData(works=[render_work(work, viewing) for work in found.works], pagination=Page.of(query, found.total))))


async def show_work(request: Request[Deps]) -> Answer:
    work = await queries.seen_work(request.deps.db, request.deps.public_works, request.id("work_id", WorkNotFound), request.maybe_principal)
    return shown(request, WorkOk(data=WorkData(work=render_work(work, viewing_of(request)))), edition=work.edition)


def render_work(work: Work, viewing: Viewing) -> PhotoWork:
    """A work in this dialect's words."""
    body, audios = work.body, work.audios
    asked = body.get("asked", 0)
    delivered = len(body.get("items", ()))
    return PhotoWork(
        work_id=work.work_id,
        user_id=work.user_id,
        task_id=work.work_id if work.kind != "photo" else None,
        type=work.kind,
        status=work.status,
        title=work.title,
        images=_render_pictures(work, viewing),
        thumbnail_url=viewing.thumbnail(work),
        audio_url=viewing.link(work, audios[0]["key"]) if audios else None,
        scene_id=body.get("scene"),
        ai_description=body.get("description", ""),
        tags=body.get("tags", []),
        batch_count=asked,
        failed_count=max(0, asked - delivered) if work.status in ("completed", "failed") else 0,
        error=text(failure_slug(body.get("reason")), viewing.lang) if work.status == "failed" else None,
        is_favorite=work.is_favorite and owns(viewing.viewer, work.user_id),
        is_public=work.is_public,
        plays=work.plays,
        likes=work.likes,
        created_at=work.created_at,
        updated_at=work.updated_at,
    )


def _render_pictures(work: Work, viewing: Viewing) -> list[Picture]:
    """What was delivered, or the photo that was kept by hand."""
    photo = work.body.get("image")
    if photo is not None:
        return [Picture(url=viewing.link(work, photo), format=content_type_of(photo).partition("/")[2], batch_index=0, width=None, height=None)]
    return [
        Picture(
            url=viewing.link(work, item["key"]),
            format=item["type"].partition("/")[2],
            batch_index=item["index"],
            width=item.get("width"),
            height=item.get("height"),
        )
        for item in work.pictures
    ]


ROUTES = (
    Route(
        "GET",
        "/api/works",
        list_works,
        auth="optional",
        query=PhotoWorksQuery,
        answers={200: WorksOk, 304: None},
        summary="My works; without a token public ones",
    ),
    Route("GET", "/api/works/{work_id}", show_work, auth="optional", answers={200: WorkOk, 304: None}, refusals=(WorkNotFound,), summary="One work"),
)
