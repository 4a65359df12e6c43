"""Guesses of passwords: counted before they are looked at, so that many at once are counted too."""

from collections.abc import Sequence
from math import ceil

from common.db import Tx
from common.errors import RateLimited, ServiceError
from identity import store
from identity.domain import Guess, guess_wait


async def take_guesses(tx: Tx, asks: Sequence[Guess]) -> list[bool | ServiceError]:
    """Count each guess, or refuse it with how long to wait; a refused one does not count, so nobody can make another wait longer by asking.

    Answers whether the guess comes from where the account logged in lately: such a place has a count of its own, out of strangers' reach.
    """
    outcomes: list[bool | ServiceError] = []
    for ask in asks:
        known = ask.place is not None and await store.is_known_place(tx.conn, ask.place, tx.now)
        limits = ask.limits(known_place=known)
        counted = await store.lock_guesses(tx.conn, list(limits), tx.now)
        wait = max(guess_wait(*counted[key], tx.now, free=free) for key, free in limits.items())
        if wait:
            outcomes.append(RateLimited("too many wrong passwords", retry_after_seconds=ceil(wait.total_seconds())))
            continue
        await store.count_guesses(tx.conn, list(limits), tx.now)
        outcomes.append(known)
    return outcomes


async def forgive_guesses(tx: Tx, asks: Sequence[Guess]) -> list[ServiceError | None]:
    """They were right: forgotten, and the place is known from now on."""
    for ask in asks:
        await store.forgive_guesses(tx.conn, forget=[ask.account, *([ask.place] if ask.place else [])], give_back=[ask.address] if ask.address else [])
        if ask.place:
            await store.remember_place(tx.conn, ask.place, tx.now)
    return [None] * len(asks)
