"""The composition root of works: opens its parts and yields the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.auth import open_authenticator
from common.bus import Bus
from common.bus.consumer import UNHURRIED
from common.metrics import Metrics
from common.objects import ObjectStore, UrlSigner, open_objects
from common.service import Service, opened_database
from works.api import ROUTES
from works.consumers import subscriptions
from works.deps import Deps
from works.lanes import open_files_lane, open_works_lane
from works.pictures.intake import Intake
from works.pictures.pool import PictureLimits, PicturePool
from works.settings import WorksSettings

MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def open_service(settings: WorksSettings, bus: Bus) -> AsyncIterator[Service]:
    """Everything works runs on, closed at the end."""
    async with (
        opened_database(settings, "works", bus, migrations=MIGRATIONS) as (db, relay),
        open_authenticator(settings, "works") as authenticator,
        _opened_objects(settings) as objects,
        opened_intake(settings, objects) as intake,
    ):
        signer = UrlSigner.of_settings(settings.shared)
        save_file, create_work = open_files_lane(db), open_works_lane(db)
        deps = Deps(db=db, clock=db.clock, objects=objects, signer=signer, intake=intake, save_file=save_file, create_work=create_work)
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
            lanes=[save_file, create_work],
        )


@asynccontextmanager
async def opened_intake(settings: WorksSettings, objects: ObjectStore) -> AsyncIterator[Intake]:
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
    intake = Intake(settings.spool_folder, pool=pool, objects=objects, bytes_max=settings.upload_bytes_max)
    intake.open()
    try:
        yield intake
    finally:
        await pool.close()


@asynccontextmanager
async def _opened_objects(settings: WorksSettings) -> AsyncIterator[ObjectStore]:
    objects = open_objects(settings.shared)
    try:
        yield objects
    finally:
        await objects.close()
