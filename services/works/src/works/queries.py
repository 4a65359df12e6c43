"""What works shows: whose works a viewer may list, and a page of them with its total."""

from dataclasses import dataclass
from uuid import UUID

from common.auth import Principal
from common.db import Database
from common.errors import InvalidParameter, WorkNotFound
from works import store
from works.caches import KeptNumbers, PublicWorks
from works.domain import EVERYBODYS_ROWS_MAX, SEEN, Everybodys, Numbers, Place, Reach, Status, Wanted, Work, owns


@dataclass(frozen=True, slots=True)
class PageOfWorks:
    """A page and how many works the list has in all."""

    works: list[Work]
    total: int


def reach_of_owner(
    viewer: Principal | None, owner_id: UUID | None, *, is_public: bool | None = None, is_favorite: bool | None = None, status: Status | None = None
) -> tuple[Reach, ...]:
    """One owner's works, or everybody's where no owner is named: all of them for who may see all, else those that are public and there.

    What an owner likes best is shown to nobody else, so others find no favourites.
    """
    if owner_id is not None and owns(viewer, owner_id):
        return (Reach(owner_id, is_public),)
    if is_public is False or is_favorite or (status is not None and status not in SEEN):
        return ()
    return (Reach(owner_id, is_public=True),)


def reach_of_gallery(viewer: Principal | None) -> tuple[Reach, ...]:
    """Everybody's public works and the viewer's own."""
    everybodys = Reach(None, is_public=True)
    if viewer is None or viewer.user_id is None:
        return (everybodys,)
    return (everybodys, Reach(viewer.user_id, is_public=False))


async def page_of_works(db: Database, wanted: Wanted) -> PageOfWorks:
    """A page with its total. Raises InvalidParameter for a page of everybody's works that is too deep."""
    if wanted.reaches_everybody:
        _check_depth(wanted.offset + wanted.limit)
    if not wanted.reaches:
        return PageOfWorks([], 0)
    async with db.read() as conn:
        total = await store.count_works(conn, wanted)
        works = await store.list_works(conn, wanted) if wanted.offset < total else []
    return PageOfWorks(works, total)


async def page_of_everybodys(db: Database, wanted: Everybodys) -> PageOfWorks:
    """The same for operators, who see all works."""
    if wanted.user_id is None:
        _check_depth(wanted.offset + wanted.limit)
    async with db.read() as conn:
        total = await store.count_everybodys(conn, wanted)
        works = await store.list_everybodys(conn, wanted) if wanted.offset < total else []
    return PageOfWorks(works, total)


def _check_depth(rows: int) -> None:
    if rows > EVERYBODYS_ROWS_MAX:
        raise InvalidParameter.of("page", "newest-only", most=EVERYBODYS_ROWS_MAX)


async def list_gallery(db: Database, *, tag: str | None, after: Place | None, limit: int) -> tuple[list[Work], Place | None]:
    """Public works, the newest first, and where to go on; None at the end."""
    wanted = Wanted(reaches=(Reach(None, is_public=True),), tag=tag, after=after, limit=limit + 1)
    async with db.read() as conn:
        works = await store.list_works(conn, wanted)
    return works[:limit], Place(works[limit - 1].created_at, works[limit - 1].work_id) if len(works) > limit else None


async def seen_work(db: Database, public_works: PublicWorks, work_id: UUID, viewer: Principal | None) -> Work:
    """One work; raises WorkNotFound for an unknown one and for another's alike. What others see of public ones may be a few seconds old."""
    work = public_works.get(work_id)
    if work is not None and not owns(viewer, work.user_id):
        return work
    begun = public_works.begin()
    async with db.read() as conn:
        work = await store.load_work(conn, work_id)
    if work is None or not work.is_seen_by(viewer):
        raise WorkNotFound()
    if not owns(viewer, work.user_id):
        public_works.put(work_id, work, begun)
    return work


async def numbers_of_all(db: Database, kept: KeptNumbers) -> Numbers:
    """How many works there are, a few seconds old at most."""
    numbers = kept.get("all")
    if numbers is None:
        begun = kept.begin()
        async with db.read() as conn:
            numbers = await store.count_all(conn, today=db.clock.now().replace(hour=0, minute=0, second=0, microsecond=0))
        kept.put("all", numbers, begun)
    return numbers
