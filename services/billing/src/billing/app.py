"""The composition root of billing: opens its parts and yields the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from billing import lanes, upkeep
from billing.api import ROUTES
from billing.auditor import Auditor
from billing.clients import Generation
from billing.consumers import subscriptions
from billing.deps import Deps
from billing.numbers import Numbers
from billing.settings import BillingSettings
from common.auth import open_authenticator
from common.bus import Bus
from common.bus.consumer import UNHURRIED
from common.client import ServiceClient
from common.metrics import Metrics
from common.service import Service, every, opened_database

MIGRATIONS = Path(__file__).parent / "migrations"


@asynccontextmanager
async def open_service(settings: BillingSettings, bus: Bus) -> AsyncIterator[Service]:
    """Everything billing runs on, closed at the end."""
    async with (
        opened_database(settings, "billing", bus, migrations=MIGRATIONS) as (db, relay),
        ServiceClient("generation", settings, "billing") as client,
        open_authenticator(settings, "billing") as authenticator,
    ):
        metrics = Metrics("billing")
        numbers, signup, terms = Numbers.of(metrics), settings.sign_up(), settings.hold_terms()
        holds, balances = lanes.holds_lane(db, terms, signup), lanes.balance_lane(db, signup)
        auditor = Auditor(db, numbers, sweep_seconds=settings.sweep_seconds, full_hour_utc=settings.audit_full_hour_utc)
        deps = Deps(
            db=db, holds=holds, balances=balances, generation=Generation(client, call_seconds=settings.generation_call_seconds),
            prices=settings.prices(), signup=signup, hold_terms=terms, numbers=numbers, auditor=auditor,
        )  # fmt: skip
        yield Service(
            name="billing", settings=settings, deps=deps, bus=bus, metrics=metrics, authenticator=authenticator, db=db, relay=relay,
            routes=ROUTES, subscriptions=subscriptions, consumer_limits=UNHURRIED, lanes=[holds, balances],
            loops=[
                every(settings.sweep_seconds, partial(upkeep.look_at_open_holds, deps, batch_max=settings.sweep_batch_max)),
                every(settings.sweep_seconds, partial(upkeep.expire_lots, deps)),
                every(settings.sweep_seconds, partial(upkeep.count_open_holds, deps)),
                every(settings.audit_seconds, auditor.check),
            ],
        )  # fmt: skip
