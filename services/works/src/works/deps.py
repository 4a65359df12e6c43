"""What works has open while it runs; handed to the edge."""

from dataclasses import dataclass

from common.clock import Clock
from common.config import Config
from common.db import Database
from common.lane import Lane
from common.objects import ObjectStore, UrlSigner
from common.revocations import Revocations
from works.caches import KeptNumbers, PublicWorks
from works.clients import People
from works.domain import Counted, Kept, NewWork, Reaction, SavedFile, StorageTerms, StoredFile
from works.pictures.intake import Intake
from works.pictures.thumbnails import Thumbnails

ExpectLane = Lane[StoredFile, None]
FilesLane = Lane[StoredFile, SavedFile]
WorksLane = Lane[NewWork, Kept]
ReactionsLane = Lane[Reaction, Counted]


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
    react: ReactionsLane
    public_works: PublicWorks
    kept_numbers: KeptNumbers
    people: People | None = None
    revocations: Revocations | None = None
