"""What all dialects do with pictures somebody sends."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import TypeVar
from uuid import UUID

from common.errors import FileTooLarge, FileTypeRefused, FileUnreadable, IdempotencyKeyReused, QuotaExceeded, ServiceError
from works import commands, store
from works.deps import Deps
from works.domain import SavedFile
from works.pictures.intake import Ready, Spooled

T = TypeVar("T")

UPLOAD_SECONDS = 120.0
"""How long a slow phone may take; a body that makes no progress is cut much earlier."""

REPLAYED: Mapping[str, str] = {"Idempotent-Replayed": "true"}

PICTURE_REFUSALS = (FileTooLarge, FileTypeRefused, FileUnreadable, QuotaExceeded)

AT_ONCE = 2
"""How many pictures of one request are decoded at the same time, so that others have a turn too."""


async def keep_picture(deps: Deps, chunks: AsyncIterator[bytes], *, file_id: UUID, user_id: UUID, may_be_known: bool) -> SavedFile:
    """Receive, check, store and remember a picture. Raises FileTooLarge, FileTypeRefused, FileUnreadable, IdempotencyKeyReused, QuotaExceeded."""
    async with deps.intake.receive(chunks) as spooled:
        return await keep_spooled(deps, spooled, file_id=file_id, user_id=user_id, may_be_known=may_be_known)


async def keep_spooled(deps: Deps, spooled: Spooled, *, file_id: UUID, user_id: UUID, may_be_known: bool) -> SavedFile:
    """Check, store and remember a picture that was received. Raises FileTooLarge, FileUnreadable, IdempotencyKeyReused, QuotaExceeded."""
    known = await _known(deps, file_id, spooled) if may_be_known else None
    return known or await store_picture(deps, spooled, file_id=file_id, user_id=user_id)


async def store_picture(deps: Deps, spooled: Spooled, *, file_id: UUID, user_id: UUID) -> SavedFile:
    """Decode, say that bytes will come, store them, then remember: a row never names bytes that are not there, and no bytes stay without one."""
    async with deps.intake.cleaned(spooled, file_id=file_id, user_id=user_id) as ready:
        await deps.expect_file(ready.file)
        await deps.intake.put(ready)
    return await deps.save_file(ready.file)


async def keep_for_a_while(deps: Deps, chunks: AsyncIterator[bytes], *, file_id: UUID, user_id: UUID) -> str:
    """Receive, check and store a picture that gets no row; answers its key. It stays as long as a deleted upload does, unless a row names it by then."""
    async with deps.intake.receive(chunks) as spooled, deps.intake.cleaned(spooled, file_id=file_id, user_id=user_id) as ready:
        async with deps.db.transaction() as tx:
            await commands.loosen_objects(tx, [ready.file.key], deps.storage)
        await deps.intake.put(ready)
    return ready.file.key


async def store_together(deps: Deps, pictures: Sequence[Spooled], *, file_ids: Sequence[UUID], user_id: UUID, field: str) -> list[SavedFile]:
    """Keep all of them or none: nothing is stored before every one is decoded, and their rows come in one transaction."""
    async with AsyncExitStack() as stack:
        turns = asyncio.Semaphore(AT_ONCE)
        refusals: list[ServiceError] = []

        async def decode(place: int) -> Ready | None:
            async with turns:
                if refusals:
                    return None  # one is bad already
                try:
                    with named(f"{field}.{place}"):
                        return await stack.enter_async_context(deps.intake.cleaned(pictures[place], file_id=file_ids[place], user_id=user_id))
                except ServiceError as refusal:
                    refusals.append(refusal)
                    return None

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(decode(place)) for place in range(len(pictures))]
        if refusals:
            raise refusals[0]
        ready = [found for task in tasks if (found := task.result()) is not None]
        files = [one.file for one in ready]
        async with deps.db.transaction() as tx:
            _all_or_none(await commands.expect_files(tx, files, deps.storage))
        for one in ready:
            await deps.intake.put(one)
    async with deps.db.transaction() as tx:
        return _all_or_none(await commands.save_files(tx, files, deps.storage))


def _all_or_none(outcomes: Sequence[T | ServiceError]) -> list[T]:
    """The outcomes; raises the first refusal among them, which takes the transaction back."""
    good: list[T] = []
    for outcome in outcomes:
        if isinstance(outcome, ServiceError):
            raise outcome
        good.append(outcome)
    return good


async def known_together(deps: Deps, pictures: Sequence[Spooled], *, file_ids: Sequence[UUID], next_id: UUID) -> list[SavedFile] | None:
    """What a key named before, all of it, found before anything is decoded. `next_id` is what one file more would be called."""
    async with deps.db.read() as conn:
        known = await store.load_files(conn, [*file_ids, next_id])
    if not known:
        return None
    files = [known.get(file_id) for file_id in file_ids]
    saved = [SavedFile(file, replayed=True) for file, one in zip(files, pictures, strict=True) if file is not None and file.body_hash == one.sha256]
    if len(saved) != len(pictures) or next_id in known:
        raise IdempotencyKeyReused("this key named other files before")
    return saved


@contextmanager
def named(field: str) -> Iterator[None]:
    """Say which file it was: who takes a picture in knows no more than a body."""
    try:
        yield
    except (FileTooLarge, FileTypeRefused, FileUnreadable) as error:
        raise type(error)(errors=[one._replace(field=field) for one in error.errors]) from error


async def _known(deps: Deps, file_id: UUID, spooled: Spooled) -> SavedFile | None:
    """What this key named before, found before anything is decoded."""
    async with deps.db.read() as conn:
        file = (await store.load_files(conn, [file_id])).get(file_id)
    if file is not None and file.body_hash != spooled.sha256:
        raise IdempotencyKeyReused("this key named another file before")
    return SavedFile(file, replayed=True) if file is not None else None
