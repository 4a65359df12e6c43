"""Uploads kept and taken back, and bytes that nothing names."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import UUID

from common.db import Tx
from common.errors import IdempotencyKeyReused, QuotaExceeded, RateLimited, ServiceError
from common.ids import derived_id
from works import store
from works.domain import SavedFile, StorageTerms, StoredFile, Work, incoming_folder, is_ones_own


async def expect_files(tx: Tx, asks: Sequence[StoredFile], terms: StorageTerms) -> list[ServiceError | None]:
    """Let objects be stored, before they are: should their rows never come, upkeep removes them. Safe twice. Refuses what would be too much."""
    kept = await store.find_storage(tx.conn, sorted({ask.user_id for ask in asks}))
    outcomes = [_refusal(ask, kept.get(ask.user_id, 0), terms) for ask in asks]
    keys = sorted({ask.key for ask, refusal in zip(asks, outcomes, strict=True) if refusal is None})
    if keys:
        await store.insert_loose_objects(tx.conn, keys, tx.now + terms.unsaved_wait)
    return list(outcomes)


async def save_files(tx: Tx, asks: Sequence[StoredFile], terms: StorageTerms) -> list[SavedFile | ServiceError]:
    """Keep uploads. Safe twice: a name that is known answers with the file it named first, or refuses other content, or what would be too much."""
    await store.delete_loose_objects(tx.conn, sorted({ask.key for ask in asks}))
    kept = await store.lock_storage(tx.conn, sorted({ask.user_id for ask in asks}))
    named: dict[UUID, StoredFile | QuotaExceeded] = dict(await store.load_files(tx.conn, sorted({ask.file_id for ask in asks})))
    fresh: dict[UUID, StoredFile] = {}
    for ask in asks:
        if ask.file_id in named:
            continue
        refusal = _refusal(ask, kept[ask.user_id], terms)
        named[ask.file_id] = refusal or ask
        if refusal is None:
            fresh[ask.file_id] = ask
            kept[ask.user_id] += ask.size_bytes
    if fresh:
        await store.insert_files(tx.conn, [fresh[file_id] for file_id in sorted(fresh)], tx.now)
        await store.move_storage(tx.conn, _added(fresh.values()))
    if unnamed := sorted({ask.key for ask in asks if not _is_under(ask.key, named[ask.file_id])}):
        await store.insert_loose_objects(tx.conn, unnamed, tx.now + terms.unsaved_wait)
    return [_saved(ask, named[ask.file_id]) for ask in asks]


def _is_under(key: str, known: StoredFile | QuotaExceeded) -> bool:
    return isinstance(known, StoredFile) and known.key == key


def _saved(ask: StoredFile, known: StoredFile | QuotaExceeded) -> SavedFile | ServiceError:
    if isinstance(known, QuotaExceeded):
        return known
    return SavedFile(known, replayed=known is not ask) if known.body_hash == ask.body_hash else IdempotencyKeyReused("this key named something else before")


def _refusal(ask: StoredFile, kept_bytes: int, terms: StorageTerms) -> QuotaExceeded | None:
    if kept_bytes + ask.size_bytes <= terms.bytes_max:
        return None
    return QuotaExceeded(data={"used_bytes": kept_bytes, "bytes_max": terms.bytes_max})


def _added(files: Iterable[StoredFile]) -> list[tuple[UUID, int, int]]:
    """Per user how many files and bytes came."""
    sums: dict[UUID, tuple[int, int]] = {}
    for file in files:
        count, size = sums.get(file.user_id, (0, 0))
        sums[file.user_id] = (count + 1, size + file.size_bytes)
    return [(user_id, *sums[user_id]) for user_id in sorted(sums)]


async def delete_file(tx: Tx, user_id: UUID, key: str, terms: StorageTerms) -> bool:
    """Forget a user's uploads under a key; False when there were none. The bytes stay a while for tasks that were asked for with them."""
    if not await store.has_file(tx.conn, user_id, key):
        return False
    await store.insert_loose_objects(tx.conn, [key], tx.now + terms.deleted_wait)
    await store.lock_storage(tx.conn, [user_id])
    sizes = await store.delete_files(tx.conn, user_id, key)
    if not sizes:
        return False
    await store.move_storage(tx.conn, [(user_id, -len(sizes), -sum(sizes))])
    return True


def photo_id(work_id: UUID) -> UUID:
    """What the upload is called whose bytes came inside the creation of a work."""
    return derived_id(work_id, "image")


async def forget_photos(tx: Tx, works: Sequence[Work]) -> None:
    """Forget the uploads that came inside the creation of these works: nobody knows them but by the work. Their keys are loose already."""
    owners = {photo_id(work.work_id): work.user_id for work in works if "image" in work.body}
    if owners:
        await store.lock_storage(tx.conn, sorted(set(owners.values())))
        gone = await store.delete_files_by_id(tx.conn, list(owners))
        await store.move_storage(tx.conn, [(user_id, -files, -size) for user_id, files, size in _added(gone)])


async def announce_upload(tx: Tx, user_id: UUID, key: str, terms: StorageTerms) -> None:
    """Let a user put an object where nobody looked at it yet.

    Raises RateLimited for one who announces much and completes little, QuotaExceeded for one who has no room left.
    """
    folder = incoming_folder(user_id)
    await store.lock_incoming(tx.conn, folder)
    if await store.count_incoming(tx.conn, folder) >= terms.incoming_max:
        raise RateLimited("too many uploads are announced and not completed", retry_after_seconds=60)
    kept = (await store.find_storage(tx.conn, [user_id])).get(user_id, 0)
    if kept >= terms.bytes_max:
        raise QuotaExceeded(data={"used_bytes": kept, "bytes_max": terms.bytes_max})
    await store.insert_loose_objects(tx.conn, [key], tx.now + terms.incoming_wait)


async def loosen_objects(tx: Tx, keys: Sequence[str], terms: StorageTerms) -> None:
    """One thing less names these keys; upkeep looks whether it was the last."""
    if keys:
        await store.insert_loose_objects(tx.conn, sorted(set(keys)), tx.now + terms.deleted_wait)


async def claim_unnamed(tx: Tx, key: str) -> bool:
    """Whether a due object is named by nothing. Until the transaction ends nobody else stores under that key: remove the bytes before that."""
    return await store.claim_loose_object(tx.conn, key, tx.now) and is_ones_own(key) and not await store.is_named(tx.conn, key)


async def look_again(tx: Tx, keys: Sequence[str], wait: timedelta) -> None:
    """These are to be looked at, each for itself, after a while."""
    if keys:
        await store.insert_loose_objects(tx.conn, sorted(keys), tx.now + wait)
