"""What may be asked of the books, and what is answered."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from billing.domain.account import Hold
from billing.domain.entry import Asset


@dataclass(slots=True, kw_only=True)
class PlaceHold:
    """Reserve `items` times `price` for a task; `body_hash` names the request it was asked for."""

    task_id: UUID
    user_id: UUID
    asset: Asset
    price: int
    items: int
    body_hash: bytes
    expires_in_seconds: int


class Held(NamedTuple):
    """A hold that stands, what its account has available after it, and whether its owner is a member."""

    hold: Hold
    asset: Asset
    available: int
    member: bool = False


class CaptureHold(NamedTuple):
    """A task ended with this many items delivered; none releases the hold."""

    task_id: UUID
    delivered: int


@dataclass(slots=True, kw_only=True)
class Adjust:
    """An admin's correction, in either direction."""

    adjustment_id: UUID
    user_id: UUID
    asset: Asset
    amount: int
    reason: str
    by: str


class Finding(NamedTuple):
    """What generation said, or did not say, about the task of a hold that is open for long; `asked_at` by our own clock."""

    task_id: UUID
    state: Literal["unknown", "running", "ended", "unreachable"]
    asked_at: datetime
    delivered: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignUp:
    """What a new user starts with."""

    credits: int = 10
    points: int = 180
    membership_days: int = 1

    def of(self, asset: Asset) -> int:
        return self.credits if asset == "credit" else self.points


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldTerms:
    """When upkeep looks at holds and how patient it is."""

    orphan_seconds: float = 60
    extension_seconds: float = 900
    extensions_max: int = 3
    retry_seconds: float = 10
