"""Orders and packages, as the photo dialect and operators see them, and v1's list of packages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar
from uuid import UUID

from pydantic import ConfigDict, Field

from billing.domain import Asset, Method, Order, OrderState, Package, Refund
from billing.domain.hidden import open_transaction, params_of, transaction_of
from billing.domain.package import PACKAGES
from billing.store.notices import Alert
from billing.store.orders import OrderFilter
from billing.totals import TotalsShown
from common.log import get_logger
from common.messages import Lang
from common.vault import Unopenable, Vault
from common.web import Model, Moment
from common.web.photo import Page, PageQuery

log = get_logger()

T = TypeVar("T")

_MAIN_CURRENCY = "CNY"
_MINOR_PER_MAJOR = 100


def major(minor: int) -> float:
    """Money as clients want it: a number in the currency's major unit."""
    return minor / _MINOR_PER_MAJOR


def name_of(package_id: str, lang: Lang) -> str:
    """What a package is called; one that is no longer sold goes by its id."""
    package = PACKAGES.get(package_id)
    return package_id if package is None else package.name_zh if lang == "zh" else package.name_en


class CreditPackageShown(Model):
    """A package of the photo dialect."""

    package_id: str
    name: str
    credits: int
    price: float
    currency: str
    popular: bool

    @classmethod
    def of(cls, package: Package, lang: Lang) -> "CreditPackageShown":
        return cls(
            package_id=package.package_id, name=name_of(package.package_id, lang), credits=package.amount, price=major(package.price_minor),
            currency=package.currency, popular=package.popular,
        )  # fmt: skip


class CreditPackagesShown(Model):
    packages: list[CreditPackageShown]


class PackageShown(Model):
    """Anything that can be bought. `amount` is of credits or points, `price` in the currency's major unit."""

    package_id: str
    name: str
    asset: Asset
    amount: int
    membership_days: int
    price: float
    currency: str
    popular: bool

    @classmethod
    def of(cls, package: Package, lang: Lang) -> "PackageShown":
        return cls(
            package_id=package.package_id, name=name_of(package.package_id, lang), asset=package.asset, amount=package.amount,
            membership_days=package.membership_days, price=major(package.price_minor), currency=package.currency, popular=package.popular,
        )  # fmt: skip


class PackagesShown(Model):
    packages: list[PackageShown]


class RechargeAsk(Model):
    package_id: str = Field(min_length=1, max_length=64)
    payment_method: Literal["wechat", "alipay"]


class RechargeShown(Model):
    """An order and what the client's payment call wants to know."""

    order_no: str
    amount: float = Field(examples=[9.9])
    credits: int = Field(examples=[100])
    payment_method: Method
    payment_params: dict[str, Any]

    @classmethod
    def of(cls, order: Order, vault: Vault) -> "RechargeShown":
        return cls(
            order_no=order.order_no, amount=major(order.price_minor), credits=order.amount, payment_method=order.method,
            payment_params=params_of(vault, order) or {},
        )  # fmt: skip


class OrdersQuery(PageQuery):
    status: OrderState | None = None


class OrderShown(Model):
    """One order. `credits` are points where `asset` says so."""

    order_no: str
    user_id: UUID
    package_id: str
    package_name: str
    asset: Asset
    credits: int
    membership_days: int
    amount: float
    currency: str
    payment_method: Method
    status: OrderState
    transaction_id: str | None
    created_at: Moment
    expires_at: Moment
    paid_at: Moment | None
    payment_params: dict[str, Any] | None = Field(description="while it can be paid")

    @classmethod
    def of(cls, order: Order, vault: Vault, lang: Lang) -> "OrderShown":
        return cls(**_shown(order, vault, lang))


def _shown(order: Order, vault: Vault, lang: Lang) -> dict[str, Any]:
    return {
        "order_no": order.order_no, "user_id": order.user_id, "package_id": order.package_id, "package_name": name_of(order.package_id, lang),
        "asset": order.asset, "credits": order.amount, "membership_days": order.membership_days, "amount": major(order.price_minor),
        "currency": order.currency, "payment_method": order.method, "status": order.state,
        "transaction_id": _if_it_opens(transaction_of, vault, order),
        "created_at": order.created_at, "expires_at": order.expires_at, "paid_at": order.paid_at,
        "payment_params": _if_it_opens(params_of, vault, order) if order.state == "pending" else None,
    }  # fmt: skip


def _if_it_opens(opener: Callable[..., T | None], vault: Vault, *sealed: object) -> T | None:
    """What an order is shown with; one that no key opens any more must not keep all others from being shown."""
    try:
        return opener(vault, *sealed)
    except Unopenable as error:
        log.error("order.unopenable", cause=str(error))
        return None


class PaymentNotice(Model):
    """What a payment provider tells: each in its own shape, read by who checks its signature."""

    model_config = ConfigDict(extra="allow")


class OrdersShown(Model):
    orders: list[OrderShown]
    pagination: Page


class OneOrderShown(Model):
    order: OrderShown


# Operators


class AdminOrdersQuery(OrdersQuery):
    user_id: UUID | None = None

    @property
    def filter(self) -> OrderFilter:
        return OrderFilter(self.user_id, self.status)


class AdminOrderShown(OrderShown):
    """An order with whose it is, and what is wrong about its payments."""

    nickname: str
    alerts: list[str] = Field(description="faults of payments that named this order and bought nothing; empty when all is well")


class AlertShown(Model):
    """A payment that bought nothing: `fault` says why."""

    alert_id: UUID
    fault: str
    provider: str
    order_no: str
    transaction_id: str
    amount: float
    currency: str
    at: Moment

    @classmethod
    def of(cls, alert: Alert, vault: Vault) -> "AlertShown":
        return cls(
            alert_id=alert.alert_id, fault=alert.fault, provider=alert.provider, order_no=alert.order_no,
            transaction_id=_if_it_opens(open_transaction, vault, alert.alert_id, alert.transaction_sealed) or "",
            amount=major(alert.amount_minor), currency=alert.currency, at=alert.at,
        )  # fmt: skip


class AlertClosed(Model):
    alert_id: UUID
    alerts_total: int = Field(description="how many are still open")


class AdminOrdersShown(Model):
    """A page of orders; beside it the latest payments that nobody has looked at yet, those of unknown orders too."""

    orders: list[AdminOrderShown]
    pagination: Page
    alerts: list[AlertShown]
    alerts_total: int

    @classmethod
    def of(
        cls,
        page: Page,
        found: Sequence[Order],
        names: Mapping[UUID, str],
        faults: Mapping[str, list[str]],
        alerts: tuple[Sequence[Alert], int],
        vault: Vault,
        lang: Lang,
    ) -> "AdminOrdersShown":
        shown = [
            AdminOrderShown(**_shown(order, vault, lang), nickname=names.get(order.user_id, ""), alerts=sorted(faults.get(order.order_no, ())))
            for order in found
        ]
        return cls(orders=shown, pagination=page, alerts=[AlertShown.of(alert, vault) for alert in alerts[0]], alerts_total=alerts[1])


class RefundAsk(Model):
    reason: str = Field(min_length=1, max_length=500)


class RefundShown(Model):
    """An order given back; `owed` is what had been spent of it and is settled by what comes in next."""

    order: OrderShown
    owed: int
    refund_id: UUID

    @classmethod
    def of(cls, order: Order, refund: Refund, vault: Vault, lang: Lang) -> "RefundShown":
        return cls(order=OrderShown.of(order, vault, lang), owed=refund.owed, refund_id=refund.refund_id)


class RevenueShown(Model):
    total: float
    today: float


class OrderTotals(Model):
    """`total_orders` counts every order ever made; revenue is of the main currency, less what was refunded."""

    total_orders: int
    total_revenue: float
    today_revenue: float
    paid_orders: int
    revenue: dict[str, RevenueShown] = Field(description="by currency")


class CreditTotals(Model):
    total_credits: int
    total_recharged: int
    total_consumed: int


class OverviewShown(Model):
    orders: OrderTotals
    credits: CreditTotals

    @classmethod
    def of(cls, totals: TotalsShown) -> "OverviewShown":
        revenue = {day.currency: RevenueShown(total=major(day.revenue_minor), today=major(day.today_minor)) for day in totals.days}
        main = revenue.get(_MAIN_CURRENCY, RevenueShown(total=0, today=0))
        orders = OrderTotals(
            total_orders=sum(day.created for day in totals.days), total_revenue=main.total, today_revenue=main.today,
            paid_orders=sum(day.paid for day in totals.days), revenue=revenue,
        )  # fmt: skip
        ledger = totals.credits
        return cls(orders=orders, credits=CreditTotals(total_credits=ledger.posted, total_recharged=ledger.recharged, total_consumed=ledger.consumed))
