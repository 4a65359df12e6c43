"""Uploads that go past us: a client puts its bytes into the store itself, then we look at them as at any others."""

from datetime import datetime, timedelta
from uuid import UUID

from aiohttp import web

from common.errors import FileNotFound, FileTooLarge, NotFound, QuotaExceeded
from common.ids import derived_id, new_id
from common.objects import WriteLink
from common.web import Answer, Request, Route
from works import commands, store
from works.api.photo_uploads import render_upload
from works.api.uploads import PICTURE_REFUSALS, REPLAYED, UPLOAD_SECONDS, store_picture
from works.deps import Deps
from works.domain import SavedFile, incoming_key
from works.schemas import uploads as shapes

_ANNOUNCE = "POST /v1/uploads"
_RAW = "application/octet-stream"


async def announce_upload(request: Request[Deps]) -> Answer:
    """A link to put a file. It is not looked at, and leads nowhere, before it is completed."""
    deps, user_id, key = request.deps, request.user_id, request.idempotency_key
    asked: shapes.NewDirectUpload = request.body
    if asked.size_bytes > deps.intake.bytes_max:
        raise FileTooLarge.of("size_bytes", "bytes", most=deps.intake.bytes_max)
    upload_id = derived_id(user_id, _ANNOUNCE, key) if key else new_id()
    incoming = incoming_key(user_id, upload_id)
    async with deps.db.transaction() as tx:
        await commands.announce_upload(tx, user_id, incoming, deps.storage)
    seconds = deps.incoming_seconds
    expires_at = deps.clock.now() + timedelta(seconds=seconds)
    link = await deps.objects.link_to_write(incoming, _RAW, asked.size_bytes, seconds=seconds)
    if link is None:
        link = _own_link(deps, user_id, upload_id, asked.size_bytes, expires_at)
    return Answer(
        shapes.DirectUpload(
            upload_id=upload_id,
            method="PUT",
            url=link.url,
            headers=dict(link.headers),
            key=incoming,
            size_bytes=asked.size_bytes,
            expires_at=expires_at,
        ),
        status=201,
    )


async def complete_upload(request: Request[Deps]) -> Answer:
    """Look at what was put, keep it as any upload, and answer like one. Completing twice is completing once."""
    deps, user_id = request.deps, request.user_id
    upload_id = request.id("upload_id", FileNotFound)
    async with deps.db.read() as conn:
        known = (await store.load_files(conn, [upload_id])).get(upload_id)
    if known is not None and known.user_id == user_id:
        return Answer(render_upload(request, SavedFile(known, replayed=True)), headers=REPLAYED)
    incoming = incoming_key(user_id, upload_id)
    info = await deps.objects.stat(incoming)
    if info is None:
        raise FileNotFound("nothing was put under this upload yet")
    if info.size > deps.intake.bytes_max:
        raise FileTooLarge.of("size_bytes", "bytes", most=deps.intake.bytes_max)
    async with deps.intake.receive(deps.objects.open(incoming)) as spooled:
        saved = await store_picture(deps, spooled, file_id=upload_id, user_id=user_id)
    await deps.objects.delete(incoming)
    return Answer(render_upload(request, saved))


async def put_incoming(request: Request[Deps]) -> web.StreamResponse:
    """Take the bytes where the store cannot be reached by clients; whoever holds the link may put, once or again, exactly what was announced."""
    deps, query = request.deps, request.query
    user_id, upload_id = request.id("user_id", NotFound), request.id("upload_id", NotFound)
    words = _words(user_id, upload_id, query.size)
    if not deps.signer.is_ticket(words, query.exp, query.sig, now=deps.clock.now()):
        raise NotFound()
    await deps.intake.take_raw(request.http.content.iter_any(), incoming_key(user_id, upload_id), size_bytes=query.size)
    return web.Response(status=200, headers={"X-Request-Id": request.request_id})


def _own_link(deps: Deps, user_id: UUID, upload_id: UUID, size_bytes: int, expires_at: datetime) -> WriteLink:
    expires = int(expires_at.timestamp())
    signature = deps.signer.ticket(_words(user_id, upload_id, size_bytes), expires)
    return WriteLink(deps.signer.link_to(f"/v1/incoming/{user_id}/{upload_id}?size={size_bytes}&exp={expires}&sig={signature}"), {"Content-Type": _RAW})


def _words(user_id: UUID, upload_id: UUID, size_bytes: int) -> str:
    return f"put {user_id} {upload_id} {size_bytes}"


ROUTES = (
    Route(
        "POST",
        "/v1/uploads",
        announce_upload,
        body=shapes.NewDirectUpload,
        limits="upload",
        answers={201: shapes.DirectUpload},
        refusals=(FileTooLarge, QuotaExceeded),
        keyed=True,
        summary="A link to put a file into the store",
    ),
    Route(
        "POST",
        "/v1/uploads/{upload_id}/complete",
        complete_upload,
        deadline_seconds=UPLOAD_SECONDS,
        limits="upload",
        answers={200: shapes.UploadedFile},
        refusals=(FileNotFound, *PICTURE_REFUSALS),
        summary="Keep what was put there",
    ),
    Route(
        "PUT",
        "/v1/incoming/{user_id}/{upload_id}",
        put_incoming,
        auth="none",
        raw=True,
        query=shapes.IncomingQuery,
        limits="upload",
        answers={200: None},
        refusals=(NotFound, FileTooLarge),
        reads={_RAW: shapes.Bytes},
        summary="Put a file by such a link, where the store is a folder",
    ),
)
