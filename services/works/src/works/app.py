"""The composition root of works: opens its parts and yields the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from common.auth import open_authenticator
from common.bus import Bus
from common.bus.consumer import UNHURRIED
from common.client import ServiceClient
from common.config import Config, Key
from common.db import Database
from common.metrics import Metrics
from common.objects import ObjectStore, UrlSigner, opened_objects
from common.service import Service, every, opened_database
from works import upkeep
from works.api import ROUTES
from works.caches import Remembered
from works.clients import People
from works.consumers import subscriptions
from works.deps import Deps
from works.lanes import open_expect_lane, open_files_lane, open_reactions_lane, open_works_lane
from works.pictures.intake import Intake
from works.pictures.pool import PictureLimits, PicturePool
from works.pictures.thumbnails import Thumbnails
from works.settings import WorksSettings

MIGRATIONS = Path(__file__).parent / "migrations"

MAX_UPLOAD_SIZE = "max_upload_size"
CONFIG_KEYS = (Key(MAX_UPLOAD_SIZE, 10, "how large an uploaded file may be, in MB", Annotated[int, Field(ge=1, le=50)]),)
"""What operators may set while we run."""

_CONFIG_SECONDS = 2


@asynccontextmanager
async def open_service(settings: WorksSettings, bus: Bus) -> AsyncIterator[Service]:
    """Everything works runs on, closed at the end."""
    async with (
        opened_database(settings, "works", bus, migrations=MIGRATIONS) as (db, relay),
        open_authenticator(settings, "works") as authenticator,
        ServiceClient("identity", settings, "works") as identity,
        opened_objects(settings.shared) as objects,
        _opened_config(db) as config,
        opened_intake(settings, objects, config) as intake,
    ):
        signer = UrlSigner.of_settings(settings.shared)
        expect_file, save_file, create_work = open_expect_lane(db, settings.storage), open_files_lane(db, settings.storage), open_works_lane(db)
        react = open_reactions_lane(db)
        deps = Deps(
            db=db, clock=db.clock, objects=objects, signer=signer, intake=intake, config=config, storage=settings.storage,
            thumbnails=Thumbnails(intake, objects, side_px=settings.thumbnail_side_px), incoming_seconds=settings.incoming_seconds,
            expect_file=expect_file, save_file=save_file, create_work=create_work, react=react, people=People(identity),
            public_works=Remembered(seconds=settings.public_works_kept_seconds, values_max=settings.public_works_kept_max),
            kept_numbers=Remembered(seconds=settings.numbers_kept_seconds, values_max=1),
            revocations=authenticator.revocations,
        )  # fmt: skip
        yield Service(
            name="works",
            settings=settings,
            deps=deps,
            bus=bus,
            metrics=Metrics("works"),
            authenticator=authenticator,
            db=db,
            relay=relay,
            routes=ROUTES,
            subscriptions=subscriptions,
            consumer_limits=UNHURRIED,
            lanes=[expect_file, save_file, create_work, react],
            loops=[
                every(_CONFIG_SECONDS, config.read),
                every(settings.loose_sweep_seconds, partial(upkeep.remove_loose_objects, deps)),
                every(settings.plays_sweep_seconds, partial(upkeep.forget_plays, deps)),
                every(settings.tags_sweep_seconds, partial(upkeep.retag_works, deps)),
            ],
        )


@asynccontextmanager
async def opened_intake(settings: WorksSettings, objects: ObjectStore, config: Config) -> AsyncIterator[Intake]:
    """The spool and the processes that decode; the first of them starts with the first picture."""
    limits = PictureLimits(
        pixels_max=settings.picture_pixels_max,
        side_max=settings.picture_side_max,
        memory_bytes_max=settings.picture_memory_bytes_max,
        cpu_seconds_max=settings.picture_cpu_seconds_max,
        wait_seconds=settings.picture_wait_seconds,
        idle_seconds=settings.picture_idle_seconds,
    )
    pool = PicturePool(limits, processes=settings.picture_processes, waiting_max=settings.pictures_waiting_max)
    intake = Intake(settings.spool_folder, pool=pool, objects=objects, bytes_max=lambda: min(config[MAX_UPLOAD_SIZE] * 1024**2, settings.upload_bytes_max))
    intake.open()
    try:
        yield intake
    finally:
        await pool.close()


@asynccontextmanager
async def _opened_config(db: Database) -> AsyncIterator[Config]:
    """What operators may set, as the table says it now."""
    config = Config(db, CONFIG_KEYS)
    await config.read()
    yield config
