"""What works has open while it runs; handed to the edge."""

from dataclasses import dataclass

from common.clock import Clock
from common.config import Config
from common.db import Database
from common.lane import Lane
from common.objects import ObjectStore, UrlSigner
from common.revocations import Revocations
from works.domain import Kept, NewWork, SavedFile, StorageTerms, StoredFile
from works.pictures.intake import Intake
from works.pictures.thumbnails import Thumbnails

ExpectLane = Lane[StoredFile, None]
FilesLane = Lane[StoredFile, SavedFile]
WorksLane = Lane[NewWork, Kept]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """Everything open, nothing global."""

    db: Database
    clock: Clock
    objects: ObjectStore
    signer: UrlSigner
    intake: Intake
    thumbnails: Thumbnails
    config: Config
    storage: StorageTerms
    incoming_seconds: int
    expect_file: ExpectLane
    save_file: FilesLane
    create_work: WorksLane
    revocations: Revocations | None = None
