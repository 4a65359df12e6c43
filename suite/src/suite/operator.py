"""Whoever holds the folder of an embedded suite may ask its services: a demo login, credits, health."""

from __future__ import annotations

import contextlib
import re
import secrets
from typing import Any
from uuid import UUID, uuid4

import aiohttp

from common.errors import InsufficientCredits
from suite.home import ENVELOPE, LOOKUP, OPERATOR, Home, State, SuiteError

DEMO_EMAIL = "demo@darkroom.example"
ADMIN_NAME = "admin"
ASK_SECONDS = 10
_TROUBLE = re.compile(r"^darkroom_(outbox_parked|dead_letters|consumer_stopped) (\S+)$", re.MULTILINE)
_TOLD = re.compile(r'^darkroom_facts_told_total\{topic="([^"]+)"\} (\S+)$', re.MULTILINE)


class TooLittle(SuiteError):
    """More should be taken from an account than it has."""

    def __init__(self, available: int) -> None:
        super().__init__(f"The account has only {available}.")
        self.available = available


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
        if status == 409:  # another command signed them up meanwhile
            status, user = await self._ask("POST", f"{self._state.url}/login", login)
        if status == 503:
            raise SuiteError("The demo login does not work right now: a part is away; `darkroom status` shows which.")
        if status not in (200, 201):
            raise SuiteError(f"The demo login does not work: the gateway answered {status} {user.get('code', '')}. `darkroom reset` starts from nothing.")
        return {**user, "password": login["password"]}

    async def admin_login(self) -> dict[str, str]:
        """The embedded run's operator: made at the first call, with a password only this folder's owner can read. Answers name, password and token."""
        login = self._home.remembered("admin-login", lambda: {"username": ADMIN_NAME, "password": secrets.token_urlsafe(15)})
        status, answer = await self._ask("POST", f"{self._state.url}/api/auth/admin/login", login)
        if status == 401:
            await self._ask("POST", self._address("IDENTITY") + "/internal/admins", login, callee="identity")
            status, answer = await self._ask("POST", f"{self._state.url}/api/auth/admin/login", login)
        if status != 200:
            raise SuiteError(f"The admin login does not work: the gateway answered {status}.")
        return {**login, "token": str(answer["data"]["token"])}

    async def grant(self, user_id: UUID, amount: int, *, asset: str) -> int:
        """Put credits in (or, with a negative amount, take them out); answers what is available then. Raises TooLittle."""
        adjustment = {
            "adjustment_id": str(uuid4()), "user_id": str(user_id), "asset": asset, "amount": amount, "reason": "granted on the console", "by": OPERATOR,
        }  # fmt: skip
        url = self._address("BILLING") + "/internal/adjustments"
        status, answer = await self._ask("POST", url, {"adjustments": [adjustment]}, callee="billing")
        outcome = answer["outcomes"][0] if status == 200 else answer
        if status == 200 and outcome.get("code") == InsufficientCredits.code:
            raise TooLittle(int((outcome.get("data") or {}).get("current", 0)))
        if status != 200 or not outcome["done"]:
            raise SuiteError(f"Billing refused: {outcome.get('detail') or outcome.get('code') or status}.")
        return int(outcome["available"])

    async def find_user(self, words: str) -> UUID:
        """A user by id, by e-mail, or the demo person."""
        if words == "demo":
            return UUID((await self.demo_login())["objectId"])
        if "@" in words:
            return await self._find_by_email(words)
        try:
            return UUID(words)
        except ValueError:
            raise SuiteError(f"{words} is neither a user's id nor an e-mail.") from None

    async def holds(self, task_ids: list[str]) -> dict[str, dict[str, Any]]:
        """What billing knows of these tasks' holds, by task."""
        url = self._address("BILLING") + "/internal/holds/list"
        status, answer = await self._ask("POST", url, {"task_ids": task_ids}, callee="billing")
        if status != 200:
            raise SuiteError(f"Billing did not tell of the holds: {status}.")
        return {hold["task_id"]: hold for hold in answer["holds"]}

    async def audit(self) -> dict[str, Any]:
        """Billing's audit: numbers that must be 0."""
        status, answer = await self._ask("GET", self._address("BILLING") + "/internal/audit", None, callee="billing")
        if status != 200:
            raise SuiteError(f"Billing did not answer for its audit: {status}.")
        return answer

    async def facts_told(self) -> dict[str, int]:
        """How many facts all services told since they started, by topic."""
        told: dict[str, int] = {}
        for url in (url for urls in self._state.admin_urls.values() for url in urls):
            for topic, count in _TOLD.findall(await self._text(f"{url}/metrics")):
                told[topic] = told.get(topic, 0) + int(float(count))
        return told

    async def troubles(self) -> dict[str, dict[str, int]]:
        """What needs somebody, by service: parked commits, dead letters, a stopped consumer. Services without any, or away, are left out."""
        found: dict[str, dict[str, int]] = {}
        for service, urls in self._state.admin_urls.items():
            for url in urls:
                with contextlib.suppress(SuiteError):
                    for what, number in _TROUBLE.findall(await self._text(f"{url}/metrics")):
                        if count := int(float(number)):
                            mine = found.setdefault(service, {})
                            mine[what] = max(mine.get(what, 0), count)  # replicas count the same rows
        return found

    async def health(self) -> dict[str, Any]:
        """The gateway's view of the whole."""
        _, answer = await self._ask("GET", f"{self._state.url}/health", None)
        return answer

    def _token_for(self, callee: str) -> str:
        # Slow to import, and most commands ask as anybody would.
        from common.auth import ServiceTokens, read_private_key

        return ServiceTokens(read_private_key(self._home.key_path(OPERATOR)), OPERATOR).token_for(callee)

    def _address(self, service: str) -> str:
        return self._state.environment[f"{service}_URL"].split(",")[0]

    async def _find_by_email(self, email: str) -> UUID:
        """Identity keeps a keyed hash of each address; whoever holds the folder holds the key."""
        # Only this look-up needs these, and small commands should start fast.
        import asyncpg

        from common.vault import Vault
        from identity.domain import normal_email

        try:
            address = normal_email(email)
        except ValueError as error:
            raise SuiteError(f"{email} {error}.") from None
        vault = Vault("identity", key_id="1", secret=self._home.secret(ENVELOPE), old_secrets={}, lookup_secret=self._home.secret(LOOKUP))
        connection = await asyncpg.connect(self._state.environment["IDENTITY_DATABASE_URL"])
        try:
            wanted = vault.lookup_hash("e-mail", address.encode())
            user_id = await connection.fetchval("SELECT user_id FROM credential WHERE email_hash = $1", wanted)
        finally:
            await connection.close()
        if user_id is None:
            raise SuiteError(f"Nobody signed up as {email}.")
        return UUID(str(user_id))

    async def _text(self, url: str) -> str:
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_SECONDS)) as session, session.get(url) as answer:
                return await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SuiteError(f"{url} does not answer ({type(error).__name__}).") from error

    async def _ask(self, method: str, url: str, body: object, *, callee: str | None = None) -> tuple[int, dict[str, Any]]:
        headers = {}
        if callee is not None:
            headers["Authorization"] = f"Bearer {self._token_for(callee)}"
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.request(method, url, json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None) or {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise SuiteError(f"{url} does not answer ({type(error).__name__}). `darkroom status` shows which part is away.") from error
