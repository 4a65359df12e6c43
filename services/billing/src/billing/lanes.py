"""Waiting callers become batches, and users nobody has seen before get their accounts first."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import islice
from typing import TypeVar
from uuid import UUID

from billing import commands
from billing.domain import Balance, Held, HoldTerms, PlaceHold, SignUp
from billing.store import accounts
from common.db import Database, Tx
from common.errors import ServiceError
from common.lane import Lane

T = TypeVar("T")

HoldsLane = Lane[Sequence[PlaceHold], list[Held | ServiceError]]
BalanceLane = Lane[UUID, Balance]
SignUpTerms = Callable[[], SignUp]
"""What a new user starts with, as it is now."""

# An ask is a whole request, itself a batch: so many of them in one transaction.
_REQUESTS_MAX = 8


async def change_opened(db: Database, terms: SignUpTerms, change: Callable[[Tx], Awaitable[T]]) -> T:
    """Run a change in a transaction; when it names users nobody has seen, open their accounts and run it again."""
    try:
        async with db.transaction() as tx:
            return await change(tx)
    except commands.NotOpened as missing:
        await _open(db, terms, missing.user_ids)
    async with db.transaction() as tx:
        return await change(tx)


async def read_balances(db: Database, terms: SignUpTerms, user_ids: Collection[UUID]) -> dict[UUID, Balance]:
    """What these users have; the first question about a user opens the accounts."""
    async with db.read() as conn:
        found = await accounts.list_balances(conn, list(user_ids))
    missing = [user_id for user_id in user_ids if user_id not in found]
    if missing:
        await _open(db, terms, missing)
        async with db.read() as conn:
            found |= await accounts.list_balances(conn, missing)
    return found


def holds_lane(db: Database, terms: HoldTerms, signup: SignUpTerms) -> HoldsLane:
    """One transaction for several requests to place holds."""

    async def run(requests: Sequence[Sequence[PlaceHold]]) -> list[list[Held | ServiceError] | ServiceError]:
        asks = [ask for request in requests for ask in request]
        outcomes = iter(await change_opened(db, signup, lambda tx: commands.place_holds(tx, asks, terms)))
        return [list(islice(outcomes, len(request))) for request in requests]

    return Lane(run, name="holds", batch_max=_REQUESTS_MAX)


def balance_lane(db: Database, signup: SignUpTerms) -> BalanceLane:
    """One statement for several users who look at what they have."""

    async def run(user_ids: Sequence[UUID]) -> list[Balance | ServiceError]:
        found = await read_balances(db, signup, set(user_ids))
        return [found[user_id] for user_id in user_ids]

    return Lane(run, name="balances")


async def _open(db: Database, terms: SignUpTerms, user_ids: Collection[UUID]) -> None:
    async with db.transaction() as tx:
        await commands.open_accounts(tx, user_ids, terms())
