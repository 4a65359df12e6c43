"""The composition root of notify: opens its parts and yields the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import structlog

from common.auth import open_authenticator
from common.bus import Bus
from common.client import ServiceClient
from common.clock import Clock
from common.metrics import Metrics
from common.objects import UrlSigner
from common.service import Loop, Service, every, opened_database
from common.settings import SettingsError
from notify import postman, store, upkeep
from notify.api import routes
from notify.clients import Identity
from notify.consumers import subscriptions
from notify.deps import Deps
from notify.mailbox import mailbox_loop
from notify.mailers import FolderMailer, Mailer, open_mailer
from notify.settings import NotifySettings
from notify.sockets import Hub

log = structlog.get_logger()

MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def open_service(settings: NotifySettings, bus: Bus) -> AsyncIterator[Service]:
    """Everything notify runs on, closed at the end."""
    async with (
        opened_database(settings, "notify", bus, migrations=MIGRATIONS) as (db, relay),
        open_authenticator(settings, "notify") as authenticator,
        ServiceClient("identity", settings, "notify") as identity,
    ):
        mailer = _open_mailer(settings, db.clock)
        signer = UrlSigner(settings.shared.files_secret.get_secret_value().encode(), settings.shared.public_url)
        hub = Hub(
            list_notices=partial(store.list_notices, db),
            sign=lambda key: signer.sign(key, now=db.clock.now()),
            frames_waiting_max=settings.frames_waiting_max,
            send_seconds=settings.send_seconds,
            progress_every_seconds=settings.progress_every_seconds,
            sockets_per_user_max=settings.sockets_per_user_max,
        )
        deps = Deps(settings, db, hub, signer, authenticator, Identity(identity), mailer, revocations=authenticator.revocations)
        if (revocations := authenticator.revocations) is not None:
            revocations.listen(partial(hub.end_revoked, revocations))
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
                upkeep.whenever(deps.announced, settings.heads_every_seconds, partial(upkeep.spread_announcements, deps)),
                upkeep.whenever(deps.mail_asked, settings.mails_every_seconds, partial(postman.send_due, deps)),
                *_mailbox(settings, mailer),
            ],
            on_drain=[hub.close_all],
        )


def _open_mailer(settings: NotifySettings, clock: Clock) -> Mailer | None:
    try:
        mailer = open_mailer(settings.mail_url.get_secret_value(), sender=settings.mail_sender, clock=clock)
    except ValueError as error:
        raise SettingsError([str(error)]) from error
    if mailer is None:
        log.warning("mail.unconfigured", consequence="mails wait until NOTIFY_MAIL_URL is set")
    return mailer


def _mailbox(settings: NotifySettings, mailer: Mailer | None) -> list[Loop]:
    """The page shows links that open accounts, so it is never served to another machine."""
    if not isinstance(mailer, FolderMailer) or settings.mailbox_port == 0:
        return []
    return [mailbox_loop(mailer.folder, "127.0.0.1", settings.mailbox_port)]
