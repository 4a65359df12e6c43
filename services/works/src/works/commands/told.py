"""What tasks and people tell, and works made by hand."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from common.db import Tx
from common.errors import IdempotencyKeyReused, ServiceError
from common.events import Event, TaskCompleted, UserRegistered, UserUpdated, WorkCreated
from works import store
from works.domain import Kept, Moved, NewWork, TaskFact, Told, adds_to_another, fold, loose_with


async def keep_told(tx: Tx, events: Sequence[Event[TaskFact]]) -> list[str]:
    """Make works of what tasks tell. Safe twice and in any order: a row takes only what is newer than it knows.

    Answers the keys of songs that came after their work was deleted: nobody will ever be shown them.

    Statements of a batch: one for its works and their numbers; up to six more when songs were added to other works, two when a creation was
    heard after its end.
    """
    told = fold(events)
    works: list[Told] = []
    songs: list[Told] = []
    for one in told:
        (songs if adds_to_another(one.fact) else works).append(one)
    # Pairs, for a song of somebody else's for the same photo must not hide the owner's.
    delivered = {(one.fact.work_id, one.fact.user_id) for one in songs if one.status == "completed"}
    completed = await store.complete_photos(tx.conn, delivered, tx.now) if delivered else []
    changed_songs = await store.keep_songs(tx.conn, songs, tx.now) if songs else set()
    # One that still runs may deliver yet.
    ended = [one.fact.task_id for one in songs if one.status != "processing" and one.fact.task_id in changed_songs]
    orphans = await store.empty_orphans(tx.conn, ended) if ended else {}
    changed = await store.keep_works(tx.conn, works, tx.now) if works else {}
    if completed:
        await _move_completed_photos(tx, completed)
    if tagged := [one.fact.task_id for one in works if isinstance(one.fact, TaskCompleted) and one.fact.tags and one.fact.task_id.int in changed]:
        await store.insert_tags(tx.conn, tagged)
    known = changed.keys() | {task_id.int for task_id in changed_songs}
    late = {one.fact.task_id: one.created_at for one in told if one.knows_creation and one.fact.task_id.int not in known}
    if late:
        await store.move_creations_back(tx.conn, late)
    tx.emit(*_announced(works, changed))
    return [key for task_id, body in orphans.items() for key in loose_with(body, task_id)]


async def _move_completed_photos(tx: Tx, owners: Sequence[UUID]) -> None:
    """Count photos that were completed where they stand now, one per owner named."""
    moves = {(owner_id, "photo"): Moved(created=-count, completed=count) for owner_id, count in Counter(owners).items()}
    await store.move_shelves(tx.conn, moves)
    await store.move_tally(tx.conn, {"photo": Moved(created=-len(owners), completed=len(owners))})


def _announced(works: Sequence[Told], changed: Mapping[int, bool]) -> Iterator[WorkCreated]:
    """A task ends once, so the row that took an end with something in it is said once."""
    for one in works:
        fact = one.fact
        is_public = changed.get(fact.task_id.int)
        if is_public is not None and one.status == "completed":
            yield WorkCreated(sequence=1, work_id=fact.work_id, user_id=fact.user_id, kind=fact.kind, public=is_public, task_id=fact.task_id, title=fact.title)


async def create_works(tx: Tx, asks: Sequence[NewWork]) -> list[Kept | ServiceError]:
    """Make works of photos. Safe twice: a name that is known answers with what is there, or refuses what is not the same ask."""
    first = {ask.work_id: ask for ask in reversed(asks)}
    fresh = await store.insert_works(tx.conn, [first[work_id] for work_id in sorted(first)], tx.now)
    hashes: dict[UUID, bytes | None] = {work_id: ask.body_hash for work_id, ask in first.items()}
    if known := [work_id for work_id in first if work_id not in fresh]:
        hashes.update(await store.load_body_hashes(tx.conn, known))
    if tagged := [work_id for work_id in fresh if first[work_id].body.get("tags")]:
        await store.insert_tags(tx.conn, tagged)
    for work_id in fresh:
        work = first[work_id]
        tx.emit(WorkCreated(sequence=1, work_id=work_id, user_id=work.user_id, kind="photo", public=work.is_public, title=work.body.get("title", "")))
    return [
        Kept(ask.work_id, ask is not first[ask.work_id] or ask.work_id not in fresh)
        if hashes[ask.work_id] == ask.body_hash
        else IdempotencyKeyReused("this key named something else before")
        for ask in asks
    ]


async def keep_names(tx: Tx, events: Sequence[Event[UserRegistered | UserUpdated]]) -> list[str]:
    """Remember what people are called. Safe twice and in any order: a row takes only what is newer than it knows.

    Answers the keys of pictures that are not theirs any more.
    """
    newest: dict[UUID, UserRegistered | UserUpdated] = {}
    for event in events:
        known = newest.get(event.fact.user_id)
        if known is None or event.fact.sequence > known.sequence:
            newest[event.fact.user_id] = event.fact
    return await store.keep_names(tx.conn, [(user_id, fact.name, fact.avatar_key, fact.sequence) for user_id, fact in sorted(newest.items())])
