"""Reads that are more than one statement."""

from collections.abc import Sequence

from billing.domain import Purse, Record
from billing.store import records
from billing.store.records import RecordFilter
from common.db import Database


async def list_records(db: Database, purse: Purse, wanted: RecordFilter | None = None, *, offset: int, limit: int) -> tuple[Sequence[Record], int]:
    """A page of an account's history, newest first, and how many there are of what is wanted."""
    async with db.read() as conn:
        if wanted is not None and any(wanted):
            return await records.list_matching(conn, purse.account_id, wanted, offset=offset, limit=limit)
        return await records.list_latest(conn, purse.account_id, purse.records, offset=offset, limit=limit), purse.records
