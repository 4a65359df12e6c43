"""Every change works makes: what tasks tell, what users upload and make by hand, what people are called."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from common.db import Tx
from common.errors import IdempotencyKeyReused, QuotaExceeded, RateLimited, ServiceError, WorkDeleteFailed, WorkNotFound, WorkUpdateFailed
from common.events import Event, UserRegistered, UserUpdated, WorkCreated, WorkDeleted, WorkLiked, WorkPlayed, WorkUpdated
from works import store
from works.domain import EVERYBODY, SEEN, Kept, Marks, NewWork, SavedFile, StorageTerms, StoredFile, TaskFact, Told, Work, fold, incoming_folder


async def keep_told(tx: Tx, events: Sequence[Event[TaskFact]]) -> None:
    """Make works of what tasks tell. Safe twice and in any order: a row takes only what is newer than it knows.

    Statements of a batch: one for its works and their numbers; up to three more when songs were added to other works, two when a creation was
    heard after its end.
    """
    told = fold(events)
    works = [one for one in told if not one.adds_to_another]
    songs = [one for one in told if one.adds_to_another]
    # Pairs, for a song of somebody else's for the same photo must not hide the owner's.
    delivered = {(one.fact.work_id, one.fact.user_id) for one in songs if one.status == "completed"}
    completed = await store.complete_photos(tx.conn, delivered, tx.now) if delivered else []
    changed_songs = await store.keep_songs(tx.conn, songs, tx.now) if songs else set()
    changed = await store.keep_works(tx.conn, works, tx.now) if works else {}
    if completed:
        await store.move_completed_photos(tx.conn, completed)
    known = changed_songs.union(changed)
    late = {one.fact.task_id: one.created_at for one in told if one.knows_creation and one.fact.task_id not in known}
    if late:
        await store.move_creations_back(tx.conn, late)
    tx.emit(*_announced(works, changed))


def _announced(works: Sequence[Told], changed: Mapping[UUID, bool]) -> Iterator[WorkCreated]:
    """A task ends once, so the row that took an end with something in it is said once."""
    for one in works:
        fact = one.fact
        is_public = changed.get(fact.task_id)
        if is_public is not None and one.status == "completed":
            yield WorkCreated(sequence=1, work_id=fact.work_id, user_id=fact.user_id, kind=fact.kind, public=is_public, task_id=fact.task_id, title=fact.title)


async def create_works(tx: Tx, asks: Sequence[NewWork]) -> list[Kept | ServiceError]:
    """Make works of photos. Safe twice: a name that is known answers with what is there, or refuses what is not the same ask."""
    first = {ask.work_id: ask for ask in reversed(asks)}
    fresh = await store.insert_works(tx.conn, [first[work_id] for work_id in sorted(first)], tx.now)
    hashes: dict[UUID, bytes | None] = {work_id: ask.body_hash for work_id, ask in first.items()}
    if known := [work_id for work_id in first if work_id not in fresh]:
        hashes.update(await store.load_body_hashes(tx.conn, known))
    for work_id in fresh:
        work = first[work_id]
        tx.emit(WorkCreated(sequence=1, work_id=work_id, user_id=work.user_id, kind="photo", public=work.is_public, title=work.body.get("title", "")))
    return [
        Kept(ask.work_id, ask is not first[ask.work_id] or ask.work_id not in fresh) if hashes[ask.work_id] == ask.body_hash else _another_body()
        for ask in asks
    ]


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
    refused = sorted({ask.key for ask in asks if isinstance(named[ask.file_id], QuotaExceeded)})
    if refused:
        await store.insert_loose_objects(tx.conn, refused, tx.now + terms.unsaved_wait)
    return [_saved(ask, named[ask.file_id]) for ask in asks]


def _saved(ask: StoredFile, known: StoredFile | QuotaExceeded) -> SavedFile | ServiceError:
    if isinstance(known, QuotaExceeded):
        return known
    return SavedFile(known, replayed=known is not ask) if known.body_hash == ask.body_hash else _another_body()


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


async def announce_upload(tx: Tx, user_id: UUID, key: str, terms: StorageTerms) -> None:
    """Let a user put an object where nobody looked at it yet.

    Raises RateLimited for one who announces much and completes little, QuotaExceeded for one who has no room left.
    """
    if await store.count_incoming(tx.conn, incoming_folder(user_id)) >= terms.incoming_max:
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
    return await store.claim_loose_object(tx.conn, key, tx.now) and not await store.is_named(tx.conn, key)


async def keep_names(tx: Tx, events: Sequence[Event[UserRegistered | UserUpdated]]) -> None:
    """Remember what people are called. Safe twice and in any order: a row takes only what is newer than it knows."""
    newest: dict[UUID, UserRegistered | UserUpdated] = {}
    for event in events:
        known = newest.get(event.fact.user_id)
        if known is None or event.fact.sequence > known.sequence:
            newest[event.fact.user_id] = event.fact
    await store.keep_names(tx.conn, [(user_id, fact.name, fact.avatar_key, fact.sequence) for user_id, fact in sorted(newest.items())])


def _another_body() -> IdempotencyKeyReused:
    return IdempotencyKeyReused("this key named something else before")


async def mark_works(tx: Tx, viewer: UUID | None, asks: Sequence[Marks]) -> list[Work | ServiceError]:
    """What owners say about their works (`viewer` None: an operator, who may change any). Another's is answered like an unknown one."""
    works = await store.lock_works(tx.conn, [ask.work_id for ask in asks])
    shelves: list[tuple[UUID, str, str, int]] = []
    outcomes: list[Work | ServiceError] = []
    for ask in asks:
        work = works.get(ask.work_id)
        if work is None or viewer not in (None, work.user_id):
            outcomes.append(WorkNotFound())
            continue
        if work.status == "processing":
            outcomes.append(WorkUpdateFailed("it is being generated"))
            continue
        if ask.version is not None and ask.version != work.version:
            outcomes.append(WorkUpdateFailed("it was changed since", data={"version": work.version}))
            continue
        marked = _marked(work, ask)
        if marked != work:
            marked = replace(marked, version=work.version + 1, updated_at=tx.now)
            await store.save_marks(tx.conn, marked)
            if marked.is_public != work.is_public and work.status in SEEN:
                by = 1 if marked.is_public else -1
                shelves += [(work.user_id, work.kind, "public", by), (EVERYBODY, work.kind, "public", by)]
            tx.emit(WorkUpdated(sequence=marked.version, work_id=work.work_id, user_id=work.user_id, kind=work.kind, public=marked.is_public))
            works[ask.work_id] = marked
        outcomes.append(marked)
    await store.move_shelves(tx.conn, shelves)
    return outcomes


def _marked(work: Work, ask: Marks) -> Work:
    body = work.body
    if ask.tags is not None:
        body = {**body, "tags": list(ask.tags)}
    return replace(
        work,
        is_favorite=work.is_favorite if ask.is_favorite is None else ask.is_favorite,
        is_public=work.is_public if ask.is_public is None else ask.is_public,
        body=body,
    )


async def delete_works(tx: Tx, viewer: UUID | None, work_ids: Sequence[UUID], terms: StorageTerms, *, by_admin: UUID | None = None) -> None:
    """Delete all of them or none (`viewer` None: any). Raises WorkNotFound for one that is unknown or another's, WorkDeleteFailed for one on its way."""
    works = await store.lock_works(tx.conn, work_ids)
    for work_id in work_ids:
        work = works.get(work_id)
        if work is None or viewer not in (None, work.user_id):
            raise WorkNotFound()
        if work.status == "processing":
            raise WorkDeleteFailed("its task still runs")
    gone = list(works.values())
    shelves: list[tuple[UUID, str, str, int]] = []
    for work in gone:
        shelves.append((work.user_id, work.kind, work.status, -1))
        if work.is_public and work.status in SEEN:
            shelves += [(work.user_id, work.kind, "public", -1), (EVERYBODY, work.kind, "public", -1)]
    await store.empty_works(tx.conn, [work.work_id for work in gone], tx.now)
    await store.move_shelves(tx.conn, shelves)
    await loosen_objects(tx, [image for work in gone if (image := work.body.get("image"))], terms)
    if by_admin is not None:
        await store.insert_admin_actions(tx.conn, by_admin, gone, tx.now)
    tx.emit(*(WorkDeleted(sequence=work.version + 1, work_id=work.work_id, user_id=work.user_id, kind=work.kind) for work in gone))


async def count_play(tx: Tx, work: Work, user_id: UUID, *, again_after: timedelta) -> Work:
    """A listener counts once in a while; everybody's count moves with the row that says so."""
    if not await store.set_played(tx.conn, work.work_id, user_id, again_after=again_after, now=tx.now):
        return work
    version, plays, likes = await store.move_counts(tx.conn, work.work_id, plays=1)
    tx.emit(WorkPlayed(sequence=version, work_id=work.work_id, user_id=work.user_id, plays=plays))
    return replace(work, version=version, plays=plays, likes=likes)


async def like(tx: Tx, work: Work, user_id: UUID, *, liked: bool) -> Work:
    """Liked or not any more; saying it again changes nothing."""
    if not await store.set_liked(tx.conn, work.work_id, user_id, liked=liked, now=tx.now):
        return work
    version, plays, likes = await store.move_counts(tx.conn, work.work_id, likes=1 if liked else -1)
    tx.emit(WorkLiked(sequence=version, work_id=work.work_id, user_id=work.user_id, likes=likes))
    return replace(work, version=version, plays=plays, likes=likes)
