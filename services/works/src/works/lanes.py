"""Callers who wait for an upload or a work to be kept, gathered into batches."""

from collections.abc import Sequence

from common.db import Database
from common.errors import ServiceError
from common.lane import Lane
from works import commands
from works.deps import FilesLane, WorksLane
from works.domain import Kept, NewWork, SavedFile, StoredFile


def open_files_lane(db: Database) -> FilesLane:
    """Keep uploads whose bytes are stored already."""

    async def run(asks: Sequence[StoredFile]) -> list[SavedFile | ServiceError]:
        async with db.transaction() as tx:
            return await commands.save_files(tx, asks)

    return Lane(run, name="files")


def open_works_lane(db: Database) -> WorksLane:
    """Make works of photos."""

    async def run(asks: Sequence[NewWork]) -> list[Kept | ServiceError]:
        async with db.transaction() as tx:
            return await commands.create_works(tx, asks)

    return Lane(run, name="works")
