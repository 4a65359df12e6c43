"""The services identity asks: billing, for what people have; works, to keep a picture."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from common.client import ServiceClient
from common.errors import InsufficientCredits, InvalidParameter
from common.ids import UserId
from identity.domain import Purse


class _Ask(BaseModel):
    user_ids: list[UUID]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Account(_Answer):
    available: int


class _Membership(_Answer):
    active_until: datetime | None
    is_vip: bool


class _Picture(BaseModel):
    file_id: UUID
    user_id: UUID
    content: str | None
    key: str | None
    field: str


class _Kept(_Answer):
    key: str


class _Balance(_Answer):
    user_id: UUID
    credit: _Account
    point: _Account
    membership: _Membership


class _Balances(_Answer):
    balances: list[_Balance]


class _Adjustment(BaseModel):
    adjustment_id: UUID
    user_id: UUID
    asset: str = "credit"
    amount: int
    reason: str
    by: str


class _Adjustments(BaseModel):
    adjustments: list[_Adjustment]


class _Adjusted(_Answer):
    done: bool
    code: int | None = None


class _AdjustedAll(_Answer):
    outcomes: list[_Adjusted]


async def adjust_credits(billing: ServiceClient, *, adjustment_id: UUID, user_id: UserId, amount: int, reason: str, by: UserId) -> None:
    """Credits given or taken by an operator, once per id. Raises InvalidParameter when more would be taken than there is, Unavailable."""
    ask = _Adjustment(adjustment_id=adjustment_id, user_id=user_id, amount=amount, reason=reason, by=str(by))
    [outcome] = (await billing.post("/internal/adjustments", _Adjustments(adjustments=[ask]), _AdjustedAll)).outcomes
    if not outcome.done:
        raise InvalidParameter.of("credits_adjustment", "more-than-there-is" if outcome.code == InsufficientCredits.code else "refused")


async def list_purses(billing: ServiceClient, user_ids: Sequence[UserId], *, deadline_seconds: float) -> list[Purse]:
    """What these people have, in their order; asking opens accounts that were not there. Raises Unavailable."""
    answer = await billing.post("/internal/balances", _Ask(user_ids=list(user_ids)), _Balances, deadline_seconds=deadline_seconds)
    found = {one.user_id: one for one in answer.balances}
    return [_purse(found[user_id]) for user_id in user_ids]


def _purse(balance: _Balance) -> Purse:
    return Purse(
        credits=balance.credit.available, points=balance.point.available, member_until=balance.membership.active_until, is_member=balance.membership.is_vip
    )


async def keep_picture(
    works: ServiceClient, *, file_id: UUID, user_id: UserId, content: str | None, key: str | None, field: str, deadline_seconds: float
) -> str:
    """A picture kept by works as an upload of this user; answers its key. Raises what an upload raises, or Unavailable. Safe twice by its id."""
    ask = _Picture(file_id=file_id, user_id=user_id, content=content, key=key, field=field)
    return (await works.post("/internal/pictures", ask, _Kept, deadline_seconds=deadline_seconds)).key
