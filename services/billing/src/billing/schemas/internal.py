"""What other services send and get."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from pydantic import AfterValidator, Field

from billing.domain import Asset, Balance, Held, HoldState, PlaceHold, PriceList, Purse
from common.errors import ServiceError
from common.events.tasks import Kind
from common.messages import wrong
from common.web import Model

ASKS_MAX = 256
_AMOUNT_MAX = 1_000_000_000_000


class HoldAsk(Model):
    """Credits for one task; the price is billing's own."""

    task_id: UUID
    user_id: UUID
    kind: Kind
    items: int = Field(ge=1, le=50)
    body_hash: str = Field(pattern=r"^[0-9a-f]{64}$", description="sha256 of the canonical JSON of the validated request")
    expires_in_seconds: int = Field(ge=1, le=7 * 24 * 3600)

    def priced(self, prices: PriceList) -> PlaceHold:
        asset, price = prices.of(self.kind)
        return PlaceHold(
            task_id=self.task_id, user_id=self.user_id, asset=asset, price=price, items=self.items,
            body_hash=bytes.fromhex(self.body_hash), expires_in_seconds=self.expires_in_seconds,
        )  # fmt: skip


class HoldAsks(Model):
    holds: list[HoldAsk] = Field(max_length=ASKS_MAX)


class HeldOutcome(Model):
    """The credits are held; `placed_at` is when this was last asked for."""

    task_id: UUID
    held: Literal[True]
    asset: Asset
    amount: int
    placed_at: datetime
    expires_at: datetime
    available: int = Field(description="what the account has left")
    member: bool = Field(default=False, description="whether the user is a member now")


class RefusedOutcome(Model):
    """They are not: 40000 with required, current and shortage; 10006 another body; 40002 resolved already, use a new key."""

    task_id: UUID
    held: Literal[False]
    code: int
    data: dict[str, Any] | None = None


class HoldOutcomes(Model):
    """One outcome per ask, in their order."""

    outcomes: list[Annotated[HeldOutcome | RefusedOutcome, Field(discriminator="held")]]


def render_outcomes(asks: Sequence[PlaceHold], outcomes: Sequence[Held | ServiceError]) -> bytes:
    """HoldOutcomes as JSON; straight from the domain, for this is the hottest answer of the service."""
    return orjson.dumps({"outcomes": [_outcome(ask.task_id, outcome) for ask, outcome in zip(asks, outcomes, strict=True)]})


def _outcome(task_id: UUID, outcome: Held | ServiceError) -> dict[str, object]:
    if isinstance(outcome, ServiceError):
        return {"task_id": task_id, "held": False, "code": outcome.code, "data": outcome.data}
    hold = outcome.hold
    return {
        "task_id": task_id, "held": True, "asset": outcome.asset, "amount": hold.amount, "placed_at": hold.renewed_at,
        "expires_at": hold.expires_at, "available": outcome.available, "member": outcome.member,
    }  # fmt: skip


class TaskIds(Model):
    task_ids: list[UUID] = Field(max_length=1000)


class HoldShown(Model):
    task_id: UUID
    state: HoldState
    amount: int
    captured_amount: int


class HoldsShown(Model):
    """Those that exist."""

    holds: list[HoldShown]


class UserIds(Model):
    user_ids: list[UUID] = Field(max_length=1000)


class PurseShown(Model):
    """One account. `total_in` is what came in, net of what expired or was adjusted away."""

    available: int
    held: int
    posted: int
    total_in: int
    total_consumed: int

    @classmethod
    def of(cls, purse: Purse) -> "PurseShown":
        return cls(
            available=purse.available, held=purse.held, posted=purse.posted, total_in=purse.total_in, total_consumed=purse.consumed
        )  # fmt: skip


class MembershipShown(Model):
    active_until: datetime | None
    is_vip: bool


class BalanceShown(Model):
    user_id: UUID
    credit: PurseShown
    point: PurseShown
    membership: MembershipShown

    @classmethod
    def of(cls, balance: Balance, now: datetime) -> "BalanceShown":
        until = balance.active_until
        return cls(
            user_id=balance.user_id,
            credit=PurseShown.of(balance.credit),
            point=PurseShown.of(balance.point),
            membership=MembershipShown(active_until=until, is_vip=until is not None and until > now),
        )


class BalancesShown(Model):
    """In the order asked."""

    balances: list[BalanceShown]


def _not_zero(amount: int) -> int:
    if not amount:
        raise wrong("not-zero")
    return amount


class AdjustmentAsk(Model):
    """A correction; `adjustment_id` names it, so that it is made once."""

    adjustment_id: UUID
    user_id: UUID
    asset: Asset
    amount: Annotated[int, AfterValidator(_not_zero)] = Field(
        ge=-_AMOUNT_MAX, le=_AMOUNT_MAX, description="added when positive, taken away when negative; never 0"
    )
    reason: str = Field(min_length=1, max_length=500)
    by: str = Field(min_length=1, max_length=100)


class AdjustmentAsks(Model):
    adjustments: list[AdjustmentAsk] = Field(max_length=ASKS_MAX)


class AdjustmentMade(Model):
    adjustment_id: UUID
    done: Literal[True] = True
    available: int


class AdjustmentRefused(Model):
    adjustment_id: UUID
    done: Literal[False] = False
    code: int
    data: dict[str, Any] | None = None


class AdjustmentOutcomes(Model):
    """One outcome per adjustment, in their order."""

    outcomes: list[Annotated[AdjustmentMade | AdjustmentRefused, Field(discriminator="done")]]


class AuditShown(Model):
    """What a full audit found just now; every number must be 0."""

    checked_at: datetime
    sound: bool
    disagreements: dict[str, int]
