"""The photo dialect: credits and orders."""

from lab.dialects.photo.words import ORDER, PACKAGE, PAGE, RECORD, data, row
from lab.dialects.rows import Ask, Refusal, Row, at, bad
from lab.dialects.shapes import ORDER_NO, OneOf, Some
from lab.dialects.world import World


async def _order(world: World) -> Ask:
    return Ask(path=f"/api/credits/orders/{await world.order()}")


async def _bobs_order(world: World) -> Ask:
    return Ask(path=f"/api/credits/orders/{await world.order('bob')}")


CREDITS: tuple[Row, ...] = (
    row("GET", "/api/credits/balance", "user", "What I have", data(credits=int, total_credits=int, total_consumed_credits=int), at("/api/credits/balance")),
    row(
        "GET",
        "/api/credits/records",
        "user",
        "What changed it",
        data(records=[RECORD], pagination=PAGE),
        at("/api/credits/records?type=&startDate=&endDate="),
        Refusal(400, 10001, "a date that is none", at("/api/credits/records?startDate=soon")),
        takes={"type?": "consume, refund, recharge, gift", "startDate?": "date", "endDate?": "date"},
    ),
    row(
        "GET",
        "/api/credits/stats",
        "user",
        "Sums of my credits",
        data(current_balance=int, total_recharged=int, total_consumed=int, recharge_count=int, consume_count=int),
        at("/api/credits/stats"),
    ),
    row("GET", "/api/credits/packages", "none", "What can be bought", data(packages=Some(PACKAGE)), at("/api/credits/packages")),
    row(
        "POST",
        "/api/credits/recharge",
        "user",
        "Order credits",
        data(order_no=ORDER_NO, amount=float, credits=int, payment_method=OneOf(("wechat", "alipay")), payment_params=dict),
        at("/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}),
        bad("/api/credits/recharge", "an unknown way to pay", {"package_id": "basic", "payment_method": "shells"}),
        bad("/api/credits/recharge", "an unknown package", {"package_id": "no-such-package", "payment_method": "wechat"}, status=402, code=40001),
        takes={"package_id": "text", "payment_method": "wechat, alipay"},
    ),
    row(
        "GET",
        "/api/credits/orders",
        "user",
        "My orders",
        data(orders=[ORDER], pagination=PAGE),
        at("/api/credits/orders?status="),
        takes={"status?": "pending, paid, ..."},
    ),
    row(
        "GET",
        "/api/credits/orders/:order_no",
        "user",
        "One order",
        data(order=ORDER),
        _order,
        Refusal(404, 10008, "unknown", at("/api/credits/orders/ORDER1700000000000ABCDEF")),
        Refusal(404, 10008, "another's", _bobs_order),
    ),
    row(
        "POST",
        "/api/credits/payment/callback",
        "callback",
        "The payment provider's notice; only a signed one counts",
        None,
        at("/api/credits/payment/callback", json={"order_no": "ORDER1700000000000ABCDEF"}),
        Refusal(401, 10002, "unsigned", at("/api/credits/payment/callback", json={"order_no": "ORDER1700000000000ABCDEF"})),
        takes={"order_no": "text, with the provider's signature in the headers"},
    ),
)
