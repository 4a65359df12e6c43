"""The composition root of notify: opens its parts and yields the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from common.auth import open_authenticator
from common.bus import Bus
from common.metrics import Metrics
from common.objects import UrlSigner
from common.service import Service, every, opened_database
from notify import store, upkeep
from notify.api import routes
from notify.consumers import subscriptions
from notify.deps import Deps
from notify.settings import NotifySettings
from notify.sockets import Hub

MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def open_service(settings: NotifySettings, bus: Bus) -> AsyncIterator[Service]:
    """Everything notify runs on, closed at the end."""
    async with opened_database(settings, "notify", bus, migrations=MIGRATIONS) as (db, relay), open_authenticator(settings, "notify") as authenticator:
        signer = UrlSigner(settings.shared.files_secret.get_secret_value().encode(), settings.shared.public_url)
        hub = Hub(
            list_notices=partial(store.list_notices, db),
            sign=lambda key: signer.sign(key, now=db.clock.now()),
            frames_waiting_max=settings.frames_waiting_max,
            send_seconds=settings.send_seconds,
            progress_every_seconds=settings.progress_every_seconds,
            sockets_per_user_max=settings.sockets_per_user_max,
        )
        deps = Deps(settings, db, hub, signer, authenticator)
        yield Service(
            name="notify",
            settings=settings,
            deps=deps,
            bus=bus,
            metrics=Metrics("notify"),
            authenticator=authenticator,
            db=db,
            relay=relay,
            routes=routes,
            subscriptions=subscriptions,
            loops=[
                every(5, partial(upkeep.watch_sockets, deps)),
                every(settings.heads_every_seconds, partial(upkeep.compare_heads, deps)),
                every(600, partial(upkeep.forget_old_notices, deps)),
                upkeep.listen_for_hints(deps),
            ],
            on_drain=[hub.close_all],
        )
