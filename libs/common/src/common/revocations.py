"""Which tokens ended before their time: identity's numbered list, kept in memory by every service that checks tokens."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import AccountDisabled, ServiceError, Unauthorized, Unavailable
from common.log import get_logger

POLL_SECONDS = 2.0
"""How stale the list may be; two polls and an answer stay under the five seconds that are promised."""
PAGE_MAX = 5000
PATH = "/internal/revocations"

_FIRST_PAUSE_SECONDS = 0.1
_HINT_PAUSE_SECONDS = 0.2
_READ_SECONDS = 2.0
_PAGE_BYTES_MAX = 8 * 1024 * 1024
_SWEEP_SECONDS = 60.0

Reason = Literal["logout", "changed", "disabled", "password", "reuse"]

log = get_logger()


class Revocation(BaseModel):
    """One row: the tokens of one session, or all that were signed for a user before it (whose own number is lower)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    number: int = Field(ge=1)
    user_id: UUID
    session_id: str | None = None
    reason: str
    expires_at: datetime


class RevocationPage(BaseModel):
    """Rows after a number, in order, and the highest number there is."""

    model_config = ConfigDict(extra="ignore")

    revocations: list[Revocation]
    head: int = Field(ge=0)


ReadPage = Callable[[int], Awaitable[RevocationPage]]
Listener = Callable[[Sequence[Revocation]], None]


class Revocations:
    """The list in memory. Read whole once, then what is new every two seconds, or at once after a hint.

    While its source is away it stays as it is. Before it was ever read nobody can be let in: `wait_known` raises Unavailable.
    """

    def __init__(self, read: ReadPage, *, now: Callable[[], float] = time.time) -> None:
        self._read_page = read
        self._now = now
        self._number = 0
        self._people: dict[UUID, Revocation] = {}
        self._sessions: dict[str, Revocation] = {}
        self._listeners: list[Listener] = []
        self._hinted = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._sweep_at = 0.0
        self.is_known = False

    def refusal_of(self, user_id: UUID, session_id: str | None, number: int) -> ServiceError | None:
        """Why this token ended, or None. `number` is the newest revocation of the user when the token was signed."""
        person = self._people.get(user_id)
        if person is not None and person.number > number:
            return AccountDisabled() if person.reason == "disabled" else Unauthorized("the session has ended")
        return Unauthorized("the session has ended") if session_id in self._sessions else None

    def listen(self, listener: Listener) -> None:
        """Be called with rows as they become known, also with those of the first reading; quick and synchronous."""
        self._listeners.append(listener)

    def hint(self) -> None:
        """Something was revoked just now: read at once."""
        self._hinted.set()

    async def wait_known(self) -> None:
        """Return once the list was read; raises Unavailable when it cannot be read now."""
        if not self.is_known:
            await self.read()

    async def read(self) -> None:
        """Take what is new; callers at the same time share one reading. Raises Unavailable."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="revocations read")
            self._reading.add_done_callback(self._read_ended)
        await asyncio.shield(self._reading)

    async def run(self) -> None:
        """Read again and again, until cancelled."""
        pause, well = _FIRST_PAUSE_SECONDS, True
        while True:
            try:
                await self.read()
            except Exception as error:
                if well:
                    log.warning("revocations.unreadable", cause=f"{type(error).__name__}: {error}"[:200])
                well = False
                pause = min(pause * 2, POLL_SECONDS) if not self.is_known else POLL_SECONDS
            else:
                well, pause = True, POLL_SECONDS
            await self._rest(pause)

    async def close(self) -> None:
        """Let a reading that is under way go."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _rest(self, seconds: float) -> None:
        if self._hinted.is_set():
            await asyncio.sleep(_HINT_PAUSE_SECONDS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hinted.wait()
        self._hinted.clear()

    async def _read(self) -> None:
        while True:
            page = await self._read_page(self._number)
            if page.head < self._number:
                # The list is another one now (a database put back from a copy): what it says begins anew, what we know stays.
                self._number = 0
                continue
            if page.revocations:
                self._take(page.revocations)
            if not page.revocations or self._number >= page.head:
                break
        self.is_known = True
        self._forget()

    def _take(self, rows: Sequence[Revocation]) -> None:
        for row in rows:
            if row.session_id is None:
                self._people[row.user_id] = row
            else:
                self._sessions[row.session_id] = row
        self._number = rows[-1].number
        for listener in self._listeners:
            try:
                listener(rows)
            except Exception as error:
                log.error("revocations.listener_failed", exc_info=error)

    def _forget(self) -> None:
        """Rows whose tokens have all expired by themselves say nothing any more."""
        now = self._now()
        if now < self._sweep_at:
            return
        self._sweep_at = now + _SWEEP_SECONDS
        over: list[Any] = [key for key, row in self._people.items() if row.expires_at.timestamp() < now]
        for key in over:
            del self._people[key]
        over = [key for key, row in self._sessions.items() if row.expires_at.timestamp() < now]
        for key in over:
            del self._sessions[key]

    def _read_ended(self, task: "asyncio.Task[None]") -> None:
        self._reading = None
        if not task.cancelled():
            task.exception()  # whoever waits is told; nobody may be waiting


class IdentitysList:
    """The list as identity answers it, asked with our service token; its addresses in turn."""

    def __init__(self, urls: Sequence[str], *, token: Callable[[], str]) -> None:
        self._urls = tuple(urls)
        self._token = token
        self._session: aiohttp.ClientSession | None = None

    async def read(self, after: int) -> RevocationPage:
        """The next page. Raises Unavailable when no identity answers it."""
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        headers = {"Authorization": f"Bearer {self._token()}", "Accept": "application/json"}
        why = "nobody was asked"
        for url in self._urls:
            try:
                async with (
                    asyncio.timeout(_READ_SECONDS),
                    self._session.get(f"{url}{PATH}", params={"after": after}, headers=headers, allow_redirects=False) as answer,
                ):
                    if answer.status == 200:
                        return RevocationPage.model_validate_json(await _read_all(answer))
                    why = f"identity answered {answer.status}"
            except (aiohttp.ClientError, OSError, TimeoutError, ValidationError) as error:
                why = type(error).__name__
        raise Unavailable(f"the list of ended sessions cannot be read now: {why}")

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()


async def _read_all(answer: aiohttp.ClientResponse) -> bytes:
    content = b""
    async for piece in answer.content.iter_any():
        content += piece
        if len(content) > _PAGE_BYTES_MAX:
            raise aiohttp.ClientPayloadError("the answer is too long")
    return content


@asynccontextmanager
async def following(read: ReadPage) -> AsyncIterator[Revocations]:
    """The list, kept up to date until the end."""
    revocations = Revocations(read)
    polling = asyncio.create_task(revocations.run(), name="revocations")
    try:
        yield revocations
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await revocations.close()


class HasRevocations(Protocol):
    """What a service's Deps must have to hear hints."""

    @property
    def revocations(self) -> Revocations | None: ...


async def on_session_revoked(deps: HasRevocations, _events: Sequence[Any]) -> None:
    """For a service's subscriptions: `subscriptions.overhear(SessionRevoked)(on_session_revoked)`. A hint; the list itself is polled."""
    if deps.revocations is not None:
        deps.revocations.hint()
