"""The photo dialect: credits and orders."""

from lab.dialects import plights
from lab.dialects.photo.words import OK, ORDER, PACKAGE, PAGE, RECORD, data, row
from lab.dialects.rows import Ask, Refusal, Row, at, bad, reused
from lab.dialects.shapes import ORDER_NO, WORD, OneOf, Some
from lab.dialects.world import World


async def _order(world: World) -> Ask:
    return Ask(path=f"/api/credits/orders/{await world.order()}")


async def _bobs_order(world: World) -> Ask:
    return Ask(path=f"/api/credits/orders/{await world.order('bob')}")


async def _recharge_of_a_shopper(world: World) -> Ask:
    return Ask(path="/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}, headers=await plights.shopper(world))


async def _my_orders(world: World) -> Ask:
    await world.order()
    return Ask(path="/api/credits/orders?status=")


async def _new_order(world: World) -> tuple[str, str]:
    wish = {"package_id": "basic", "payment_method": "wechat"}
    order = (await world.ask("POST", "/api/credits/recharge", json=wish))["data"]
    return str(order["order_no"]), str(order["payment_params"]["intent_id"])


async def _paid(world: World) -> Ask:
    body, headers = world.callers.notice(*await _new_order(world), amount=990)
    return Ask(path="/api/credits/payment/callback", body=body, headers=headers)


async def _paid_less(world: World) -> Ask:
    body, headers = world.callers.notice(*await _new_order(world), amount=989)
    return Ask(path="/api/credits/payment/callback", body=body, headers=headers)


async def _paid_nothing(world: World) -> Ask:
    body, headers = world.callers.notice("ORDER1700000000000ABCDEF", "sbi_none", amount=990)
    return Ask(path="/api/credits/payment/callback", body=body, headers=headers)


async def _paid_forged(world: World) -> Ask:
    body, headers = world.callers.notice(*await _new_order(world), amount=990)
    return Ask(path="/api/credits/payment/callback", body=body.replace(b"990", b"991"), headers=headers)


async def _paid_unreadably(world: World) -> Ask:
    return Ask(path="/api/credits/payment/callback", body=b"{}", headers=world.callers.payment_headers(b"{}"))


CREDITS: tuple[Row, ...] = (
    row("GET", "/api/credits/balance", "user", "What I have", data(credits=int, total_credits=int, total_consumed_credits=int), at("/api/credits/balance")),
    row(
        "GET",
        "/api/credits/records",
        "user",
        "What changed it",
        data(records=Some(RECORD), pagination=PAGE),
        at("/api/credits/records?type=&startDate=&endDate="),
        Refusal(400, 10001, "a date that is none", at("/api/credits/records?startDate=soon")),
        Refusal(400, 10001, "an unknown type", at("/api/credits/records?type=theft")),
        Refusal(400, 10001, "a page below 1", at("/api/credits/records?page=0")),
        takes={
            "type?": "consume, refund, recharge, gift, adjust, expire",
            "startDate?": "date",
            "endDate?": "date",
            "page?": "number",
            "pageSize?": "1 to 100",
        },
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
        data(order_no=ORDER_NO, amount=float, credits=int, payment_method=OneOf(("wechat", "alipay", "stripe", "sandbox")), payment_params=dict),
        at("/api/credits/recharge", json={"package_id": "basic", "payment_method": "wechat"}),
        bad("/api/credits/recharge", "an unknown way to pay", {"package_id": "basic", "payment_method": "shells"}),
        bad("/api/credits/recharge", "an unknown package", {"package_id": "no-such-package", "payment_method": "wechat"}, status=402, code=40001),
        Refusal(429, 10004, "too many orders of theirs are open", _recharge_of_a_shopper),
        reused("/api/credits/recharge", {"package_id": "basic", "payment_method": "wechat"}, but={"payment_method": "alipay"}),
        takes={"package_id": "one of `GET /api/credits/packages`", "payment_method": "wechat, alipay, stripe, sandbox"},
        note="`payment_params` is what the client's payment call wants to know; of the sandbox, its `pay_url` is the page where one pays.",
    ),
    row(
        "GET",
        "/api/credits/orders",
        "user",
        "My orders",
        data(orders=Some(ORDER), pagination=PAGE),
        _my_orders,
        Refusal(400, 10001, "an unknown status", at("/api/credits/orders?status=gone")),
        takes={"status?": "pending, paid, cancelled, expired, refunded", "page?": "number", "pageSize?": "1 to 100"},
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
        {**OK, "message": WORD},
        _paid,
        Refusal(401, 10002, "unsigned", at("/api/credits/payment/callback", json={"order_no": "ORDER1700000000000ABCDEF"})),
        Refusal(401, 10002, "changed after it was signed", _paid_forged),
        Refusal(402, 40001, "signed, but of another amount: nothing is granted", _paid_less, data={"fault": "amount"}),
        Refusal(402, 40001, "signed, but of an unknown order", _paid_nothing, data={"fault": WORD}),
        Refusal(400, 10001, "signed, but no notice", _paid_unreadably),
        takes={"order_no": "text, with what else the provider says, and its signature in the headers"},
    ),
)
