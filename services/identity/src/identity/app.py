"""The composition root of identity: opens its parts and yields the service."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import aiohttp
from pydantic import StringConstraints

from common.auth import Authenticator, FixedKeys
from common.bus import Bus
from common.client import ServiceClient
from common.config import Config, Key
from common.metrics import Metrics
from common.objects import UrlSigner
from common.revocations import following
from common.service import Service, every, opened_database
from common.settings import SettingsError
from common.vault import open_vault
from identity import lanes, queries, upkeep
from identity.api import ROUTES
from identity.deps import Deps
from identity.keys import SigningKeys
from identity.passwords import Passwords
from identity.purses import Purses
from identity.settings import IdentitySettings
from identity.wechat import CodeExchange, NoWeixin, SandboxCodes, Weixin

CONFIG_KEYS = [Key("site_name", "Darkroom", "The name people see", Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)])]
MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def open_service(settings: IdentitySettings, bus: Bus) -> AsyncIterator[Service]:
    """Everything identity runs on, closed at the end."""
    vault = open_vault("identity", settings)
    async with (
        opened_database(settings, "identity", bus, migrations=MIGRATIONS) as (db, relay),
        ServiceClient("billing", settings, "identity") as billing,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as outside,
        Passwords(threads=settings.password_threads, waiting_max=settings.password_waiting_max) as passwords,
        ServiceClient("works", settings, "identity") as works,
        following(partial(queries.read_revocations, db)) as revocations,
    ):
        keys = SigningKeys(db, vault)
        await keys.read()
        config = Config(db, CONFIG_KEYS)
        await config.read()
        wechat_logins, seen = lanes.wechat_lane(db), lanes.seen_lane(db)
        signups, people = lanes.signup_lane(db), lanes.people_lane(db)
        sessions, refreshes = lanes.sessions_lane(db), lanes.refreshes_lane(db)
        reset_asked = asyncio.Event()
        authenticator = Authenticator(keys, FixedKeys.of_file(settings.shared.service_jwks_path), name="identity", revocations=revocations)
        purse_lane = lanes.purse_lane(billing, deadline_seconds=settings.balances_seconds)
        deps = Deps(
            db=db,
            vault=vault,
            keys=keys,
            passwords=passwords,
            signups=signups,
            people=people,
            wechat_logins=wechat_logins,
            seen=seen,
            purses=Purses(purse_lane, wait_seconds=settings.balances_seconds, kept_max=settings.balances_kept_max),
            links=UrlSigner(settings.shared.files_secret.get_secret_value().encode(), settings.shared.public_url),
            codes=open_codes(settings, outside),
            billing=billing,
            config=config,
            public_url=settings.shared.public_url.rstrip("/"),
            revocations=revocations,
            authenticator=authenticator,
            picture_seconds=settings.picture_seconds,
            sessions=sessions,
            refreshes=refreshes,
            works=works,
            reset_asked=reset_asked,
            requires_verification=settings.email_verification == "required",
            limits_guesses=settings.shared.profile != "roomy",
        )
        yield Service(
            name="identity",
            settings=settings,
            deps=deps,
            bus=bus,
            metrics=Metrics("identity"),
            authenticator=authenticator,
            db=db,
            relay=relay,
            routes=ROUTES,
            lanes=[signups, wechat_logins, seen, people, purse_lane, sessions, refreshes],
            loops=[
                every(settings.keys_read_every_seconds, keys.read),
                every(2, config.read),
                every(5, partial(upkeep.see_adjustments_through, deps)),
                every(600, partial(upkeep.forget_what_is_over, db)),
                upkeep.answer_resets(db, reset_asked),
            ],
        )


def open_codes(settings: IdentitySettings, session: aiohttp.ClientSession) -> CodeExchange:
    """Who is asked whose a mini-program's code is. Raises SettingsError for what is missing."""
    if settings.wechat == "sandbox":
        return SandboxCodes()
    if settings.wechat == "":
        return NoWeixin()
    secret = settings.wechat_app_secret.get_secret_value()
    if not settings.wechat_app_id or not secret:
        raise SettingsError(["IDENTITY_WECHAT_APP_ID and IDENTITY_WECHAT_APP_SECRET are needed for IDENTITY_WECHAT=weixin"])
    return Weixin(session, url=settings.wechat_url, app_id=settings.wechat_app_id, app_secret=secret, wait_seconds=settings.wechat_wait_seconds)
