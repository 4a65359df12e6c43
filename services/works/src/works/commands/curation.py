"""What owners, listeners and operators do to works: marks, deletions, plays and likes."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from common.db import Tx
from common.errors import ServiceError, WorkDeleteFailed, WorkNotFound, WorkUpdateFailed
from common.events import WorkDeleted, WorkLiked, WorkPlayed, WorkUpdated
from works import store
from works.commands.files import forget_photos, loosen_objects
from works.domain import EVERYBODY, SEEN, Counted, Marks, Moved, Reaction, StorageTerms, Work, keys_of, loose_with


async def mark_works(tx: Tx, owner_id: UUID | None, asks: Sequence[Marks], *, admin_id: UUID | None = None) -> list[Work | ServiceError]:
    """What owners say about their works (`owner_id` None: anybody's, on an operator's word). Another's is answered like an unknown one."""
    works = await store.lock_works(tx.conn, [ask.work_id for ask in asks])
    before = dict(works)
    outcomes: list[Work | ServiceError] = []
    for ask in asks:
        work = works.get(ask.work_id)
        refusal = _refused(work, owner_id, ask)
        if work is None or refusal is not None:
            outcomes.append(refusal or WorkNotFound())
            continue
        marked = _marked(work, ask)
        if marked != work:
            marked = replace(marked, version=work.version + 1, edition=work.edition + 1, updated_at=tx.now)
            works[ask.work_id] = marked
            tx.emit(WorkUpdated(sequence=marked.version, work_id=work.work_id, user_id=work.user_id, kind=work.kind, public=marked.is_public))
        outcomes.append(marked)
    changed = [(before[work_id], work) for work_id, work in works.items() if work is not before[work_id]]
    for _, work in changed:
        await store.save_marks(tx.conn, work)
    if retagged := [work.work_id for old, work in changed if _found_by(old) != _found_by(work)]:
        await store.save_tags(tx.conn, retagged)
    published = [(work, 1 if work.is_public else -1) for old, work in changed if work.is_public != old.is_public and work.status in SEEN]
    await _count(tx, [(whose, work, "public", by) for work, by in published for whose in (work.user_id, EVERYBODY)])
    if admin_id is not None and changed:
        await store.insert_admin_actions(tx.conn, admin_id, "mark", [(work, _marks_of(old), _marks_of(work)) for old, work in changed], "", tx.now)
    return outcomes


def _refused(work: Work | None, owner_id: UUID | None, ask: Marks) -> ServiceError | None:
    if work is None or owner_id not in (None, work.user_id):
        return WorkNotFound()
    if work.status == "processing":
        return WorkUpdateFailed("it is being generated")
    if ask.edition is not None and ask.edition != work.edition:
        return WorkUpdateFailed("it was changed since")
    return None


def _marked(work: Work, ask: Marks) -> Work:
    body = work.body
    if ask.tags is not None:
        body = {**body, "tags": list(dict.fromkeys(ask.tags))}
    return replace(
        work,
        is_favorite=work.is_favorite if ask.is_favorite is None else ask.is_favorite,
        is_public=work.is_public if ask.is_public is None else ask.is_public,
        body=body,
    )


def _marks_of(work: Work) -> dict[str, object]:
    return {"is_favorite": work.is_favorite, "is_public": work.is_public, "tags": work.body.get("tags", [])}


def _found_by(work: Work) -> tuple[bool, object]:
    return work.is_public, work.body.get("tags")


async def delete_works(tx: Tx, owner_id: UUID | None, work_ids: Sequence[UUID], terms: StorageTerms, *, admin_id: UUID | None = None, reason: str = "") -> None:
    """Delete all of them or none (`owner_id` None: anybody's, on an operator's word).

    Raises WorkNotFound for one that is unknown or another's, WorkDeleteFailed for one whose task still runs.
    """
    works = await store.lock_works(tx.conn, work_ids)
    if any(work_id not in works or owner_id not in (None, works[work_id].user_id) for work_id in work_ids):
        raise WorkNotFound()
    gone = list(works.values())
    if any(work.status == "processing" for work in gone) or await store.find_growing(tx.conn, works):
        raise WorkDeleteFailed("its task still runs")
    songs = await store.empty_works(tx.conn, list(works), tx.now)
    public = [work for work in gone if work.is_public and work.status in SEEN]
    await _count(
        tx,
        [*((work.user_id, work, work.status, -1) for work in gone), *((whose, work, "public", -1) for work in public for whose in (work.user_id, EVERYBODY))],
    )
    made = [*((work.body, work.work_id if work.kind != "photo" else None) for work in gone), *((body, task_id) for task_id, body in songs.items())]
    await loosen_objects(tx, [key for body, task_id in made for key in loose_with(body, task_id)], terms)
    await forget_photos(tx, gone)
    if admin_id is not None:
        await store.insert_admin_actions(tx.conn, admin_id, "delete", [(work, _seen_of(work), None) for work in gone], reason, tx.now)
    tx.emit(*(WorkDeleted(sequence=work.version + 1, work_id=work.work_id, user_id=work.user_id, kind=work.kind) for work in gone))


async def retag_works(tx: Tx, limit: int) -> bool:
    """Go on with the walk that finds the tags of works again; False when none is due, or this one is at its end. Safe twice."""
    retagging = await store.claim_retagging(tx.conn, tx.now)
    if retagging is None:
        return False
    works = await store.list_next(tx.conn, retagging.after_id, limit)
    recent = [work_id for work_id, updated_at in works if updated_at >= retagging.since]
    if recent and (wrong := await store.lock_mistagged(tx.conn, recent)):
        await store.save_tags(tx.conn, wrong)
    if len(works) == limit:
        await store.save_retagging(tx.conn, replace(retagging, after_id=works[-1][0]))
        return True
    following = retagging.at_the_end(tx.now)
    await (store.save_retagging(tx.conn, following) if following is not None else store.delete_retagging(tx.conn))
    return False


def _seen_of(work: Work) -> dict[str, object]:
    return {"kind": work.kind, "status": work.status, "title": work.title, "objects": keys_of(work.body), **_marks_of(work)}


async def _count(tx: Tx, moves: Iterable[tuple[UUID, Work, str, int]]) -> None:
    """Keep the numbers: (whose shelf, the work, which number, by how much). What lies on an owner's shelf is in the tally as well."""
    shelves: dict[tuple[UUID, str], Moved] = defaultdict(Moved)
    tally: dict[str, Moved] = defaultdict(Moved)
    for whose, work, number, by in moves:
        shelves[whose, work.kind][number] += by
        if number != "public":
            tally[work.kind][number] += by
    if shelves:
        await store.move_shelves(tx.conn, shelves)
    if tally:
        await store.move_tally(tx.conn, tally)


async def react(tx: Tx, asks: Sequence[Reaction], *, play_counts_after: timedelta) -> list[Counted | ServiceError]:
    """Count plays and likes. Safe twice: a listener counts once in a while, and who likes a work likes it once. Counts move with the rows that say why.

    The works are locked first, so that nobody reacts to what is being deleted. Who changes their mind within a batch has said the last thing only.
    """
    locked = await store.lock_works(tx.conn, [ask.work_id for ask in asks])
    works = {work_id: work for work_id, work in locked.items() if work.status in SEEN}  # what is not there yet has nothing to hear, and no version
    plays: set[tuple[UUID, UUID]] = set()
    likes: dict[tuple[UUID, UUID], bool] = {}
    for ask in asks:
        work, who = works.get(ask.work_id), ask.viewer.user_id
        if work is None or who is None or not work.is_seen_by(ask.viewer):
            continue
        if ask.says == "play":
            plays.add((ask.work_id, who))
        else:
            likes[ask.work_id, who] = ask.says == "like"
    played = Counter(await store.insert_plays(tx.conn, sorted(plays), counts_before=tx.now - play_counts_after, now=tx.now)) if plays else Counter[UUID]()
    liked = Counter[UUID]()
    if wanted := sorted(pair for pair, likes_it in likes.items() if likes_it):
        liked.update(await store.insert_likes(tx.conn, wanted, tx.now))
    if unwanted := sorted(pair for pair, likes_it in likes.items() if not likes_it):
        liked.subtract(await store.delete_likes(tx.conn, unwanted))
    moves = {work_id: (played[work_id], liked[work_id]) for work_id in works if played[work_id] or liked[work_id]}
    counts = await store.move_counts(tx.conn, moves) if moves else {}
    for work_id, (version, counted) in counts.items():
        owner_id, also_liked = works[work_id].user_id, liked[work_id] != 0
        if played[work_id]:
            tx.emit(WorkPlayed(sequence=version - also_liked, work_id=work_id, user_id=owner_id, plays=counted.plays))
        if also_liked:
            tx.emit(WorkLiked(sequence=version, work_id=work_id, user_id=owner_id, likes=counted.likes))
    return [_counted(works.get(ask.work_id), ask, counts) for ask in asks]


def _counted(work: Work | None, ask: Reaction, counts: dict[UUID, tuple[int, Counted]]) -> Counted | ServiceError:
    if work is None or not work.is_seen_by(ask.viewer):
        return WorkNotFound()
    return counts[ask.work_id][1] if ask.work_id in counts else Counted(ask.work_id, work.plays, work.likes)
