"""The photo dialect: my works, one work, an upload."""

from dataclasses import dataclass
from datetime import datetime

from common.auth import Principal
from common.errors import FileTooLarge, InvalidParameter, PayloadTooLarge, WorkNotFound
from common.ids import derived_id, new_id
from common.objects import UrlSigner, content_type_of
from common.web import Answer, Request, Route
from common.web.photo import Ok, Page
from works import queries
from works.api.forms import chunks_of
from works.api.uploads import REPLAYED, UPLOAD_SECONDS, keep_picture
from works.deps import Deps
from works.domain import PICTURE_KINDS, SavedFile, Wanted, Work, owns
from works.schemas.photo import PhotoWork, PhotoWorksQuery, Picture, UploadedFile, WorkData, WorksData

_UPLOAD = "POST /api/upload/single"
_FORM_BYTES_MAX = 64 * 1024
"""What a form may weigh beside its file."""


@dataclass(frozen=True, slots=True)
class _Viewing:
    """For whom and when something is shown: it decides how long its links live."""

    signer: UrlSigner
    viewer: Principal | None
    now: datetime

    @classmethod
    def of(cls, request: Request[Deps]) -> "_Viewing":
        return cls(request.deps.signer, request.maybe_principal, request.deps.clock.now())

    def link(self, work: Work, key: str) -> str:
        return self.signer.sign(key, now=self.now, owner=owns(self.viewer, work.user_id))


async def list_works(request: Request[Deps]) -> Answer:
    query: PhotoWorksQuery = request.query
    viewer = request.maybe_principal
    owner_id = query.user_id or (viewer.user_id if viewer is not None else None)
    wanted = Wanted(
        reaches=queries.reach_of_owner(viewer, owner_id, is_public=query.is_public, status=query.status),
        kinds=(query.type,) if query.type else PICTURE_KINDS,
        status=query.status,
        is_favorite=query.is_favorite,
        limit=query.pageSize,
        offset=query.offset,
    )
    found = await queries.page_of_works(request.deps.db, wanted)
    viewing = _Viewing.of(request)
    return Answer(Ok(data=WorksData(works=[_render(work, viewing) for work in found.works], pagination=Page.of(query, found.total))))


async def show_work(request: Request[Deps]) -> Answer:
    work = await queries.seen_work(request.deps.db, request.id("work_id", WorkNotFound), request.maybe_principal)
    return Answer(Ok(data=WorkData(work=_render(work, _Viewing.of(request)))))


async def upload_single(request: Request[Deps]) -> Answer:
    """Take one picture in. With an idempotency key the same file again is the same upload, another one is refused."""
    key, user_id = request.idempotency_key, request.user_id
    file_id = derived_id(user_id, _UPLOAD, key) if key else new_id()
    saved: SavedFile | None = None
    try:
        async for part in request.parts(bytes_max=request.deps.intake.bytes_max + _FORM_BYTES_MAX):
            if part.name != "file":
                await request.read_part(part)
            elif saved is not None:
                raise InvalidParameter.of("file", "only one file is taken")
            else:
                saved = await keep_picture(request.deps, chunks_of(part), file_id=file_id, user_id=user_id, may_be_known=key is not None)
    except PayloadTooLarge as error:
        raise FileTooLarge(error.detail) from error
    if saved is None:
        raise InvalidParameter.of("file", "is missing")
    return Answer(Ok(data=_render_file(request, saved)), headers=REPLAYED if saved.replayed else {})


def _render_file(request: Request[Deps], saved: SavedFile) -> UploadedFile:
    file = saved.file
    url = request.deps.signer.sign(file.key, now=request.deps.clock.now())
    return UploadedFile(file_name=file.name, file_url=url, file_path=file.key, file_size=file.size_bytes, mime_type=file.content_type, file_hash=file.md5.hex())


def _render(work: Work, viewing: _Viewing) -> PhotoWork:
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
        audio_url=viewing.link(work, audios[0]["key"]) if audios else None,
        scene_id=body.get("scene"),
        ai_description=body.get("description", ""),
        tags=body.get("tags", []),
        batch_count=asked,
        failed_count=max(0, asked - delivered) if work.status == "completed" else 0,
        error=body.get("message"),
        is_favorite=work.is_favorite,
        is_public=work.is_public,
        created_at=work.created_at,
        updated_at=work.updated_at,
    )


def _render_pictures(work: Work, viewing: _Viewing) -> list[Picture]:
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
        answers={200: Ok[WorksData]},
        summary="My works; without a token public ones",
    ),
    Route("GET", "/api/works/{work_id}", show_work, auth="optional", answers={200: Ok[WorkData]}, summary="One work"),
    Route(
        "POST",
        "/api/upload/single",
        upload_single,
        multipart=True,
        deadline_seconds=UPLOAD_SECONDS,
        limits="upload",
        answers={200: Ok[UploadedFile]},
        summary="Upload one picture as `file`",
    ),
)
