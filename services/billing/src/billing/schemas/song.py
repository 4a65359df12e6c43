"""The song dialect: the history of points."""

from uuid import UUID

from pydantic import Field

from billing.domain import Record
from billing.schemas.words import describe
from common.messages import Lang
from common.web import Model, Moment


class UserShown(Model):
    objectId: UUID


class UserPointer(UserShown):
    """How clients of the old platform name somebody."""

    type_: str = Field(default="Pointer", alias="__type")
    className: str = "_User"


class PointsShown(Model):
    """One change of what is available."""

    user: UserPointer | UserShown
    amount: int
    reason: str
    balance: int
    time: Moment

    @classmethod
    def of(cls, record: Record, user: UserPointer | UserShown, lang: Lang) -> "PointsShown":
        return cls(user=user, amount=record.amount, reason=describe(record, lang), balance=record.available_after, time=record.at)
