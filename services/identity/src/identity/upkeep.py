"""What is over is forgotten, in small batches."""

import asyncio

from common.db import Database
from identity import store

_BATCH = 2000


async def forget_what_is_over(db: Database) -> None:
    """Revocations whose tokens have expired by themselves."""
    while True:
        async with db.transaction() as tx:
            deleted = await store.delete_old_revocations(tx.conn, now=tx.now, limit=_BATCH)
        if deleted < _BATCH:
            return
        await asyncio.sleep(0.1)
