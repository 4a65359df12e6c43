"""Reads that are more than one statement."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from billing.domain import Purse, Record
from billing.store import orders, records
from billing.store.records import RecordFilter
from common.db import Database


async def list_records(db: Database, purse: Purse, wanted: RecordFilter | None = None, *, offset: int, limit: int) -> tuple[Sequence[Record], int]:
    """A page of an account's history, newest first, and how many there are of what is wanted."""
    async with db.read() as conn:
        if wanted is not None and any(wanted):
            return await records.list_matching(conn, purse.account_id, wanted, offset=offset, limit=limit)
        return await records.list_latest(conn, purse.account_id, purse.records, offset=offset, limit=limit), purse.records


async def list_order_nos(db: Database, found: Sequence[Record]) -> Mapping[UUID, str]:
    """The numbers of the orders these records are about; only records that may be about one are looked at."""
    order_ids = [record.ref_id for record in found if record.kind in ("recharge", "adjust") and record.ref_id is not None]
    if not order_ids:
        return {}
    async with db.read() as conn:
        return await orders.list_order_nos(conn, order_ids)
