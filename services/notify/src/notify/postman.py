"""Sends what is due: asks identity where a message goes, writes it, hands it to the mailer, and tries again later when it must."""

import asyncio
from datetime import timedelta

import structlog

from common.errors import ServiceError, Unavailable
from notify import store, templates
from notify.clients import Identity
from notify.deps import Deps
from notify.domain import TRIES_MAX, Delivery, next_try
from notify.mailers import Mailer, MailRefused

log = structlog.get_logger()

LEASE = timedelta(seconds=90)
_AT_ONCE = 5


async def send_due(deps: Deps) -> None:
    """Everything that is due now, a few at a time; a mailer nobody configured leaves it waiting."""
    if deps.mailer is None or deps.identity is None:
        return
    while due := await store.claim_deliveries(deps.db, lease=LEASE, limit=_AT_ONCE):
        await asyncio.gather(*(_send(deps, deps.identity, deps.mailer, one) for one in due))


async def _send(deps: Deps, identity: Identity, mailer: Mailer, one: Delivery) -> None:
    try:
        if one.tries > TRIES_MAX:
            raise MailRefused("every try ended its sender")
        if not templates.is_known(one.template):
            raise MailRefused(f"no template {one.template}")
        address = await identity.address_of(one)
        await mailer.send(one.delivery_id, address.email, templates.render(one.template, address, ref=one.ref, bought=one.bought))
    except (Unavailable, OSError, TimeoutError) as error:
        await _try_later(deps, one, f"{type(error).__name__}: {error}")
    except (ServiceError, MailRefused) as error:
        log.warning("delivery.refused", delivery_id=str(one.delivery_id), template=one.template, error=str(error)[:200])
        await store.end_delivery(deps.db, one, error=str(error)[:300])
    except Exception as error:
        # Whatever it is about this one, the others are sent.
        log.error("delivery.failed", delivery_id=str(one.delivery_id), template=one.template, exc_info=error)
        await _try_later(deps, one, type(error).__name__)
    else:
        await store.end_delivery(deps.db, one, error=None)


async def _try_later(deps: Deps, one: Delivery, error: str) -> None:
    log.warning("delivery.waits", delivery_id=str(one.delivery_id), template=one.template, tries=one.tries, error=error[:200])
    wait = next_try(one.tries)
    if wait is None:
        await store.end_delivery(deps.db, one, error=error[:300])
    else:
        await store.delay_delivery(deps.db, one, by=wait, error=error[:300])
