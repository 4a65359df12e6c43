"""Orders of the photo dialect, and the one door for payment providers' notices."""

from typing import Any
from uuid import UUID

from billing import checkout
from billing.checkout import Wish
from billing.deps import Deps
from billing.domain import Method, Order
from billing.domain.package import PACKAGES
from billing.providers.base import NOTICE_BYTES_MAX
from billing.schemas.orders import (
    CreditPackageShown,
    CreditPackagesShown,
    OneOrderShown,
    OrderShown,
    OrdersQuery,
    OrdersShown,
    PackageShown,
    PackagesShown,
    PaymentNotice,
    RechargeAsk,
    RechargeShown,
    name_of,
)
from billing.store import orders
from billing.store.orders import OrderFilter
from common.errors import Conflict, NotFound, PurchaseFailed, Unauthorized
from common.ids import derived_id, new_id
from common.web import Answer, Request, Route
from common.web.body import read_body
from common.web.photo import Ok, Page

REPLAYED = {"Idempotent-Replayed": "true"}

_RECHARGE = "POST /api/credits/recharge"
_NOTICE_SECONDS = 5


async def list_credit_packages(request: Request[Deps]) -> Answer:
    """What can be bought with the photo dialect."""
    shown = [CreditPackageShown.of(package, request.lang) for package in PACKAGES.values() if package.asset == "credit"]
    return Answer(Ok(data=CreditPackagesShown(packages=shown)))


async def list_packages(request: Request[Deps]) -> Answer:
    """Everything that can be bought."""
    return Answer(PackagesShown(packages=[PackageShown.of(package, request.lang) for package in PACKAGES.values()]))


async def place_order(request: Request[Any], package_id: str, asset: str, method: Method, route: str, **expected: int) -> tuple[Order, dict[str, str]]:
    """Order a package in either dialect; the same key is the same order. Raises PurchaseFailed for what is not sold, or not at this price."""
    package = PACKAGES.get(package_id)
    if package is None or package.asset != asset:
        raise PurchaseFailed("there is no such package", data={"package_id": package_id})
    price = expected.get("price_minor", package.price_minor)
    if price != package.price_minor:
        raise PurchaseFailed("the package has another price", data={"amount": package.price_minor / 100, "currency": package.currency})
    key = request.idempotency_key
    order_id = derived_id(request.user_id, route, key) if key is not None else new_id()
    wish = Wish(order_id, request.user_id, package, method, name_of(package.package_id, request.lang))
    order, replayed = await checkout.place_order(request.deps, wish)
    return order, REPLAYED if replayed else {}


async def recharge(request: Request[Deps]) -> Answer:
    """Order credits."""
    ask = request.body
    order, headers = await place_order(request, ask.package_id, "credit", ask.payment_method, _RECHARGE)
    return Answer(Ok(data=RechargeShown.of(order, request.deps.vault)), headers=headers)


async def list_orders(request: Request[Deps]) -> Answer:
    """My orders, newest first."""
    query = request.query
    async with request.deps.db.read() as conn:
        found, total = await orders.list_orders(conn, OrderFilter(request.user_id, query.status), offset=query.offset, limit=query.pageSize)
    shown = [OrderShown.of(order, request.deps.vault, request.lang) for order in found]
    return Answer(Ok(data=OrdersShown(orders=shown, pagination=Page.of(query, total))))


async def get_order(request: Request[Deps]) -> Answer:
    """One order of mine; another's is answered like one there is not."""
    order = await checkout.order_of(request.deps, request.params["order_no"])
    if UUID(int=order.user_id.int) != request.user_id:
        raise NotFound("there is no such order")
    return Answer(Ok(data=OneOrderShown(order=OrderShown.of(order, request.deps.vault, request.lang))))


async def hear_notice(request: Request[Deps]) -> Answer:
    """A payment provider tells something; only what it signed counts, and however often it comes, it counts once."""
    body = await read_body(request.http, NOTICE_BYTES_MAX)
    await checkout.hear_notice(request.deps, request.http.headers, body)
    return Answer(Ok[None](message="ok"))


ROUTES = (
    Route("GET", "/api/credits/packages", list_credit_packages, auth="none", answers={200: Ok[CreditPackagesShown]}, summary="What can be bought"),
    Route("GET", "/v1/packages", list_packages, auth="none", answers={200: PackagesShown}, summary="Everything that can be bought"),
    Route(
        "POST", "/api/credits/recharge", recharge, body=RechargeAsk, answers={200: Ok[RechargeShown]}, refusals=(PurchaseFailed, Conflict), keyed=True,
        summary="Order credits",
    ),
    Route("GET", "/api/credits/orders", list_orders, query=OrdersQuery, answers={200: Ok[OrdersShown]}, summary="My orders"),
    Route("GET", "/api/credits/orders/{order_no}", get_order, answers={200: Ok[OneOrderShown]}, summary="One order of mine"),
    Route(
        "POST", "/api/credits/payment/callback", hear_notice, auth="none", answers={200: Ok[None]}, body_bytes_max=NOTICE_BYTES_MAX,
        deadline_seconds=_NOTICE_SECONDS, limits="callback",
        refusals=(Unauthorized, PurchaseFailed), reads={"application/json": PaymentNotice}, summary="A payment provider's signed notice",
    ),
)  # fmt: skip
