"""Connected sockets: who listens, what each has been sent, and one write per socket and turn of the loop."""

import asyncio
import random
import struct
import time
from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol
from uuid import UUID

import orjson
import structlog
from aiohttp import web

from common.errors import AccountDisabled
from common.events import TaskProgressed
from common.ids import new_id
from common.messages import Lang
from common.revocations import Revocation, Revocations
from notify.domain import Notice
from notify.schemas.frames import SignUrl, render_notice, render_progress

log = structlog.get_logger()

BAD_TOKEN, DISABLED, GAP = 4500, 4507, 4010
_PAGE = 200
_ENDED_MAX = 10_000
_BUFFER_BYTES_MAX = 256 * 1024
_HINT_SECONDS = 0.05
"""So long a hint, or that a work is there, waits for company: a write costs more than what is in it, here and in every process on the way."""


class ListNotices(Protocol):
    """Reads a user's notices after a number."""

    async def __call__(self, user_id: UUID, *, after_seq: int, limit: int) -> list[Notice]: ...


class Connection:
    """One socket. `sent` is the last number written: a push is written only when it is the next one, else the rows are read."""

    def __init__(
        self,
        hub: "Hub",
        user_id: UUID,
        ws: web.WebSocketResponse,
        transport: asyncio.Transport,
        *,
        expires_at: float,
        session_id: str | None = None,
        revocation_number: int = 0,
        lang: Lang = "zh",
    ) -> None:
        self.user_id = user_id
        self.lang = lang
        self.ws = ws
        self.expires_at = expires_at
        self.session_id = session_id
        self.revocation_number = revocation_number
        self.heard_at = time.monotonic()
        self.sent = 0
        self.live = False
        self.welcomed = False
        self._hub = hub
        self._transport = transport
        self._frames: list[bytes] = []
        self._volatile: dict[tuple[str, object], bytes] = {}
        self._progress_at: dict[object, float] = {}
        self._known_seq = 0
        self._soon = False
        self._later: asyncio.TimerHandle | None = None
        self._slow_since: float | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self._closed = False

    def offer(self, notice: Notice) -> None:
        """A notice just stored: written if it is the next, read from the rows if something is between."""
        self._known_seq = max(self._known_seq, notice.seq)
        if not self.live or notice.seq <= self.sent:
            return
        if notice.seq == self.sent + 1:
            self.sent = notice.seq
            self._put(self._hub.render(notice, self.lang), seconds=_HINT_SECONDS if notice.type == "work_created" else 0)
        else:
            self.catch_up()

    def tell_head(self, seq: int) -> None:
        """Another replica stored something: read the rows when ours are behind."""
        self._known_seq = max(self._known_seq, seq)
        if self.live and seq > self.sent:
            self.catch_up()

    def catch_up(self) -> None:
        """Read the rows after `sent` until there are none, then listen to pushes again."""
        if self._catching_up is None and not self._closed:
            self.live = False
            self._catching_up = asyncio.create_task(self._read_rows(), name="socket catches up")

    def hint(self, kind: str, about: object, frame: bytes) -> None:
        """A volatile frame: replaces the one about the same thing that is still waiting."""
        if self.welcomed and not self._closed:
            self._volatile[(kind, about)] = frame
            self._schedule(_HINT_SECONDS)

    def welcome(self, frame: bytes) -> None:
        """The first frame of all; then what was missed, then what comes."""
        self.welcomed = True
        self._put(frame)
        self.catch_up()

    def say(self, frame: bytes) -> None:
        """A frame that is neither stored nor merged (pong, answers)."""
        self._put(frame)

    def flush(self) -> None:
        """Everything that waits, in one write."""
        self._soon = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._closed or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() > _BUFFER_BYTES_MAX:
            self._wait_for_client()
            return
        self._slow_since = None
        frames, self._frames = self._frames, []
        now = time.monotonic() if self._volatile else 0.0
        later: dict[tuple[str, object], bytes] = {}
        for (kind, about), frame in self._volatile.items():
            if kind == "progress" and now - self._progress_at.get(about, 0.0) < self._hub.progress_every_seconds:
                later[(kind, about)] = frame
                continue
            if kind == "progress":
                self._progress_at[about] = now
            frames.append(frame)
        self._volatile = later
        if later:
            self._schedule(self._hub.progress_every_seconds / 2)
        if frames:
            self._transport.write(b"".join(map(_text_frame, frames)))

    def forget_task(self, task_id: str) -> None:
        """No progress after the end; before it at least one step, so one that was the first still goes."""
        step = self._volatile.pop(("progress", task_id), None)
        if self._progress_at.pop(task_id, None) is None and step is not None:
            self._put(step)

    def ping(self) -> None:
        """Ask whether the client is there."""
        if not self._transport.is_closing():
            self._transport.write(b"\x89\x00")

    async def close(self, code: int, reason: bytes = b"") -> None:
        """Say goodbye with a code; safe to call again."""
        if self._closed:
            return
        self.flush()
        self._closed = True
        self.cancel()
        try:
            async with asyncio.timeout(2):
                await self.ws.close(code=code, message=reason)
        except (TimeoutError, ConnectionError, RuntimeError):
            self._transport.abort()

    def cancel(self) -> None:
        """Stop what runs for this socket."""
        self._closed = True
        if self._catching_up is not None:
            self._catching_up.cancel()

    async def _read_rows(self) -> None:
        try:
            while not self._closed:
                known_before = self._known_seq
                notices = await self._hub.list_notices(self.user_id, after_seq=self.sent, limit=_PAGE)
                if (notices[0].seq if notices else max(known_before, self.sent) + 1) != self.sent + 1:
                    # What comes next was forgotten meanwhile; asking again brings it no nearer, and leaving it out would go unseen.
                    self._hub.close_later(self, GAP)
                    return
                for notice in notices:
                    self.sent = notice.seq
                    self._put(self._hub.render(notice, self.lang))
                while len(self._frames) >= _PAGE and not self._closed:
                    await asyncio.sleep(0.01)  # a client that reads slowly is not given the whole feed at once
                if len(notices) < _PAGE and self._known_seq <= self.sent:
                    self.live = True
                    return
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.warning("socket.catch_up_failed", error=type(error).__name__)
            self._hub.close_later(self, GAP)
        finally:
            self._catching_up = None

    def _put(self, frame: bytes, *, seconds: float = 0) -> None:
        if self._closed:
            return
        self._frames.append(frame)
        if len(self._frames) > self._hub.frames_waiting_max:
            self.flush()  # much may come for one user in one turn; slow is only who does not take it
        if len(self._frames) > self._hub.frames_waiting_max:
            # What is stored stays in the feed; the client resumes from its last number.
            self._volatile.clear()
            self._hub.close_later(self, 4008)
        self._schedule(seconds)

    def _schedule(self, seconds: float = 0) -> None:
        """Flush within so long; what is to be written at once takes along what waits."""
        if self._soon or (seconds and self._later is not None):
            return
        loop = asyncio.get_running_loop()
        if seconds:
            self._later = loop.call_later(seconds, self.flush)
        else:
            self._soon = True
            loop.call_soon(self.flush)

    def _wait_for_client(self) -> None:
        now = time.monotonic()
        if self._slow_since is None:
            self._slow_since = now
        if now - self._slow_since > self._hub.send_seconds:
            self._hub.close_later(self, 4008)
        else:
            self._schedule(0.05)


class Hub:
    """Every socket of this process, by user."""

    def __init__(
        self,
        *,
        list_notices: ListNotices,
        sign: SignUrl,
        frames_waiting_max: int,
        send_seconds: float,
        progress_every_seconds: float,
        sockets_per_user_max: int,
    ) -> None:
        self.list_notices = list_notices
        self.origin = new_id().hex
        """Names this process in the hints it gives to others."""
        self.frames_waiting_max = frames_waiting_max
        self.send_seconds = send_seconds
        self.progress_every_seconds = progress_every_seconds
        self._sign = sign
        self._sockets_per_user_max = sockets_per_user_max
        # By the number of the user's id: the hash and the comparison of a UUID itself run in Python.
        self._by_user: dict[int, list[Connection]] = {}
        self._progress: dict[str, tuple[int, int]] = {}
        self._credits: dict[tuple[int, str], int] = {}
        self._ended: dict[str, None] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def render(self, notice: Notice, lang: Lang) -> bytes:
        """A notice's frame, URLs signed now."""
        return render_notice(notice, self._sign, lang)

    def is_connected(self, user_id: UUID) -> bool:
        return user_id.int in self._by_user

    def is_full(self, user_id: UUID) -> bool:
        """Whether this user has as many sockets as one may have."""
        return len(self._by_user.get(user_id.int, ())) >= self._sockets_per_user_max

    def add(self, connection: Connection) -> None:
        self._by_user.setdefault(connection.user_id.int, []).append(connection)

    def remove(self, connection: Connection) -> None:
        connection.cancel()
        mine = self._by_user.get(connection.user_id.int, [])
        if connection in mine:
            mine.remove(connection)
        if not mine:
            self._by_user.pop(connection.user_id.int, None)

    def connections(self) -> list[Connection]:
        return [connection for mine in self._by_user.values() for connection in mine]

    def users(self) -> list[UUID]:
        return [mine[0].user_id for mine in self._by_user.values()]

    def push_notices(self, notices: Sequence[Notice]) -> None:
        """What this process just stored, to its own sockets, from memory."""
        for notice in notices:
            listeners = self._by_user.get(notice.user_id.int, ())
            if notice.type.startswith("task_"):
                task_id = notice.payload["task_id"]
                _remember(self._ended, task_id, None)
                for connection in listeners:
                    connection.forget_task(task_id)
            for connection in listeners:
                connection.offer(notice)

    def push_heads(self, heads: dict[UUID, int]) -> None:
        """What other replicas stored: only the numbers."""
        for user_id, seq in heads.items():
            for connection in self._by_user.get(user_id.int, ()):
                connection.tell_head(seq)

    def moves_on(self, task_id: str, order: tuple[int, int]) -> bool:
        """Whether this step of a task is the furthest yet, and before its end. Progress only rises: by claim, then number."""
        if task_id in self._ended or order <= self._progress.get(task_id, (0, 0)):
            return False
        _remember(self._progress, task_id, order)
        return True

    def push_progress(self, fact: TaskProgressed, task_id: str, at_ms: int) -> None:
        """A step of a running task, rendered once for sockets of one language that follow each other."""
        frame, lang = b"", None
        for connection in self._by_user.get(fact.user_id.int, ()):
            if connection.lang != lang:
                lang = connection.lang
                frame = render_progress(fact, at_ms, lang)
            connection.hint("progress", task_id, frame)

    def push_credits(self, user_id: UUID, asset: str, version: int, frame: bytes) -> None:
        """The newest version of an account wins."""
        account = user_id.int, asset
        if version <= self._credits.get(account, 0):
            return
        _remember(self._credits, account, version)
        for connection in self._by_user.get(user_id.int, ()):
            connection.hint("credits", asset, frame)

    def end_revoked(self, revocations: Revocations, rows: Sequence[Revocation]) -> None:
        """Close the sockets whose tokens ended with these rows: whoever was let in stays in only while the token is good."""
        for user_id in {row.user_id for row in rows}:
            for connection in list(self._by_user.get(user_id.int, ())):
                refusal = revocations.refusal_of(user_id, connection.session_id, connection.revocation_number)
                if isinstance(refusal, AccountDisabled):
                    self.close_later(connection, DISABLED, b"the account is disabled")
                elif refusal is not None:
                    self.close_later(connection, BAD_TOKEN, b"the session has ended")

    def close_later(self, connection: Connection, code: int, reason: bytes = b"") -> None:
        """Close from where nobody can wait."""
        task = asyncio.create_task(connection.close(code, reason), name="socket closes")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close_all(self) -> None:
        """The process stops: everybody is told when to come back, spread over three seconds."""
        await asyncio.gather(*(connection.close(1001, _retry_hint()) for connection in self.connections()))


def _remember(table: dict[Any, Any], key: object, value: object) -> None:
    table.pop(key, None)
    table[key] = value
    if len(table) > _ENDED_MAX:
        # Many at once: finding the first of a dict walks over all that was taken out of its front before.
        for old in list(islice(table, _ENDED_MAX // 10)):
            del table[old]


def _retry_hint() -> bytes:
    return orjson.dumps({"retry_after_ms": random.randint(200, 3000)})


def _text_frame(payload: bytes) -> bytes:
    """An unmasked, unfragmented text frame (RFC 6455 5.2)."""
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes((size,)) + payload
    if size < 65536:
        return b"\x81\x7e" + struct.pack("!H", size) + payload
    return b"\x81\x7f" + struct.pack("!Q", size) + payload
