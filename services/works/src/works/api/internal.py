"""What other services ask: whose works are these? And: keep this picture for somebody."""

from common.errors import InvalidParameter
from common.web import Answer, Request, Route
from works import store
from works.api.base64_text import in_chunks, read_picture_text
from works.api.uploads import keep_for_a_while, keep_picture, named
from works.deps import Deps
from works.schemas.internal import KeptPicture, KnownWork, KnownWorks, PictureToKeep, WorkIds

PICTURE_BODY_BYTES_MAX = 50 * 1024**2


async def list_known_works(request: Request[Deps]) -> Answer:
    asked: WorkIds = request.body
    async with request.deps.db.read() as conn:
        works = await store.load_works(conn, asked.work_ids)
        missing = set(asked.work_ids) - {work.work_id for work in works}
        deleted = await store.list_deleted(conn, list(missing)) if missing else {}
    known = [
        KnownWork(
            work_id=work.work_id, user_id=work.user_id, image_key=work.image_key, title=work.title, is_favorite=work.is_favorite, is_public=work.is_public
        )
        for work in works
    ]
    known += [KnownWork(work_id=work_id, user_id=user_id, is_deleted=True) for work_id, user_id in deleted.items()]
    return Answer(KnownWorks(works=known))


async def keep_for_user(request: Request[Deps]) -> Answer:
    """A picture for somebody who did not upload it (a sign-up's avatar, a photo inside a task): received, decoded and kept as an upload is.

    Safe twice by its id; a fleeting one by its content.
    """
    deps, ask = request.deps, request.body
    content = await _content_of(deps, ask)
    with named(ask.field):
        if ask.fleeting:
            return Answer(KeptPicture(key=await keep_for_a_while(deps, in_chunks(content), file_id=ask.file_id, user_id=ask.user_id)))
        saved = await keep_picture(deps, in_chunks(content), file_id=ask.file_id, user_id=ask.user_id, may_be_known=True)
    return Answer(KeptPicture(key=saved.file.key))


async def _content_of(deps: Deps, ask: PictureToKeep) -> bytes:
    if ask.content is not None:
        return await read_picture_text(ask.content, field=ask.field, bytes_max=deps.intake.bytes_max, may_be_bare=True)
    if ask.key is None:
        raise InvalidParameter.of(ask.field, "missing")
    return await deps.objects.read(ask.key)


ROUTES = (
    Route("POST", "/internal/works/list", list_known_works, auth="service", body=WorkIds, answers={200: KnownWorks}, summary="Works by id"),
    Route(
        "POST", "/internal/pictures", keep_for_user, auth="service", body=PictureToKeep, answers={200: KeptPicture}, body_bytes_max=PICTURE_BODY_BYTES_MAX,
        deadline_seconds=60, summary="Keep a picture for somebody",
    ),
)  # fmt: skip
