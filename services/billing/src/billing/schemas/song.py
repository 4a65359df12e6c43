"""The song dialect: the history of points, and buying them."""

from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import ConfigDict, Field

from billing.domain import Method, Order, OrderState, Record
from billing.domain.hidden import params_of
from billing.schemas.words import describe
from common.messages import Lang
from common.vault import Vault
from common.web import Model, Moment


class UserShown(Model):
    objectId: UUID


class UserPointer(UserShown):
    """How clients of the old platform name somebody."""

    type_: str = Field(default="Pointer", alias="__type")
    className: str = "_User"


class PaymentAsk(Model):
    method: Method
    amount: Decimal = Field(ge=0, le=1_000_000, allow_inf_nan=False, description="what the client thinks it costs, in the currency's major unit")


class PurchaseAsk(Model):
    packageId: str = Field(min_length=1, max_length=64)
    payment: PaymentAsk

    @property
    def price_minor(self) -> int:
        """What the client expects to pay; no whole number of minor units is no price of ours."""
        minor = self.payment.amount * 100
        return int(minor) if minor == int(minor) else -1


class PaymentShown(Model):
    method: Method
    amount: float
    currency: str
    params: dict[str, Any]


class PurchaseShown(Model):
    """An order of points, and what the client's payment call wants to know."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "orderNo": "ORDER1767323045678A1B2C3",
                    "status": "pending",
                    "packageId": "points-800",
                    "payment": {"method": "stripe", "amount": 2, "currency": "USD", "params": {"pay_url": "https://example.com/v1/sandbox/pay/sbi_1"}},
                }
            ]
        }
    )

    orderNo: str
    status: OrderState
    packageId: str
    payment: PaymentShown

    @classmethod
    def of(cls, order: Order, vault: Vault) -> "PurchaseShown":
        payment = PaymentShown(method=order.method, amount=order.price_minor / 100, currency=order.currency, params=params_of(vault, order) or {})
        return cls(orderNo=order.order_no, status=order.state, packageId=order.package_id, payment=payment)


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
