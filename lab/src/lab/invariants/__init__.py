"""What must be true of all databases and objects once nothing is under way, whatever was killed meanwhile; asked of the stores, not of the services.

`check` answers with sentences, one per broken rule, naming the first few it is about; nothing to say means all is well.
"""

import asyncio
import time
from collections.abc import Collection
from contextlib import AsyncExitStack
from uuid import UUID

import asyncpg

from lab.invariants import books, bus, feeds, objects, tasks, works
from lab.invariants.places import Places, places_of

__all__ = ["Places", "check", "check_when_settled", "places_of"]


async def check(places: Places, *, accepted: Collection[UUID] = ()) -> list[str]:
    """Every rule once. `accepted` are the tasks that a client was promised: each must be there."""
    async with AsyncExitStack() as stack:
        open_ = {service: await _open(stack, url) for service, url in places.databases.items()}
        known = await tasks.load_tasks(open_["generation"]) if "generation" in open_ else None
        found: list[str] = []
        for service, conn in open_.items():
            found += await bus.check_bus(service, conn)
        if known is not None:
            found += tasks.check_promised(known, accepted) + await tasks.check_tasks(open_["generation"], known)
        if "billing" in open_:
            found += await books.check_books(open_["billing"])
            found += await books.check_holds(open_["billing"], known) if known is not None else []
        if "works" in open_:
            found += await works.check_shelves(open_["works"])
            found += await works.check_works(open_["works"], open_.get("generation"), known) if known is not None else []
        if "notify" in open_:
            found += await feeds.check_feeds(open_["notify"])
            found += await feeds.check_ends_told(open_["notify"], known) if known is not None else []
            found += await feeds.check_works_told(open_["notify"], open_["works"]) if "works" in open_ else []
        if places.objects is not None:
            found += await objects.check_objects(places.objects, open_.get("generation"), open_.get("works"))
        return found


async def check_when_settled(places: Places, *, accepted: Collection[UUID] = (), seconds_max: float = 60.0) -> list[str]:
    """Ask again until all is well or the time is over, because facts may still be on their way; then what is still wrong."""
    ends_at = time.monotonic() + seconds_max
    while True:
        found = await check(places, accepted=accepted)
        if not found or time.monotonic() > ends_at:
            return found
        await asyncio.sleep(0.5)


async def _open(stack: AsyncExitStack, url: str) -> asyncpg.Connection:
    """A connection that sees one moment of its database."""
    conn = await asyncpg.connect(url)
    stack.push_async_callback(conn.close)
    transaction = conn.transaction(isolation="repeatable_read", readonly=True)
    await transaction.start()
    stack.push_async_callback(transaction.rollback)
    return conn
