"""The composition root of generation: opens its parts and yields the service."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import aiohttp

from common.auth import open_authenticator
from common.bus import Bus
from common.client import ServiceClient
from common.config import Config
from common.db import Database
from common.events import ConfigChanged
from common.metrics import Metrics
from common.objects import ObjectStore, UrlSigner, opened_objects
from common.service import Loop, Service, every, opened_database
from generation import lanes, queries
from generation.api import ROUTES
from generation.clients import Billing, Identity, Pictures, Works
from generation.config import CONFIG_KEYS, model_of
from generation.consumers import subscriptions
from generation.deps import Deps
from generation.fetching import Fetcher
from generation.photos import PhotoKeeper
from generation.progress import Progress
from generation.providers.instant import InstantProvider
from generation.providers.local import LocalProvider
from generation.providers.local.pool import Pool
from generation.providers.n8n import N8nProvider
from generation.queries import KeptQueue, KeptScenes
from generation.results import Checker
from generation.settings import GenerationSettings
from generation.upkeep import Upkeep
from generation.worker import BatchWorker, Crew, SingleWorker, Studio

MIGRATIONS = Path(__file__).parent / "migrations"
REPEATABLE = frozenset({LocalProvider.name, InstantProvider.name})


@asynccontextmanager
async def open_service(settings: GenerationSettings, bus: Bus) -> AsyncIterator[Service]:
    """Everything generation runs on, closed at the end: it answers and, unless told otherwise, works."""
    async with _opened(settings, bus) as service:
        yield service


@asynccontextmanager
async def open_worker(settings: GenerationSettings, bus: Bus) -> AsyncIterator[Service]:
    """Only the workers: no route is answered."""
    async with _opened(settings.model_copy(update={"worker": True}), bus) as service:
        service.routes = ()
        yield service


@asynccontextmanager
async def _opened(settings: GenerationSettings, bus: Bus) -> AsyncIterator[Service]:
    async with (
        opened_database(settings, "generation", bus, migrations=MIGRATIONS) as (db, relay),
        open_authenticator(settings, "generation") as authenticator,
        ServiceClient("billing", settings, "generation") as billing,
        ServiceClient("works", settings, "generation") as works,
        ServiceClient("works", settings, "generation") as pictures,
        ServiceClient("identity", settings, "generation") as identity,
        opened_objects(settings.shared) as objects,
        _opened_pool(settings) as pool,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        Fetcher() as fetch,
    ):
        progress = Progress(bus, every_seconds=settings.progress_seconds)
        finish, arrive = lanes.finish_lane(db), lanes.arrival_lane(db)
        config = Config(db, CONFIG_KEYS, announce=lambda tx, key, version: tx.emit(ConfigChanged(sequence=version, config_key=key)))
        await config.read()
        crew = _crew(settings, db, objects, pool, session, fetch, config, progress, finish, arrive) if settings.worker else Crew(progress)
        creator = lanes.Creator(db, Billing(billing, call_seconds=settings.holds_call_seconds), crew, settings)
        create, view = lanes.create_lane(creator, flushers=settings.create_flushers), lanes.view_lane(db)
        find_work = lanes.work_lane(Works(works, call_seconds=settings.works_call_seconds))
        people = Identity(identity)
        find_person = lanes.person_lane(people)
        deps = Deps(
            settings=settings, db=db, signer=UrlSigner.of_settings(settings.shared), scenes=KeptScenes(db, seconds=settings.scenes_kept_seconds),
            photos=PhotoKeeper(objects, Pictures(pictures), photo_bytes_max=settings.photo_bytes_max),
            queue=KeptQueue(db, seconds=settings.queue_stats_kept_seconds), workers=crew, create=create, view=view,
            find_work=find_work, people=people, find_person=find_person, config=config, revocations=authenticator.revocations,
        )  # fmt: skip
        upkeep = Upkeep(db, crew, settings)
        warming = [_warm(pool)] if settings.worker and settings.provider != "instant" else []
        yield Service(
            name="generation", settings=settings, deps=deps, bus=bus, metrics=Metrics("generation"), authenticator=authenticator, db=db, relay=relay,
            routes=ROUTES, subscriptions=subscriptions, lanes=[create, view, find_work, find_person, finish, arrive],
            loops=[*crew.loops, every(settings.upkeep_seconds, upkeep.sweep), every(2, config.read), *warming],
        )  # fmt: skip


def _crew(
    settings: GenerationSettings,
    db: Database,
    objects: ObjectStore,
    pool: Pool,
    session: aiohttp.ClientSession,
    fetch: Fetcher,
    config: Config,
    progress: Progress,
    finish: lanes.FinishLane,
    arrive: lanes.ArrivalLane,
) -> Crew:
    if settings.provider == "instant":
        instant = InstantProvider(allowed=True)
        studio = Studio(
            settings=settings, db=db, objects=objects, provider=instant, vision=None, checker=Checker(pool, known=instant.known_results()), progress=progress,
            finish=finish, arrive=arrive, repeatable=REPEATABLE,
        )  # fmt: skip
        return Crew(progress, batch=BatchWorker(studio, batch_max=settings.instant_batch_max))
    local = LocalProvider(pool)
    studio = Studio(
        settings=settings, db=db, objects=objects, provider=local, vision=local, checker=Checker(pool), progress=progress, finish=finish, arrive=arrive,
        repeatable=REPEATABLE,
    )  # fmt: skip
    pictures, slots = studio, settings.picture_slots or _cores()
    if settings.provider == "n8n":
        n8n = _n8n(settings, db, pool, session, fetch, config)
        pictures, slots = replace(studio, provider=n8n, running_max=lambda: int(config["queue_concurrency"])), settings.n8n_slots
    return Crew(
        progress, pictures=SingleWorker(pictures, songs=False, slots=slots),
        songs=SingleWorker(studio, songs=True, slots=settings.song_slots or _cores()),
    )  # fmt: skip


def _n8n(settings: GenerationSettings, db: Database, pool: Pool, session: aiohttp.ClientSession, fetch: Fetcher, config: Config) -> N8nProvider:
    return N8nProvider(
        session, partial(queries.read_callback, db), pool, UrlSigner.of_settings(settings.shared), fetch=fetch, url=settings.n8n_url,
        secret=settings.n8n_secret.get_secret_value(), callback_base=settings.callback_url or settings.shared.public_url,
        wait_seconds=settings.n8n_wait_seconds, now=db.clock.now, model=partial(model_of, config),
    )  # fmt: skip


@asynccontextmanager
async def _opened_pool(settings: GenerationSettings) -> AsyncIterator[Pool]:
    """Processes for what is heavy or dangerous; none is started before it is needed."""
    pool = Pool(workers=max(settings.picture_slots, settings.song_slots) or _cores())
    try:
        yield pool
    finally:
        await pool.close()


def _cores() -> int:
    return os.cpu_count() or 1


def _warm(pool: Pool) -> Loop:
    async def warm(_draining: asyncio.Event) -> None:
        await pool.warm()

    return warm
