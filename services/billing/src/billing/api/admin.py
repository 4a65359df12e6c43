"""What operators see and do: everybody's orders, refunds, payments that fit no order, sums, settings."""

from billing import checkout
from billing.commands import AskRefund
from billing.deps import Deps
from billing.schemas.orders import AdminOrdersQuery, AdminOrdersShown, AlertClosed, OverviewShown, RefundAsk, RefundShown
from billing.store import notices, orders
from common.config import CONFIG_ROUTES
from common.errors import Conflict, NotFound, RefundFailed
from common.web import Answer, Request, Route
from common.web.photo import Ok, Page


async def list_orders(request: Request[Deps]) -> Answer:
    """Everybody's orders, newest first, and the payments that bought nothing."""
    deps, query = request.deps, request.query
    async with deps.db.read() as conn:
        found, total = await orders.list_orders(conn, query.filter, offset=query.offset, limit=query.pageSize)
        faults = await notices.list_faults(conn, [order.order_no for order in found])
        alerts = await notices.list_alerts(conn)
    names = await deps.people.list_names([order.user_id for order in found])
    return Answer(Ok(data=AdminOrdersShown.of(Page.of(query, total), found, names, faults, alerts, deps.vault, request.lang)))


async def refund_order(request: Request[Deps]) -> Answer:
    """Give a payment back; asked again, it is the same refund."""
    ask = AskRefund(request.params["order_no"], request.body.reason, request.user_id)
    order, refund = await checkout.refund_order(request.deps, ask)
    return Answer(RefundShown.of(order, refund, request.deps.vault, request.lang))


async def close_alert(request: Request[Deps]) -> Answer:
    """Somebody has looked at a payment that bought nothing."""
    deps, alert_id = request.deps, request.id("alert_id", NotFound)
    async with deps.db.transaction() as tx:
        if not await notices.close_alert(tx.conn, tx.now, alert_id, request.user_id):
            raise NotFound()
    left = await checkout.count_alerts(deps)
    return Answer(AlertClosed(alert_id=alert_id, alerts_total=left))


async def show_overview(request: Request[Deps]) -> Answer:
    """Billing's part of the overview."""
    return Answer(OverviewShown.of(await request.deps.totals.read()))


ROUTES = (
    Route(
        "GET", "/api/admin/orders", list_orders, auth="admin", query=AdminOrdersQuery, answers={200: Ok[AdminOrdersShown]}, summary="Everybody's orders"
    ),
    Route(
        "POST", "/v1/admin/orders/{order_no}/refund", refund_order, auth="admin", body=RefundAsk, answers={200: RefundShown},
        refusals=(NotFound, Conflict, RefundFailed), summary="Give a payment back"
    ),
    Route("POST", "/v1/admin/orders/alerts/{alert_id}/close", close_alert, auth="admin", answers={200: AlertClosed}, summary="A strange payment was looked at"),
    Route("GET", "/internal/admin/overview", show_overview, auth="admin", answers={200: OverviewShown}, summary="Sums of orders and credits"),
    *CONFIG_ROUTES,
)  # fmt: skip
