"""Every change works makes: what tasks tell, what users upload and make by hand, what people are called."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from common.db import Tx
from common.errors import IdempotencyKeyReused, ServiceError
from common.events import Event, UserRegistered, WorkCreated
from works import store
from works.domain import Kept, NewWork, SavedFile, StoredFile, TaskFact, Told, fold


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


async def save_files(tx: Tx, asks: Sequence[StoredFile]) -> list[SavedFile | ServiceError]:
    """Keep uploads. Safe twice: a name that is known answers with the file it named first, or refuses other content."""
    first = {ask.file_id: ask for ask in reversed(asks)}
    fresh = await store.insert_files(tx.conn, [first[file_id] for file_id in sorted(first)], tx.now)
    if known := [file_id for file_id in first if file_id not in fresh]:
        first.update(await store.load_files(tx.conn, known))
    outcomes: list[SavedFile | ServiceError] = []
    for ask in asks:
        kept = first[ask.file_id]
        outcomes.append(SavedFile(kept, replayed=kept is not ask) if kept.body_hash == ask.body_hash else _another_body())
    return outcomes


async def keep_names(tx: Tx, events: Sequence[Event[UserRegistered]]) -> None:
    """Remember what people are called. Safe twice and in any order: a row takes only what is newer than it knows."""
    newest: dict[UUID, UserRegistered] = {}
    for event in events:
        known = newest.get(event.fact.user_id)
        if known is None or event.fact.sequence > known.sequence:
            newest[event.fact.user_id] = event.fact
    await store.keep_names(tx.conn, [(user_id, fact.name, fact.avatar_key, fact.sequence) for user_id, fact in sorted(newest.items())])


def _another_body() -> IdempotencyKeyReused:
    return IdempotencyKeyReused("this key named something else before")
