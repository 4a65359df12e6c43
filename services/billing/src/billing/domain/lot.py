"""Lots: what is left of each grant, in the order it is used; what a hold took from them, and how it returns."""

from bisect import insort
from collections.abc import Sequence
from typing import NamedTuple

import orjson

GRACE_US = 7 * 24 * 3600 * 1_000_000
"""What returns to a grant that expired meanwhile may be used for seven more days."""

# Lower is used first: what runs out soon or was a present goes before what was paid for.
MEMBERSHIP, GIFT, REFUND, ADJUSTMENT, PAID = 10, 20, 30, 40, 50

_NEVER = 1 << 62


class Lot(NamedTuple):
    """A part of one grant: what is left of it in its account, or what a hold took from it.

    `number` is that of the ledger entry that granted it; `until_us` is its expiry in microseconds since 1970, None for never.
    """

    number: int
    amount: int
    priority: int
    until_us: int | None


def order(lot: Lot) -> tuple[int, int, int]:
    """Lowest priority number, then earliest expiry, then age."""
    return (lot.priority, _NEVER if lot.until_us is None else lot.until_us, lot.number)


def add(lots: list[Lot], lot: Lot) -> None:
    """Put a lot in its place."""
    insort(lots, lot, key=order)


def take(lots: list[Lot], amount: int) -> list[Lot]:
    """Take from the front and answer what came from where; the caller has checked that there is enough."""
    taken = []
    while amount:
        number, there, priority, until_us = lots[0]
        if there > amount:
            lots[0] = Lot(number, there - amount, priority, until_us)
            taken.append(Lot(number, amount, priority, until_us))
            break
        taken.append(lots.pop(0))
        amount -= there
    return taken


def take_from(lots: list[Lot], number: int | None, amount: int) -> None:
    """Take out of one grant as far as it goes, the rest from the front; the caller has checked that there is enough."""
    for place, (own, there, priority, until_us) in enumerate(lots):
        if own == number:
            part = min(there, amount)
            lots[place : place + 1] = [Lot(own, there - part, priority, until_us)] if part < there else []
            return take_from(lots, number, amount - part) if amount > part else None
    take(lots, amount)
    return None


def after(draws: Sequence[Lot], amount: int) -> list[Lot]:
    """What remains of a hold's draws when this much, from the front, was captured."""
    rest = list(draws)
    if amount:
        take(rest, amount)
    return rest


def give_back(lots: list[Lot], draws: Sequence[Lot], now_us: int) -> None:
    """Return draws to the grants they came from; one that expired meanwhile comes back with a grace."""
    for number, amount, priority, until_us in draws:
        if until_us is not None and until_us <= now_us:
            until_us = now_us + GRACE_US
        for place, lot in enumerate(lots):
            if lot.number == number and lot.until_us == until_us:
                lots[place] = Lot(number, lot.amount + amount, priority, until_us)
                break
        else:
            add(lots, Lot(number, amount, priority, until_us))


def take_expired(lots: list[Lot], now_us: int) -> list[Lot]:
    """Take out the lots whose time has run out."""
    expired = [lot for lot in lots if lot.until_us is not None and lot.until_us <= now_us]
    if expired:
        lots[:] = [lot for lot in lots if lot.until_us is None or lot.until_us > now_us]
    return expired


def soonest_us(lots: Sequence[Lot]) -> int | None:
    """When the next of them expires."""
    return min((lot.until_us for lot in lots if lot.until_us is not None), default=None)


def draw(text: str, amount: int) -> tuple[str, str] | None:
    """What `take` does, on lots as they are written, when the first of them has more than enough: (what is left, what was drawn).

    None when it has not. This is how almost every hold draws, and it costs a quarter of reading, taking and writing.
    """
    number, _, rest = text[2:].partition(",")
    there, _, rest = rest.partition(",")
    if not there or int(there) <= amount:
        return None
    terms = rest[: rest.index("]")]
    return f"[[{number},{int(there) - amount},{rest}", f"[[{number},{amount},{terms}]]"


def write(lots: Sequence[Lot]) -> str:
    """Lots as they are stored: JSON without a space, `[[number,amount,priority,until_us],...]`."""
    return orjson.dumps([list(lot) for lot in lots]).decode()


def read(text: str) -> list[Lot]:
    """Lots as `write` wrote them."""
    return [Lot(*fields) for fields in orjson.loads(text)]
