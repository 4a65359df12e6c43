"""Reads that are more than one statement."""

from common.db import Database
from common.revocations import PAGE_MAX, RevocationPage
from identity import store


async def read_revocations(db: Database, after: int) -> RevocationPage:
    """A page of the list of ended sessions."""
    async with db.read() as conn:
        return await store.list_revocations(conn, after=after, limit=PAGE_MAX)
