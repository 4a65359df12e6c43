"""The composition root of billing: opens its parts and yields the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import aiohttp
from pydantic import Field

from billing import lanes, upkeep
from billing.api import ROUTES
from billing.auditor import Auditor
from billing.clients import Generation, People
from billing.consumers import subscriptions
from billing.deps import Deps
from billing.domain import Method, SignUp
from billing.numbers import Numbers
from billing.providers import PaymentProvider, Payments, SandboxProvider
from billing.settings import BillingSettings
from billing.totals import Totals
from common.auth import open_authenticator
from common.bus import Bus
from common.bus.consumer import UNHURRIED
from common.client import ServiceClient
from common.config import Config, Key
from common.db import Database
from common.log import get_logger
from common.metrics import Metrics
from common.service import Service, every, opened_database
from common.vault import Vault, open_vault

MIGRATIONS = Path(__file__).parent / "migrations"

_CONFIG_SECONDS = 2
_DAY_SECONDS = 600

log = get_logger()


def config_keys(settings: BillingSettings) -> list[Key]:
    """What operators may set while we run."""
    return [
        Key("default_credits", settings.signup_credits, "credits a new user starts with", Annotated[int, Field(ge=0, le=1_000_000)]),
    ]  # fmt: skip


def open_sandbox(settings: BillingSettings, db: Database, http: aiohttp.ClientSession, vault: Vault) -> SandboxProvider | None:
    """Payments without money, where they are allowed."""
    if not settings.has_sandbox:
        log.warning("payments.none", reason="the sandbox is refused outside loopback unless BILLING_SANDBOX_PAYMENTS=on, and no other provider is set up")
        return None
    return SandboxProvider(db, http, vault, secret=settings.sandbox_key, public_url=settings.shared.public_url, notify_url=settings.notify_url)


def open_payments(sandbox: SandboxProvider | None) -> Payments:
    """Who takes money by which way; every way is the sandbox's while its provider has no settings."""
    methods: tuple[Method, ...] = ("wechat", "alipay", "stripe", "sandbox")
    providers: dict[Method, PaymentProvider] = dict.fromkeys(methods, sandbox) if sandbox is not None else {}
    return Payments(providers)


@asynccontextmanager
async def open_service(settings: BillingSettings, bus: Bus) -> AsyncIterator[Service]:
    """Everything billing runs on, closed at the end."""
    async with (
        opened_database(settings, "billing", bus, migrations=MIGRATIONS) as (db, relay),
        ServiceClient("generation", settings, "billing") as client,
        ServiceClient("identity", settings, "billing") as identity,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as http,
        open_authenticator(settings, "billing") as authenticator,
    ):
        metrics = Metrics("billing")
        numbers, terms = Numbers.of(metrics), settings.hold_terms()
        config = Config(db, config_keys(settings))
        await config.read()

        def signup() -> SignUp:
            return settings.sign_up(config["default_credits"])

        vault = open_vault("billing", settings)
        await upkeep.seal_old_rows(db, vault)
        sandbox = open_sandbox(settings, db, http, vault)
        holds, balances = lanes.holds_lane(db, terms, signup), lanes.balance_lane(db, signup)
        auditor = Auditor(db, numbers, sweep_seconds=settings.sweep_seconds, full_hour_utc=settings.audit_full_hour_utc)
        deps = Deps(
            db=db, holds=holds, balances=balances, generation=Generation(client, call_seconds=settings.generation_call_seconds),
            prices=settings.prices(), signup=signup, hold_terms=terms, numbers=numbers, auditor=auditor,
            people=People(identity, call_seconds=settings.identity_call_seconds), payments=open_payments(sandbox), order_terms=settings.order_terms(),
            sandbox=sandbox, vault=vault, config=config, totals=Totals(db, kept_seconds=settings.overview_kept_seconds),
            revocations=authenticator.revocations,
        )  # fmt: skip
        yield Service(
            name="billing", settings=settings, deps=deps, bus=bus, metrics=metrics, authenticator=authenticator, db=db, relay=relay,
            routes=ROUTES, subscriptions=subscriptions, consumer_limits=UNHURRIED, lanes=[holds, balances],
            loops=[
                every(settings.sweep_seconds, partial(upkeep.look_at_open_holds, deps, batch_max=settings.sweep_batch_max)),
                every(settings.sweep_seconds, partial(upkeep.expire_lots, deps)),
                every(settings.sweep_seconds, partial(upkeep.count_open_holds, deps)),
                every(settings.sweep_seconds, partial(upkeep.look_at_notices, deps)),
                every(settings.sweep_seconds, partial(upkeep.look_at_orders, deps, batch_max=settings.sweep_batch_max)),
                every(settings.sweep_seconds, partial(upkeep.look_at_refunds, deps)),
                every(settings.sweep_seconds, partial(upkeep.count_payment_alerts, deps)),
                every(_DAY_SECONDS, deps.totals.close_days),
                every(_DAY_SECONDS, partial(upkeep.seal_old_rows, db, vault)),
                every(_CONFIG_SECONDS, config.read),
                every(settings.audit_seconds, auditor.check),
            ],
        )  # fmt: skip
