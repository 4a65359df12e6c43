"""Outsiders as a run of the contract plays them: n8n's workflows, WeChat, and the sandbox's bank, with secrets only they and the suite know."""

import asyncio
import hashlib
import hmac
import secrets
import time
from typing import Any, Self

import orjson
from aiohttp import web

from common.ids import new_id
from lab.simulator.application import Simulator, build
from lab.simulator.behaviour import Behaviour

ASKED_SECONDS = 30
APP_ID = "wx0123456789abcdef"
HELD = {"simulate": {"manner": "drop"}}
"""A task with these parameters is begun and never ended by its workflow."""
FAILING = {"simulate": {"manner": "fail"}}


class Callers:
    """Start it before the suite, and the suite with its `environment`."""

    def __init__(self) -> None:
        self.workflow_secret = secrets.token_urlsafe(32)
        self.payment_secret = secrets.token_urlsafe(32)
        self._asked: dict[str, dict[str, Any]] = {}
        self._url = ""

    async def __aenter__(self) -> Self:
        application = build(Simulator(self.workflow_secret, app_id=APP_ID, app_secret=self.workflow_secret, behaviour=Behaviour(delay_seconds=0)))
        application.middlewares.append(_noting(self._asked))
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._runner.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """What the suite is told."""
        return {
            "GENERATION_PROVIDER": "n8n",
            "GENERATION_N8N_URL": f"{self._url}/webhook",
            "GENERATION_N8N_SECRET": self.workflow_secret,
            "BILLING_SANDBOX_SECRET": self.payment_secret,
            "IDENTITY_WECHAT": "weixin",
            "IDENTITY_WECHAT_URL": self._url,
            "IDENTITY_WECHAT_APP_ID": APP_ID,
            "IDENTITY_WECHAT_APP_SECRET": self.workflow_secret,
        }

    async def asked(self, task_id: str) -> dict[str, Any]:
        """What the workflow of a task was told, its token too."""
        async with asyncio.timeout(ASKED_SECONDS):
            while task_id not in self._asked:
                await asyncio.sleep(0.05)
        return self._asked[task_id]

    @property
    def workflow_headers(self) -> dict[str, str]:
        """How a workflow shows that it is ours."""
        return {"X-Darkroom-Secret": self.workflow_secret}

    def notice(self, order_no: str, intent_id: str, *, amount: int, currency: str = "CNY") -> tuple[bytes, dict[str, str]]:
        """What the bank says when an order was paid, and its signature."""
        said = {
            "id": f"sbe_{new_id().hex}", "type": "payment.succeeded", "merchant_id": "darkroom-sandbox", "order_no": order_no, "intent_id": intent_id,
            "transaction_id": f"sbx_{new_id().hex}", "amount": amount, "currency": currency,
        }  # fmt: skip
        body = orjson.dumps(said)
        return body, self.payment_headers(body)

    def payment_headers(self, body: bytes) -> dict[str, str]:
        """The bank's signature of a body, made now."""
        stamp, nonce = str(int(time.time())), new_id().hex
        signature = hmac.new(self.payment_secret.encode(), f"{stamp}.{nonce}.".encode() + body, hashlib.sha256).hexdigest()
        return {"Sandbox-Timestamp": stamp, "Sandbox-Nonce": nonce, "Sandbox-Signature": signature, "Content-Type": "application/json"}


def _noting(notes: dict[str, dict[str, Any]]) -> Any:
    """Remembers, by task, what the webhooks are told."""

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/webhook/"):
            asked = await request.json()
            notes[asked["task_id"]] = asked
        answer: web.StreamResponse = await handler(request)
        return answer

    return note
