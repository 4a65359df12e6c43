"""The song dialect: a photo becomes a work, works in lists and one by one."""

import hashlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from common.errors import FileTooLarge, FileTypeRefused, FileUnreadable, IdempotencyKeyReused, InvalidParameter, QuotaExceeded, WorkCreateFailed, WorkNotFound
from common.ids import derived_id, new_id
from common.web import Answer, Request, Route
from common.web.body import parse_fields
from common.web.song import SongPage
from works import commands, queries, store
from works.api.base64_text import in_chunks, read_picture_text
from works.api.conditional import shown
from works.api.forms import pass_over
from works.api.uploads import REPLAYED, UPLOAD_SECONDS, named, store_picture
from works.deps import Deps
from works.domain import Body, Kept, NewWork, Wanted, Work, owns, uploads_folder
from works.pictures.intake import Spooled
from works.schemas.song import Creator, NewSongWork, Pointer, SongWork, SongWorksQuery, WorkForm

SongWorks = SongPage[SongWork]

_CREATE = "POST /works"
_JSON_BYTES_MAX = 50 * 1024**2
_FORM_BYTES_MAX = 256 * 1024
_LISTS = ("tags", "tags[]")


@dataclass(slots=True)
class _Sent:
    """What a request for a new work carries: its fields, and its image as received bytes or as the key of an upload."""

    work: NewSongWork
    picture: Spooled | None = None
    image_key: str | None = None

    def body_hash(self) -> bytes:
        """The same ask has the same hash, however its image came and whenever its link was signed."""
        image = self.picture.sha256.hex() if self.picture is not None else self.image_key
        return hashlib.sha256(orjson.dumps([self.work.model_dump(exclude={"image"}), image], option=orjson.OPT_SORT_KEYS)).digest()


async def create_work(request: Request[Deps]) -> Answer:
    """Keep a photo as a work. With an idempotency key the same ask again is the same work, another one is refused."""
    deps, user_id, key = request.deps, request.user_id, request.idempotency_key
    work_id = derived_id(user_id, _CREATE, key) if key else new_id()
    async with AsyncExitStack() as spool:
        try:
            with named("image"):
                sent = await (_read_form(request, spool) if request.body is None else _read_json(request, spool))
                kept = await _known(deps, work_id, sent) if key else None
                kept = kept or await _create(deps, sent, work_id=work_id, user_id=user_id)
        except (FileTypeRefused, FileUnreadable) as error:
            raise WorkCreateFailed(errors=error.errors) from error
    work = await queries.seen_work(deps.db, deps.public_works, kept.work_id, request.principal)
    headers = {"Location": f"/works/{work_id}", **(REPLAYED if kept.replayed else {})}
    return Answer(render_song_work(work, request), status=201, headers=headers)


async def list_works(request: Request[Deps]) -> Answer:
    query: SongWorksQuery = request.query
    viewer = request.maybe_principal
    if query.creator is None:
        reaches = queries.reach_of_gallery(viewer)
    else:
        creator_id = _id_of(query.creator)
        reaches = queries.reach_of_owner(viewer, creator_id) if creator_id else ()
    found = await queries.page_of_works(request.deps.db, Wanted(reaches=reaches, tag=query.tag, limit=query.limit, offset=query.offset))
    results = [render_song_work(work, request) for work in found.works]
    return shown(request, SongWorks(results=results, page=query.page, limit=query.limit, total=found.total))


async def show_work(request: Request[Deps]) -> Answer:
    work = await queries.seen_work(request.deps.db, request.deps.public_works, request.id("work_id", WorkNotFound), request.maybe_principal)
    return shown(request, render_song_work(work, request), edition=work.edition)


async def _known(deps: Deps, work_id: UUID, sent: _Sent) -> Kept | None:
    """What this key named before, found before anything is decoded."""
    async with deps.db.read() as conn:
        known = await store.load_body_hashes(conn, [work_id])
    if work_id in known and known[work_id] != sent.body_hash():
        raise IdempotencyKeyReused("this key named another work before")
    return Kept(work_id, replayed=True) if work_id in known else None


async def _create(deps: Deps, sent: _Sent, *, work_id: UUID, user_id: UUID) -> Kept:
    work, image_key = sent.work, sent.image_key
    if sent.picture is not None:
        saved = await store_picture(deps, sent.picture, file_id=commands.photo_id(work_id), user_id=user_id)
        image_key = saved.file.key
    body: Body = {"title": work.title}
    if work.description:
        body["description"] = work.description
    if work.style:
        body["style"] = work.style
    if work.tags:
        body["tags"] = work.tags
    if image_key is not None:
        body["image"] = image_key
    return await deps.create_work(NewWork(work_id=work_id, user_id=user_id, is_public=work.isPublic, body=body, body_hash=sent.body_hash()))


async def _read_json(request: Request[Deps], spool: AsyncExitStack) -> _Sent:
    work: NewSongWork = request.body
    if not work.image:
        return _Sent(work)
    if work.image[:5].lower() == "data:":
        content = await read_picture_text(work.image, field="image", bytes_max=request.deps.intake.bytes_max)
        return _Sent(work, picture=await spool.enter_async_context(request.deps.intake.receive(in_chunks(content))))
    return _Sent(work, image_key=await _upload_named_by(request, work.image))


async def _read_form(request: Request[Deps], spool: AsyncExitStack) -> _Sent:
    fields: dict[str, Any] = {}
    picture: Spooled | None = None
    async for part in request.parts(bytes_max=request.deps.intake.bytes_max + _FORM_BYTES_MAX):
        name = part.name
        if name == "image" and (part.filename is not None or not part.headers.get("Content-Type", "text/plain").lower().startswith("text/plain")):
            if picture is not None:
                raise InvalidParameter.of("image", "one-only")
            picture = await spool.enter_async_context(request.deps.intake.receive(request.pieces(part)))
        elif name in _LISTS:
            fields.setdefault("tags", []).append(await request.read_text(part))
        elif name is not None and (part.filename is None or name in NewSongWork.model_fields):
            fields[name] = await request.read_text(part)
        else:
            await pass_over(request, part, expected="image")
    work = parse_fields(NewSongWork, fields)
    if picture is not None:
        return _Sent(work, picture=picture)
    return _Sent(work, image_key=await _upload_named_by(request, work.image) if work.image else None)


async def _upload_named_by(request: Request[Deps], url: str) -> str:
    """The key of one of the asker's own uploads. Another's picture stays out, even while a link to it is good: its owner may take it back."""
    key = request.deps.signer.key_of(url)
    if key is None or not key.startswith(uploads_folder(request.user_id)):
        raise InvalidParameter.of("image", "upload-or-data-url")
    async with request.deps.db.read() as conn:
        if not await store.has_file(conn, request.user_id, key):
            raise InvalidParameter.of("image", "upload-or-data-url")
    return key


def _id_of(given: str) -> UUID | None:
    try:
        return UUID(given)
    except ValueError:
        return None


def render_song_work(work: Work, request: Request[Deps]) -> SongWork:
    """A work in this dialect's words, for whoever asks."""
    body, signer, now = work.body, request.deps.signer, request.deps.clock.now()
    owner = owns(request.maybe_principal, work.user_id)
    image_key = work.image_key
    audios = [signer.sign(item["key"], now=now, owner=owner) for item in work.audios]
    lyrics = next((text for song in (*reversed(work.songs), body) if (text := song.get("lyrics"))), "")
    creator: Creator | Pointer
    if "X-LC-Id" in request.http.headers:
        creator = Pointer(objectId=work.user_id)
    else:
        avatar = signer.sign(work.avatar_key, now=now, owner=False) if work.avatar_key else None
        creator = Creator(objectId=work.user_id, username=work.creator_name, avatar=avatar)
    return SongWork(
        objectId=work.work_id,
        title=work.title,
        description=body.get("description", ""),
        lyrics=lyrics,
        creator=creator,
        imageUrl=signer.sign(image_key, now=now, owner=owner) if image_key else None,
        audioUrl=audios[0] if audios else None,
        audioUrls=audios if len(audios) > 1 else None,
        status=work.status,
        type=work.kind,
        style=body.get("style", ""),
        tags=body.get("tags", []),
        isPublic=work.is_public,
        plays=work.plays,
        likes=work.likes,
        createdAt=work.created_at,
        updatedAt=work.updated_at,
    )


ROUTES = (
    Route(
        "POST",
        "/works",
        create_work,
        body=NewSongWork,
        multipart=True,
        body_bytes_max=_JSON_BYTES_MAX,
        deadline_seconds=UPLOAD_SECONDS,
        limits="upload",
        answers={201: SongWork},
        refusals=(WorkCreateFailed, WorkNotFound, FileTooLarge, QuotaExceeded),
        keyed=True,
        reads={"multipart/form-data": WorkForm},
        summary="Keep a photo as a work",
    ),
    Route("GET", "/works", list_works, auth="optional", query=SongWorksQuery, answers={200: SongWorks, 304: None}, summary="Public works and mine"),
    Route("GET", "/works/{work_id}", show_work, auth="optional", answers={200: SongWork, 304: None}, refusals=(WorkNotFound,), summary="One work"),
)
