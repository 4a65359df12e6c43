"""The pay page of sandbox payments: what a real provider shows on a site of its own."""

from html import escape
from urllib.parse import parse_qs

from billing.deps import Deps
from billing.providers import SandboxProvider
from billing.schemas.sandbox import Decision
from billing.store.sandbox import SandboxIntent
from common.errors import NotFound
from common.messages import Lang
from common.web import HTML, STYLE, Answer, Request, Route
from common.web.body import parse_fields, read_body

_FORM_BYTES_MAX = 1024
_SAFE = {
    "Content-Security-Policy": "default-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_WORDS: dict[str, tuple[str, str]] = {
    "title": ("沙盒支付", "Sandbox payment"),
    "lead": ("这里不会产生真实扣款。", "No money moves here."),
    "pay": ("支付", "Pay"),
    "final": ("支付（之后拒绝退款）", "Pay, and refuse any refund"),
    "decline": ("取消支付", "Decline"),
    "order": ("订单号", "Order"),
    "open": ("等待支付", "Waiting for your payment"),
    "paid": ("支付成功", "Paid"),
    "declined": ("已取消支付，仍可再次支付", "Declined; you may still pay"),
    "closed": ("订单已关闭，无法支付", "Closed; it can no longer be paid"),
    "refunded": ("已退款", "Refunded"),
}
_STYLE = b"""body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#16161a;color:#f4f1ea;display:grid;min-height:100vh;place-items:center}
main{background:#23232a;padding:2rem;border-radius:1rem;max-width:24rem;width:calc(100% - 6rem)}
h1{font-size:1rem;margin:0;color:#e0a458}p{margin:.5rem 0;color:#b9b4a8}.sum{font-size:2.5rem;color:#f4f1ea;margin:1rem 0}
form{display:grid;gap:.5rem;margin-top:1.5rem}
button{font:inherit;padding:.75rem;border-radius:.5rem;border:1px solid #4a4a55;background:none;color:inherit;cursor:pointer}
button.main{background:#e0a458;border-color:#e0a458;color:#16161a;font-weight:600}button:focus-visible{outline:3px solid #7cc5ff}
"""


async def show_page(request: Request[Deps]) -> Answer:
    """What is to be paid, and two buttons."""
    intent = await _sandbox(request).find(request.params["intent"])
    return _page(intent, request.lang)


async def decide(request: Request[Deps]) -> Answer:
    """A button was pressed."""
    provider, intent_id = _sandbox(request), request.params["intent"]
    if await provider.find(intent_id) is None:
        raise NotFound()
    form = parse_qs((await read_body(request.http, _FORM_BYTES_MAX)).decode("ascii", "replace"))
    decision = parse_fields(Decision, {name: values[0] for name, values in form.items()}).decision
    if decision == "decline":
        intent = await provider.decline(intent_id)
    else:
        intent = await provider.pay(intent_id, refunds_refused=decision == "final")
    return _page(intent, request.lang)


async def show_style(_request: Request[Deps]) -> Answer:
    return Answer(_STYLE, headers={**_SAFE, "Content-Type": "text/css; charset=utf-8"})


def _sandbox(request: Request[Deps]) -> SandboxProvider:
    provider = request.deps.sandbox
    if provider is None:
        raise NotFound()
    return provider


def _page(intent: SandboxIntent | None, lang: Lang) -> Answer:
    if intent is None:
        raise NotFound()

    def say(word: str) -> str:
        return escape(_WORDS[word][0 if lang == "zh" else 1])

    buttons = ""
    if intent.state in ("open", "declined"):
        kinds = (("pay", "main"), ("final", ""), ("decline", ""))
        pressed = "".join(f'<button name="decision" value="{value}" class="{style}">{say(value)}</button>' for value, style in kinds)
        buttons = f'<form method="post">{pressed}</form>'
    html = f"""<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{say("title")}</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png"><link rel="stylesheet" href="/v1/sandbox/pay.css"></head>
<body><main><h1>{say("title")}</h1><p>{say("lead")}</p><p class="sum">{intent.amount_minor / 100:.2f} {escape(intent.currency)}</p>
<p>{escape(intent.description)}</p><p>{say("order")} {escape(intent.order_no)}</p><p role="status" data-state="{intent.state}">{say(intent.state)}</p>
{buttons}</main></body></html>"""
    return Answer(html.encode(), headers={**_SAFE, "Content-Type": "text/html; charset=utf-8"})


ROUTES = (
    Route("GET", "/v1/sandbox/pay.css", show_style, auth="none", answers={200: STYLE}, summary="How the sandbox's pay page looks"),
    Route("GET", "/v1/sandbox/pay/{intent}", show_page, auth="none", answers={200: HTML}, summary="The sandbox's pay page"),
    Route(
        "POST",
        "/v1/sandbox/pay/{intent}",
        decide,
        auth="none",
        body_bytes_max=_FORM_BYTES_MAX,
        answers={200: HTML},
        reads={"application/x-www-form-urlencoded": Decision},
        summary="Pay in the sandbox, or decline",
    ),
)
