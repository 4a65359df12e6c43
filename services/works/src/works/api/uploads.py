"""What both dialects do with a picture somebody sends."""

from collections.abc import AsyncIterator, Mapping
from uuid import UUID

from common.errors import IdempotencyKeyReused
from works import store
from works.deps import Deps
from works.domain import SavedFile
from works.pictures.intake import Spooled

UPLOAD_SECONDS = 120.0
"""How long a slow phone may take; a body that makes no progress is cut much earlier."""

REPLAYED: Mapping[str, str] = {"Idempotent-Replayed": "true"}


async def keep_picture(deps: Deps, chunks: AsyncIterator[bytes], *, file_id: UUID, user_id: UUID, may_be_known: bool) -> SavedFile:
    """Receive, check, store and remember a picture. Raises FileTooLarge, FileTypeRefused, FileUnreadable, IdempotencyKeyReused."""
    async with deps.intake.receive(chunks) as spooled:
        known = await _known(deps, file_id, spooled) if may_be_known else None
        return known or await store_picture(deps, spooled, file_id=file_id, user_id=user_id)


async def store_picture(deps: Deps, spooled: Spooled, *, file_id: UUID, user_id: UUID) -> SavedFile:
    """Decode and store first, then remember: a row never names bytes that are not there."""
    return await deps.save_file(await deps.intake.store(spooled, file_id=file_id, user_id=user_id))


async def _known(deps: Deps, file_id: UUID, spooled: Spooled) -> SavedFile | None:
    """What this key named before, found before anything is decoded."""
    async with deps.db.read() as conn:
        file = (await store.load_files(conn, [file_id])).get(file_id)
    if file is not None and file.body_hash != spooled.sha256:
        raise IdempotencyKeyReused("this key named another file before")
    return SavedFile(file, replayed=True) if file is not None else None
