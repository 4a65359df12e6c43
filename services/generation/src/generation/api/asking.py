"""What both dialects' creations share: the id a key gives, the hash of a body, photos into keys, flags of works."""

import asyncio
import hashlib
from uuid import UUID

import orjson

from common.errors import (
    DeductFailed,
    FileTooLarge,
    FileTypeRefused,
    FileUnreadable,
    IdempotencyKeyReused,
    InsufficientCredits,
    InvalidParameter,
    ServiceError,
    TooManyTasks,
    Unavailable,
)
from common.ids import derived_id, new_id
from common.objects import source_of_thumbnail
from common.web import Request
from generation.deps import Deps
from generation.domain import Created, OwnedWork, Person, Task
from generation.schemas.links import Rendering
from generation.store import tasks

CREATE_REFUSALS = (InsufficientCredits, DeductFailed, TooManyTasks)
PHOTO_REFUSALS = (FileTooLarge, FileTypeRefused, FileUnreadable)
PICTURE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


def name_task(request: Request[Deps], route: str) -> tuple[UUID, bool]:
    """The task's id, and whether an idempotency key gave it: then the same user, route and key always name the same task."""
    key = request.idempotency_key
    return (derived_id(request.user_id, route, key), True) if key is not None else (new_id(), False)


def hash_of(body: dict[str, object]) -> bytes:
    """Of the validated body in one canonical form: the same ask has the same hash, however it was written."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()


def rendering_for(request: Request[Deps]) -> Rendering:
    """How this caller is answered."""
    return Rendering(request.deps.signer, request.deps.db.clock.now(), request.lang)


async def made_before(deps: Deps, task_id: UUID, refusal: ServiceError, *, keyed: bool, body_hash: bytes) -> Created:
    """What this key made when nothing refused it yet: a scene was switched off since, a photo deleted, works went away. Raises the refusal if nothing."""
    if not keyed:
        raise refusal
    async with deps.db.read() as conn:
        there = (await tasks.list_known(conn, [task_id])).get(task_id)
    if there is None:
        raise refusal
    if there.body_hash != body_hash:
        raise IdempotencyKeyReused()
    return Created(there.task, replayed=True)


def names_of(deps: Deps, images: list[str]) -> list[str]:
    """What names each picture in the body's hash: its content, or the key it lies under."""
    return [hashlib.sha256(image.encode()).hexdigest() if _is_data_url(image) else deps.signer.key_of(image) or image for image in images]


def _is_data_url(image: str) -> bool:
    return image[:5].lower() == "data:"


async def photo_keys(request: Request[Deps], images: list[str]) -> tuple[str, ...]:
    """Object keys of the pictures, those of data URLs stored by now.

    Whoever has a link that is good may use what it leads to; an upload of one's own may be named by a link of any age.
    """
    deps = request.deps
    keys: list[str] = []
    own = f"uploads/{request.principal.name}/"
    for place, image in enumerate(images):
        field = f"images.{place}"
        if _is_data_url(image):
            keys.append(await deps.photos.keep(request.user_id, image, field=field))
            continue
        key = deps.signer.key_of(image)
        if key is None or (not key.startswith(own) and deps.signer.key_of(image, good_at=deps.db.clock.now()) is None):
            raise InvalidParameter.of(field, "upload-or-data-url")
        if not key.endswith(PICTURE_EXTENSIONS):
            raise InvalidParameter.of(field, "picture-link")
        if source_of_thumbnail(key) is not None:
            raise InvalidParameter.of(field, "small-picture")
        keys.append(key)
    return tuple(keys)


async def kept_work(deps: Deps, task: Task) -> OwnedWork | None:
    """What works says of the task's work, if it says so at once; nobody waits for flags."""
    try:
        async with asyncio.timeout(deps.settings.work_flags_seconds):
            return await deps.find_work(task.work_id)
    except (TimeoutError, Unavailable):
        return None


async def person_of(deps: Deps, user_id: UUID) -> Person | None:
    """What identity says of somebody, if it says so at once; most were asked for before."""
    known = deps.people.kept(user_id)
    if known is not None:
        return known
    try:
        async with asyncio.timeout(deps.settings.person_seconds):
            return await deps.find_person(user_id)
    except (TimeoutError, Unavailable):
        return None
