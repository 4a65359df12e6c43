"""A payment provider that takes no money: a page with two buttons, and a signed notice like a real one's."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import aiohttp
import orjson
from pydantic import ValidationError

from billing.domain import Order, Payment
from billing.providers.base import Intent, Notice, Standing
from billing.store import sandbox
from billing.store.sandbox import SandboxIntent
from common.db import Database
from common.errors import InvalidParameter, Unauthorized
from common.log import get_logger
from common.vault import Vault
from common.web import Model
from common.web.body import check_json

log = get_logger()

SANDBOX = "sandbox"
MERCHANT = "darkroom-sandbox"
SIGNATURE, TIMESTAMP, NONCE = "Sandbox-Signature", "Sandbox-Timestamp", "Sandbox-Nonce"
SKEW_SECONDS_MAX = 300

_NOTIFY_SECONDS = 5
_SECONDS = re.compile(r"[0-9]{1,12}")
_NONCE_FORM = re.compile(r"[A-Za-z0-9_-]{16,64}")


class _Body(Model):
    """What a notice of the sandbox says."""

    id: str
    type: Literal["payment.succeeded", "payment.declined"]
    merchant_id: str
    order_no: str
    intent_id: str
    transaction_id: str | None = None
    amount: int
    currency: str


class SandboxProvider:
    """Both sides of a payment in one process: what Darkroom calls, and what a person clicks."""

    name = SANDBOX
    signature_header = SIGNATURE

    def __init__(self, db: Database, http: aiohttp.ClientSession, vault: Vault, *, secret: bytes, public_url: str, notify_url: str) -> None:
        self._db = db
        self._http = http
        self._vault = vault
        self._secret = secret
        self._public_url = public_url.rstrip("/")
        self._notify_url = notify_url

    # What Darkroom asks

    async def create_intent(self, order: Order, description: str) -> Intent:
        fresh = SandboxIntent(
            f"sbi_{secrets.token_hex(16)}", None, order.order_no, description, order.price_minor, order.currency, "open",
            refunds_refused=False, refund_id=None,
        )  # fmt: skip
        async with self._db.read() as conn:
            intent = await sandbox.make_intent(conn, self._vault, self._db.clock.now(), fresh)
        return Intent(intent.intent_id, MERCHANT, self._params(order, intent.intent_id))

    def _params(self, order: Order, intent_id: str) -> dict[str, Any]:
        """What a client of the real provider would find is there too, so that its code has something to read."""
        page = f"{self._public_url}/v1/sandbox/pay/{intent_id}"
        common = {"provider": SANDBOX, "pay_url": page, "intent_id": intent_id, "order_no": order.order_no}
        if order.method == "wechat":
            stamp, nonce = str(int(order.created_at.timestamp())), intent_id[-16:]
            signed = self._sign(stamp, nonce, intent_id.encode())
            return {**common, "timeStamp": stamp, "nonceStr": nonce, "package": f"prepay_id={intent_id}", "signType": "HMAC-SHA256", "paySign": signed}
        if order.method == "alipay":
            return {**common, "order_string": f"out_trade_no={order.order_no}&trade_no={intent_id}"}
        if order.method == "stripe":
            return {**common, "client_secret": f"{intent_id}_secret_{self._sign('0', 'client', intent_id.encode())[:24]}"}
        return common

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        stamp, nonce, signature = (headers.get(name, "") for name in (TIMESTAMP, NONCE, SIGNATURE))
        if not _SECONDS.fullmatch(stamp) or not _NONCE_FORM.fullmatch(nonce):
            raise Unauthorized("the notice is not signed as it should be")
        if not hmac.compare_digest(self._sign(stamp, nonce, body).encode(), signature.encode("utf-8", "replace")):
            raise Unauthorized("the notice's signature does not hold")
        if abs(now.timestamp() - int(stamp)) > SKEW_SECONDS_MAX:
            raise Unauthorized("the notice was signed too long ago")

    def read(self, body: bytes) -> Notice:
        check_json(body)
        try:
            said = _Body.model_validate_json(body)
        except ValidationError:
            raise InvalidParameter.of("body", "sandbox-notice") from None
        payment = None
        if said.type == "payment.succeeded":
            if not said.transaction_id:
                raise InvalidParameter.of("transaction_id", "transaction-needed")
            payment = Payment(SANDBOX, said.id, said.order_no, said.merchant_id, said.intent_id, said.transaction_id, said.amount, said.currency)
        return Notice(said.id, said.order_no, payment)

    async def query(self, order: Order) -> Standing:
        async with self._db.read() as conn:
            return self._standing(await sandbox.find_intent_of(conn, self._vault, order.order_no))

    async def close(self, order: Order) -> Standing:
        async with self._db.read() as conn:
            return self._standing(await sandbox.close_intent(conn, self._vault, self._db.clock.now(), order.order_no))

    async def refund(self, order: Order, refund_id: UUID) -> bool:
        async with self._db.read() as conn:
            return await sandbox.refund_intent(conn, self._vault, self._db.clock.now(), order.order_no, refund_id)

    def _standing(self, intent: SandboxIntent | None) -> Standing:
        if intent is None:
            return Standing("absent")
        if intent.state in ("paid", "refunded"):
            return Standing("paid", self.read(self.notice_of(intent)).payment)
        return Standing("open" if intent.state == "open" else "declined" if intent.state == "declined" else "closed")

    # What the person on the pay page does

    async def find(self, intent_id: str) -> SandboxIntent | None:
        async with self._db.read() as conn:
            return await sandbox.find_intent(conn, self._vault, intent_id)

    async def pay(self, intent_id: str, *, refunds_refused: bool) -> SandboxIntent | None:
        async with self._db.read() as conn:
            intent = await sandbox.pay_intent(conn, self._vault, self._db.clock.now(), intent_id, refunds_refused=refunds_refused)
        if intent is not None and intent.state == "paid":
            await self.notify(intent)
        return intent

    async def decline(self, intent_id: str) -> SandboxIntent | None:
        async with self._db.read() as conn:
            intent = await sandbox.decline_intent(conn, self._vault, self._db.clock.now(), intent_id)
        if intent is not None and intent.state == "declined":
            await self.notify(intent)
        return intent

    # The notice

    def notice_of(self, intent: SandboxIntent) -> bytes:
        """The body of the notice about an intent; the same thing told again has the same id."""
        kind = "payment.declined" if intent.state == "declined" else "payment.succeeded"
        said = {
            "id": f"sbe_{intent.transaction_id or intent.intent_id}", "type": kind, "merchant_id": MERCHANT, "order_no": intent.order_no,
            "intent_id": intent.intent_id, "transaction_id": intent.transaction_id, "amount": intent.amount_minor, "currency": intent.currency,
        }  # fmt: skip
        return orjson.dumps(said)

    def headers_for(self, body: bytes) -> dict[str, str]:
        """The signature of a body, made now."""
        stamp, nonce = str(int(self._db.clock.now().timestamp())), secrets.token_urlsafe(18)
        return {TIMESTAMP: stamp, NONCE: nonce, SIGNATURE: self._sign(stamp, nonce, body), "Content-Type": "application/json"}

    async def notify(self, intent: SandboxIntent) -> None:
        """Tell the shop once. Should that fail, the shop asks by itself: it has to, for every provider."""
        body = self.notice_of(intent)
        try:
            deadline = aiohttp.ClientTimeout(total=_NOTIFY_SECONDS)
            async with self._http.post(self._notify_url, data=body, headers=self.headers_for(body), timeout=deadline, allow_redirects=False) as answer:
                log.info("sandbox.notified", order_no=intent.order_no, status=answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("sandbox.nobody_heard", order_no=intent.order_no, error=str(error)[:200])

    def _sign(self, stamp: str, nonce: str, body: bytes) -> str:
        return hmac.new(self._secret, f"{stamp}.{nonce}.".encode() + body, hashlib.sha256).hexdigest()
