"""The photo dialect: balance and history of credits."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator, Field

from billing.domain import Balance, Record, RecordKind
from billing.schemas.words import describe
from billing.store.records import RecordFilter
from common.ids import derived_id
from common.messages import Lang, wrong
from common.web import Model, Moment
from common.web.photo import Page, PageQuery


def _moment(value: object, *, after: timedelta) -> object:
    """A date is its whole day, in UTC; a time without a zone is UTC."""
    if not isinstance(value, str):
        return value
    try:
        found = datetime.fromisoformat(value)
        if len(value) <= len("2026-01-01"):
            found = datetime.combine(found, time()) + after
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong("date-or-time") from None


Since = Annotated[datetime, BeforeValidator(lambda value: _moment(value, after=timedelta(0)))]
Until = Annotated[datetime, BeforeValidator(lambda value: _moment(value, after=timedelta(days=1)))]


class BalanceShown(Model):
    """`credits` is what can be spent: what came in, less what was spent and is being spent."""

    credits: int
    total_credits: int
    total_consumed_credits: int

    @classmethod
    def of(cls, balance: Balance) -> "BalanceShown":
        purse = balance.credit
        return cls(credits=purse.available, total_credits=purse.total_in, total_consumed_credits=purse.consumed + purse.held)


class StatsShown(Model):
    """Sums of my credits; `total_consumed` counts what is being spent too, as the balance does."""

    current_balance: int
    total_recharged: int
    total_consumed: int
    recharge_count: int
    consume_count: int

    @classmethod
    def of(cls, balance: Balance) -> "StatsShown":
        purse = balance.credit
        return cls(
            current_balance=purse.available, total_recharged=purse.recharged, total_consumed=purse.consumed + purse.held,
            recharge_count=purse.recharges, consume_count=purse.consumes,
        )  # fmt: skip


class RecordsQuery(PageQuery):
    """Which records; dates are inclusive."""

    type: RecordKind | None = None
    startDate: Since | None = None
    endDate: Until | None = None

    @property
    def filter(self) -> RecordFilter:
        return RecordFilter(self.type, self.startDate, self.endDate)


class RecordShown(Model):
    record_id: UUID
    type: RecordKind
    amount: int
    balance_after: int
    related_id: str | None = Field(description="the task, or the number of the order")
    description: str
    created_at: Moment

    @classmethod
    def of(cls, record: Record, lang: Lang, order_nos: Mapping[UUID, str]) -> "RecordShown":
        return cls(
            record_id=derived_id("record", record.account_id, record.number),
            type=record.kind,
            amount=record.amount,
            balance_after=record.available_after,
            related_id=None if record.ref_id is None else order_nos.get(record.ref_id) or str(record.ref_id),
            description=describe(record, lang),
            created_at=record.at,
        )


class RecordsShown(Model):
    records: list[RecordShown]
    pagination: Page
