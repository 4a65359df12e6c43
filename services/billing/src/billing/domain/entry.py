"""Ledger entries: immutable transfers between a user's account and a system account, each carrying the hash of the one before."""

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from hashlib import sha256
from typing import Literal, NamedTuple
from uuid import UUID

Asset = Literal["credit", "point"]
ASSETS: tuple[Asset, ...] = ("credit", "point")
EntryKind = Literal["signup", "purchase", "membership", "adjustment", "capture", "late_capture", "expire", "refund", "claw_back", "receivable", "settle"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class System(IntEnum):
    """The other side of every entry: accounts without a row, a balance or a chain, for they would be hot. Never renumbered."""

    SIGNUP = -1
    PURCHASE = -2
    MEMBERSHIP = -3
    ADJUSTMENT = -4
    REVENUE = -5
    EXPIRED = -6
    REFUND = -7
    RECEIVABLE = -8


class Entry(NamedTuple):
    """One transfer, as it is stored: `amount` > 0 goes from `debit` to `credit`; `number` counts within the user's account."""

    account_id: int
    number: int
    debit: int
    credit: int
    asset: Asset
    amount: int
    posted_after: int
    kind: EntryKind
    source: str
    reason: str
    at: datetime
    hash: bytes


def microseconds(at: datetime) -> int:
    """A moment as microseconds since 1970, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def first_link(user_id: UUID, asset: Asset) -> bytes:
    """What the first entry of an account follows: its owner's name, so that a chain cannot be moved to another account."""
    return sha256(f"{user_id}/{asset}".encode()).digest()


def link(before: bytes, entry_fields: str) -> bytes:
    """The hash of an entry after the one before it; the auditor computes the same in SQL (store/audit.py)."""
    return sha256(before + entry_fields.encode()).digest()
