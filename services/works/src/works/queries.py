"""What works shows: whose works a viewer may list, and a page of them with its total."""

from dataclasses import dataclass
from uuid import UUID

from common.auth import Principal
from common.db import Database
from common.errors import InvalidParameter, WorkNotFound
from works import store
from works.domain import SEEN, Reach, Status, Wanted, Work, owns

EVERYBODYS_ROWS_MAX = 10_000
"""How deep a list of everybody's works goes; deeper pages would walk an index that grows for ever."""


@dataclass(frozen=True, slots=True)
class PageOfWorks:
    """A page and how many works the list has in all."""

    works: list[Work]
    total: int


def reach_of_owner(viewer: Principal | None, owner_id: UUID | None, *, is_public: bool | None = None, status: Status | None = None) -> tuple[Reach, ...]:
    """One owner's works, or everybody's where no owner is named: all of them for who may see all, else those that are public and there."""
    if owner_id is not None and owns(viewer, owner_id):
        return (Reach(owner_id, is_public),)
    if is_public is False or (status is not None and status not in SEEN):
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
    if wanted.reaches_everybody and wanted.offset + wanted.limit > EVERYBODYS_ROWS_MAX:
        raise InvalidParameter.of("page", f"only the newest {EVERYBODYS_ROWS_MAX} can be listed")
    if not wanted.reaches:
        return PageOfWorks([], 0)
    async with db.read() as conn:
        total = await store.count_works(conn, wanted)
        works = await store.list_works(conn, wanted) if wanted.offset < total else []
    return PageOfWorks(works, total)


async def seen_work(db: Database, work_id: UUID, viewer: Principal | None) -> Work:
    """One work; raises WorkNotFound for an unknown one and for another's alike."""
    async with db.read() as conn:
        work = await store.load_work(conn, work_id)
    if work is None or not work.is_seen_by(viewer):
        raise WorkNotFound()
    return work
