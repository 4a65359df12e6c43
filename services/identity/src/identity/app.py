"""The composition root of identity: opens its parts and yields the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.auth import Authenticator, FixedKeys
from common.bus import Bus
from common.client import ServiceClient
from common.metrics import Metrics
from common.objects import UrlSigner
from common.service import Service, every, opened_database
from identity import lanes
from identity.api import ROUTES
from identity.deps import Deps
from identity.keys import SigningKeys
from identity.passwords import Passwords
from identity.purses import Purses
from identity.settings import IdentitySettings
from identity.vault import Vault

MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def open_service(settings: IdentitySettings, bus: Bus) -> AsyncIterator[Service]:
    """Everything identity runs on, closed at the end."""
    vault = open_vault(settings)
    async with (
        opened_database(settings, "identity", bus, migrations=MIGRATIONS) as (db, relay),
        ServiceClient("billing", settings, "identity") as billing,
        Passwords(threads=settings.password_threads, waiting_max=settings.password_waiting_max) as passwords,
    ):
        keys = SigningKeys(db, vault)
        await keys.read()
        signups, people = lanes.signup_lane(db), lanes.people_lane(db)
        purse_lane = lanes.purse_lane(billing, deadline_seconds=settings.balances_seconds)
        deps = Deps(
            db=db,
            vault=vault,
            keys=keys,
            passwords=passwords,
            signups=signups,
            people=people,
            purses=Purses(purse_lane, wait_seconds=settings.balances_seconds, kept_max=settings.balances_kept_max),
            links=UrlSigner(settings.shared.files_secret.get_secret_value().encode(), settings.shared.public_url),
        )
        yield Service(
            name="identity",
            settings=settings,
            deps=deps,
            bus=bus,
            metrics=Metrics("identity"),
            authenticator=Authenticator(keys, FixedKeys.of_file(settings.shared.service_jwks_path), name="identity"),
            db=db,
            relay=relay,
            routes=ROUTES,
            lanes=[signups, people, purse_lane],
            loops=[every(settings.keys_read_every_seconds, keys.read)],
        )


def open_vault(settings: IdentitySettings) -> Vault:
    """The vault of these settings."""
    return Vault(
        key_id=settings.envelope_key_id,
        secret=settings.envelope_secret.get_secret_value(),
        lookup_secret=settings.lookup_secret.get_secret_value(),
        old_secrets={name: old.get_secret_value() for name, old in settings.old_envelope_secrets.items()},
    )
