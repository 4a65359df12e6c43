"""Accounts and holds: what they remember."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, NamedTuple
from uuid import UUID

from billing.domain import lot
from billing.domain.entry import Asset, Entry
from billing.domain.lot import Lot

HoldState = Literal["open", "captured", "released", "expired"]
RecordKind = Literal["consume", "refund", "recharge", "gift", "adjust", "expire"]

NOT_LOADED = datetime.max.replace(tzinfo=UTC)

Owner = tuple[UUID, Asset]
"""Whose account, and of what."""


@dataclass(slots=True)
class Account:
    """One user's credits or points. `version` counts its facts, `entries` its ledger entries, `records` its changes of what is available.

    Its lots stay unread until somebody asks: a capture never does.
    """

    account_id: int
    user_id: UUID
    asset: Asset
    posted: int
    held: int
    consumed: int
    version: int
    entries: int
    records: int
    head: bytes
    """The hash of its last entry."""
    written_lots: str
    """Its lots, as `lot.write` wrote them; stale while they are read."""
    next_expiry_us: int | None
    """When the next of its lots expires, at the earliest."""
    receivable: int = 0
    """What it owes since a payment was taken back; whatever comes in settles it first."""
    consumes: int = 0
    recharges: int = 0
    recharged: int = 0
    memberships: int = 0
    """How many facts about its owner's membership were said; counted on the account of points."""
    active_until: datetime | None = None
    """Until when its owner is a member; known where that matters."""
    _lots: list[Lot] | None = None

    @property
    def available(self) -> int:
        return self.posted - self.held

    @property
    def total_in(self) -> int:
        """All that ever came in, less what expired or was adjusted away: what was consumed, and what is still there."""
        return self.posted + self.consumed

    @property
    def lots(self) -> list[Lot]:
        """What is left of each grant and not held, in the order it is used."""
        if self._lots is None:
            self._lots = lot.read(self.written_lots)
        return self._lots

    def draw(self, amount: int) -> str:
        """Take this much out of the lots; answers what came from where, as `lot.write` writes it. The caller has checked that it is there."""
        drawn = lot.draw(self.written_lots, amount) if self._lots is None else None
        if drawn is None:
            return lot.write(lot.take(self.lots, amount))
        self.written_lots, draws = drawn
        return draws

    def close_lots(self) -> None:
        """Bring `written_lots` and `next_expiry_us` up to date, before they are stored."""
        if self._lots is not None:
            self.written_lots, self.next_expiry_us, self._lots = lot.write(self._lots), lot.soonest_us(self._lots), None


@dataclass(slots=True)
class Hold:
    """Credits reserved for one task. `look_at` is when upkeep has a look at it, should nothing resolve it before.

    `draws` is what it took from which grants, as `lot.write` writes it. `was` is the state it was loaded in, which a save names.
    A capture asks nothing about time, so the fields after `draws` are not loaded for it. The last three are of a hold that is being
    placed: how long it stands, and the record that shows it; a hold of nothing has none.
    """

    task_id: UUID
    account_id: int
    state: HoldState
    price: int
    items: int
    captured_amount: int
    written_off_amount: int
    draws: str
    body_hash: bytes = b""
    extensions: int = 0
    renewed_at: datetime = NOT_LOADED
    expires_at: datetime = NOT_LOADED
    look_at: datetime = NOT_LOADED
    expires_in_seconds: int = 0
    record_number: int | None = None
    available_after: int = 0
    was: HoldState = field(init=False)

    def __post_init__(self) -> None:
        self.was = self.state

    @property
    def amount(self) -> int:
        return self.price * self.items


class Record(NamedTuple):
    """One change of what is available, as it is stored; `ref_id` is the task or adjustment it is about."""

    account_id: int
    number: int
    kind: RecordKind
    amount: int
    available_after: int
    ref_id: UUID | None
    description: str | None
    at: datetime


class Captured(NamedTuple):
    """A hold resolved by a capture, and the entry of it."""

    hold: Hold
    entry: Entry
