"""Whoever holds the folder of an embedded suite may ask its services: a demo login, credits, health."""

from __future__ import annotations

import secrets
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from common.auth import ServiceTokens, read_private_key
from suite.home import Home, State, SuiteError
from suite.surroundings import OPERATOR, key_path

DEMO_EMAIL = "demo@darkroom.example"
ASK_SECONDS = 10


class Operator:
    """Asks a running suite over HTTP, as anybody would, and its services' internal routes with a token of its own."""

    def __init__(self, home: Home, state: State) -> None:
        self._home = home
        self._state = state

    async def demo_login(self) -> dict[str, Any]:
        """The demo person's account: signed up at the first call, logged in at every later one."""
        login = self._home.remembered("demo-login", lambda: {"email": DEMO_EMAIL, "password": secrets.token_urlsafe(12)})
        status, user = await self._ask("POST", f"{self._state.url}/login", login)
        if status == 401:
            status, user = await self._ask("POST", f"{self._state.url}/users", {"username": "demo", **login})
        if status not in (200, 201):
            raise SuiteError(f"The demo login does not work: the gateway answered {status}. `darkroom reset` starts from nothing.")
        return {**user, "password": login["password"]}

    async def grant(self, user_id: UUID, amount: int, *, asset: str) -> int:
        """Put credits in (or, with a negative amount, take them out); answers what is available then."""
        adjustment = {
            "adjustment_id": str(uuid4()), "user_id": str(user_id), "asset": asset, "amount": amount, "reason": "granted on the console", "by": OPERATOR,
        }  # fmt: skip
        url = self._state.environment["BILLING_URL"].split(",")[0] + "/internal/adjustments"
        status, answer = await self._ask("POST", url, {"adjustments": [adjustment]}, callee="billing")
        outcome = answer["outcomes"][0] if status == 200 else answer
        if status != 200 or not outcome["done"]:
            raise SuiteError(f"Billing refused: {outcome.get('detail') or outcome.get('code') or status}.")
        return int(outcome["available"])

    async def health(self) -> dict[str, Any]:
        """The gateway's view of the whole."""
        _, answer = await self._ask("GET", f"{self._state.url}/health", None)
        return answer

    async def _ask(self, method: str, url: str, body: object, *, callee: str | None = None) -> tuple[int, dict[str, Any]]:
        headers = {}
        if callee is not None:
            tokens = ServiceTokens(read_private_key(key_path(self._home, OPERATOR)), OPERATOR)
            headers["Authorization"] = f"Bearer {tokens.token_for(callee)}"
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.request(method, url, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None) or {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise SuiteError(f"{url} does not answer ({type(error).__name__}). `darkroom status` shows which part is away.") from error
