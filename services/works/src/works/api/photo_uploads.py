"""Uploads in the photo dialect: one file, several, as text; and taking one back."""

import asyncio
import re
from contextlib import AsyncExitStack
from uuid import UUID

from common.errors import FileNotFound, FileTooLarge, InvalidParameter, PayloadTooLarge, ServiceError, Unavailable
from common.ids import derived_id, new_id
from common.messages import Lang, text
from common.web import Answer, Request, Route
from common.web.photo import Ok
from works import commands
from works.api.base64_text import in_chunks, read_picture_text
from works.api.forms import pass_over
from works.api.uploads import AT_ONCE, PICTURE_REFUSALS, REPLAYED, UPLOAD_SECONDS, keep_picture, keep_spooled, known_together, named, store_together
from works.deps import Deps
from works.domain import SavedFile, uploads_folder
from works.pictures.intake import Spooled
from works.schemas import uploads as shapes

_SINGLE = "POST /api/upload/single"
_MULTIPLE = "POST /api/upload/multiple"
_TEXT = "POST /api/upload/base64"
_TEXTS = "POST /api/upload/base64/batch"
_FORM_BYTES_MAX = 64 * 1024
"""What a form may weigh beside its files."""
_FILES_BYTES_MAX = 500 * 1024**2
_JSON_BYTES_MAX = 50 * 1024**2
_FILE_FIELDS = ("files", "files[]")
_NAME = re.compile(r"[0-9a-f]{64}\.(?:jpg|png|webp)")
_DELETED: dict[Lang, str] = {"zh": "文件已删除", "en": "The file was deleted."}

_Uploaded = Ok[shapes.UploadedFile]
_UploadedFiles = Ok[shapes.UploadedFiles]
_UploadedText = Ok[shapes.UploadedText]
_UploadedTexts = Ok[shapes.UploadedTexts]


async def upload_single(request: Request[Deps]) -> Answer:
    """Take one picture in, once the form was read to its end. With an idempotency key the same file again is the same upload, another one is refused."""
    key, user_id = request.idempotency_key, request.user_id
    file_id = derived_id(user_id, _SINGLE, key) if key else new_id()
    async with AsyncExitStack() as spool:
        picture = await _receive_file(request, spool)
        with named("file"):
            saved = await keep_spooled(request.deps, picture, file_id=file_id, user_id=user_id, may_be_known=key is not None)
    return Answer(_Uploaded(data=render_upload(request, saved)), headers=REPLAYED if saved.replayed else {})


async def _receive_file(request: Request[Deps], spool: AsyncExitStack) -> Spooled:
    intake = request.deps.intake
    picture: Spooled | None = None
    try:
        async for part in request.parts(bytes_max=intake.bytes_max + _FORM_BYTES_MAX):
            if part.name != "file":
                await pass_over(request, part, expected="file")
            elif picture is not None:
                raise InvalidParameter.of("file", "one-only")
            else:
                with named("file"):
                    picture = await spool.enter_async_context(intake.receive(request.pieces(part)))
    except PayloadTooLarge as error:
        raise FileTooLarge.of("file", "bytes", most=intake.bytes_max) from error
    if picture is None:
        raise InvalidParameter.of("file", "missing")
    return picture


async def upload_multiple(request: Request[Deps]) -> Answer:
    """Take several pictures in: all of them, or none where one is bad; which one is said."""
    deps, user_id, key = request.deps, request.user_id, request.idempotency_key
    async with AsyncExitStack() as spool:
        pictures = await _receive_files(request, spool)
        ids = [derived_id(user_id, _MULTIPLE, key, place) if key else new_id() for place in range(len(pictures) + 1)]
        saved = await known_together(deps, pictures, file_ids=ids[:-1], next_id=ids[-1]) if key else None
        saved = saved or await store_together(deps, pictures, file_ids=ids[:-1], user_id=user_id, field="files")
    data = shapes.UploadedFiles(files=[render_upload(request, one) for one in saved])
    return Answer(_UploadedFiles(data=data), headers=REPLAYED if all(one.replayed for one in saved) else {})


async def _receive_files(request: Request[Deps], spool: AsyncExitStack) -> list[Spooled]:
    intake = request.deps.intake
    pictures: list[Spooled] = []
    try:
        async for part in request.parts(bytes_max=min(_FILES_BYTES_MAX, shapes.FILES_MAX * intake.bytes_max) + _FORM_BYTES_MAX):
            if part.name not in _FILE_FIELDS:
                await pass_over(request, part, expected="files")
                continue
            if len(pictures) == shapes.FILES_MAX:
                raise InvalidParameter.of("files", "too_long", max_length=shapes.FILES_MAX)
            with named(f"files.{len(pictures)}"):
                pictures.append(await spool.enter_async_context(intake.receive(request.pieces(part))))
    except PayloadTooLarge as error:
        raise FileTooLarge(error.detail) from error
    if not pictures:
        raise InvalidParameter.of("files", "missing")
    return pictures


async def upload_text(request: Request[Deps]) -> Answer:
    """Take a picture in that comes as text."""
    body: shapes.TextUpload = request.body
    key = request.idempotency_key
    file_id = derived_id(request.user_id, _TEXT, key) if key else new_id()
    saved = await _keep_text(request, body.base64, field="base64", file_id=file_id)
    return Answer(_UploadedText(data=_render_text(request, saved)), headers=REPLAYED if saved.replayed else {})


async def upload_texts(request: Request[Deps]) -> Answer:
    """Take several pictures in that come as text, each for itself; the summary says how many were good. Where none was, the first refusal answers."""
    body: shapes.TextUploads = request.body
    key, turns = request.idempotency_key, asyncio.Semaphore(AT_ONCE)

    async def keep(place: int, image: str) -> SavedFile | ServiceError:
        file_id = derived_id(request.user_id, _TEXTS, key, place) if key else new_id()
        async with turns:
            try:
                return await _keep_text(request, image, field=f"images.{place}", file_id=file_id)
            except ServiceError as refusal:
                return refusal

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(keep(place, image)) for place, image in enumerate(body.images)]
    outcomes = [task.result() for task in tasks]
    for outcome in outcomes:
        if isinstance(outcome, Unavailable):
            raise outcome  # no picture's fault; asked again with the same key, what is kept stays kept
    saved = [outcome for outcome in outcomes if isinstance(outcome, SavedFile)]
    failures = [(place, outcome) for place, outcome in enumerate(outcomes) if isinstance(outcome, ServiceError)]
    if not saved:
        first = failures[0][1]
        raise type(first)(first.detail, data=first.data, errors=[error for _, refusal in failures for error in refusal.errors])
    data = shapes.UploadedTexts(
        files=[_render_text(request, one) for one in saved],
        errors=[
            shapes.TextFailure(index=place, code=refusal.code, message=f"{text(refusal.slug, request.lang)} {refusal.fields_text(request.lang) or ''}".strip())
            for place, refusal in failures
        ],
        summary=shapes.Summary(total=len(outcomes), success=len(saved), failed=len(failures)),
    )
    return Answer(_UploadedTexts(data=data), headers=REPLAYED if all(one.replayed for one in saved) else {})


async def delete_upload(request: Request[Deps]) -> Answer:
    """Take an upload of mine back, however often I sent it. Works made of it, and tasks that were asked for with it, keep it."""
    name = request.params["file_name"]
    if _NAME.fullmatch(name) is None:
        raise FileNotFound()
    async with request.deps.db.transaction() as tx:
        was_there = await commands.delete_file(tx, request.user_id, uploads_folder(request.user_id) + name, request.deps.storage)
    if not was_there:
        raise FileNotFound()
    return Answer(Ok[None](message=_DELETED[request.lang]))


async def _keep_text(request: Request[Deps], image: str, *, field: str, file_id: UUID) -> SavedFile:
    deps = request.deps
    content = await read_picture_text(image, field=field, bytes_max=deps.intake.bytes_max, may_be_bare=True)
    with named(field):
        return await keep_picture(deps, in_chunks(content), file_id=file_id, user_id=request.user_id, may_be_known=request.idempotency_key is not None)


def render_upload(request: Request[Deps], saved: SavedFile) -> shapes.UploadedFile:
    """An upload as its owner sees it."""
    file = saved.file
    return shapes.UploadedFile(
        file_name=file.name,
        file_url=request.deps.signer.sign(file.key, now=request.deps.clock.now()),
        file_path=file.key,
        file_size=file.size_bytes,
        mime_type=file.content_type,
        file_hash=file.md5.hex(),
    )


def _render_text(request: Request[Deps], saved: SavedFile) -> shapes.UploadedText:
    file = saved.file
    return shapes.UploadedText(
        fileName=file.name,
        filePath=file.key,
        fileUrl=request.deps.signer.sign(file.key, now=request.deps.clock.now()),
        fileSize=file.size_bytes,
        mimeType=file.content_type,
        file_hash=file.md5.hex(),
    )


ROUTES = (
    Route(
        "POST",
        "/api/upload/single",
        upload_single,
        multipart=True,
        deadline_seconds=UPLOAD_SECONDS,
        limits="upload",
        answers={200: _Uploaded},
        refusals=PICTURE_REFUSALS,
        keyed=True,
        reads={"multipart/form-data": shapes.FileForm},
        summary="Upload one picture as `file`",
    ),
    Route(
        "POST",
        "/api/upload/multiple",
        upload_multiple,
        multipart=True,
        deadline_seconds=UPLOAD_SECONDS,
        limits="upload",
        answers={200: _UploadedFiles},
        refusals=PICTURE_REFUSALS,
        keyed=True,
        reads={"multipart/form-data": shapes.FilesForm},
        summary="Upload up to 50 pictures as `files`, all or none",
    ),
    Route(
        "POST",
        "/api/upload/base64",
        upload_text,
        body=shapes.TextUpload,
        body_bytes_max=_JSON_BYTES_MAX,
        deadline_seconds=UPLOAD_SECONDS,
        limits="upload",
        answers={200: _UploadedText},
        refusals=PICTURE_REFUSALS,
        keyed=True,
        summary="Upload one picture as base64",
    ),
    Route(
        "POST",
        "/api/upload/base64/batch",
        upload_texts,
        body=shapes.TextUploads,
        body_bytes_max=_JSON_BYTES_MAX,
        deadline_seconds=UPLOAD_SECONDS,
        limits="upload",
        answers={200: _UploadedTexts},
        refusals=PICTURE_REFUSALS,
        keyed=True,
        summary="Upload up to 50 pictures as base64, each for itself",
    ),
    Route(
        "DELETE",
        "/api/upload/{file_name}",
        delete_upload,
        query=shapes.SubDirQuery,
        answers={200: Ok[None]},
        refusals=(FileNotFound,),
        summary="Delete an upload of mine",
    ),
)
