"""The service's own database: a pool with deadlines, and the transaction that also speaks."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import orjson
import structlog

from common.bus.envelope import ROW_FACTS_MAX, Outgoing, bundle, seal
from common.clock import Clock, DatabaseClock
from common.errors import Unavailable
from common.events.base import Fact
from common.trace import Trace, current_trace

log = structlog.get_logger()

_PASSING_STATES = ("08", "40", "53", "55P03", "57", "25006")
_DEMOTED_STATES = ("25006", "57P01")
# The driver says "cannot switch to state 12" (InternalClientError) of a connection that is cut while it looks up a statement's types.
_LOST = (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class OutcomeUnknown(Unavailable):
    """The COMMIT was sent and its answer was lost: repeat with the same ids."""


class Offers(Protocol):
    """Whoever takes committed outbox rows from memory (the relay)."""

    lease: timedelta

    def offer(self, rows: Sequence[Outgoing]) -> None: ...


def passes(error: BaseException) -> bool:
    """Whether an error is the weather (a connection, a lock, a restart) and the same work may succeed later."""
    if isinstance(error, asyncpg.PostgresError):
        return (error.sqlstate or "").startswith(_PASSING_STATES)
    return isinstance(error, (Unavailable, *_LOST))


def repeats(error: BaseException) -> bool:
    """Whether PostgreSQL asks for the same transaction again (deadlock, serialization)."""
    return isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith("40")


class Tx:
    """One transaction: its connection, its moment, what it says and what happens once it is true."""

    __slots__ = ("_after", "_outgoing", "conn", "now")

    def __init__(self, conn: asyncpg.Connection, now: datetime) -> None:
        self.conn = conn
        self.now = now
        self._outgoing: list[Outgoing] = []
        self._after: list[Callable[[], None]] = []

    def emit(self, *facts: Fact, trace: Trace | None = None) -> None:
        """Say these facts if and only if the transaction commits."""
        trace = trace or current_trace.get()
        self._outgoing.extend(seal(fact, self.now, trace) for fact in facts)

    def after_commit(self, fn: Callable[[], None]) -> None:
        """Run a quick, synchronous function once the commit is known to have happened; a crash may skip it."""
        self._after.append(fn)


class Database:
    """A pool whose every wait has a deadline.

    Acquiring waits at most `acquire_seconds`, a statement runs at most `statement_seconds`; both end as Unavailable (503).
    """

    def __init__(self, pool: asyncpg.Pool, clock: Clock, *, acquire_seconds: float) -> None:
        self._pool = pool
        self.clock = clock
        self._acquire_seconds = acquire_seconds
        self.relay: Offers | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        name: str,
        size: int = 8,
        clock: Clock | None = None,
        acquire_seconds: float = 1.5,
        statement_seconds: float = 5,
        lock_seconds: float = 2,
        idle_in_transaction_seconds: float = 10,
    ) -> "Database":
        """Connect; raises OSError or asyncpg errors when the database is away."""
        pool = await asyncpg.create_pool(
            url,
            min_size=1,
            max_size=size,
            command_timeout=statement_seconds + 1,
            timeout=acquire_seconds + 3,
            init=_prepare,
            reset=_keep,
            target_session_attrs="read-write",
            server_settings={
                "application_name": name,
                "jit": "off",
                "statement_timeout": str(int(statement_seconds * 1000)),
                "lock_timeout": str(int(lock_seconds * 1000)),
                "idle_in_transaction_session_timeout": str(int(idle_in_transaction_seconds * 1000)),
            },
        )
        database = cls(pool, clock or DatabaseClock(), acquire_seconds=acquire_seconds)
        await database.read_clock()
        return database

    async def close(self) -> None:
        """Close every connection; those still busy after two seconds are cut."""
        try:
            async with asyncio.timeout(2):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def read_clock(self) -> None:
        """Measure the offset to the database's clock; a fake clock stays as it is."""
        if not isinstance(self.clock, DatabaseClock):
            return
        asked_at = time.monotonic()
        now = await self.fetchval("SELECT clock_timestamp()")
        self.clock.set(now, asked_at=asked_at, answered_at=time.monotonic())

    async def check_writable(self) -> None:
        """Raises Unavailable when the database is away or became a replica."""
        if await self.fetchval("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"):
            await self._pool.expire_connections()
            raise Unavailable("the database is read-only")

    @asynccontextmanager
    async def read(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection for single statements, outside any transaction."""
        async with self._acquired() as conn:
            try:
                yield conn
            except Exception as error:
                raise await self._translated(error) from error

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """All rows of one statement."""
        async with self.read() as conn:
            rows: list[asyncpg.Record] = await conn.fetch(sql, *args)
            return rows

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        """The first row of one statement, or None."""
        async with self.read() as conn:
            return await conn.fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: object) -> Any:
        """The first column of the first row of one statement."""
        async with self.read() as conn:
            return await conn.fetchval(sql, *args)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Everything inside commits together with the facts it emits, or not at all.

        Raises OutcomeUnknown when the COMMIT was sent and its answer was lost, Unavailable when it surely did not commit.
        """
        async with self._acquired() as conn:
            try:
                await conn.execute("BEGIN")
                tx = Tx(conn, self.clock.now())
                yield tx
                if tx._outgoing:
                    await _insert_outbox(conn, tx._outgoing, tx.now, self._lease)
            except BaseException as error:
                await _roll_back(conn)
                if isinstance(error, Exception):
                    raise await self._translated(error) from error
                raise
            await self._commit(conn)
        if tx._outgoing and self.relay is not None:
            self.relay.offer(tx._outgoing)
        for fn in tx._after:
            fn()

    @property
    def _lease(self) -> timedelta:
        # Without a relay in this process the rows are free for the first sweep.
        return self.relay.lease if self.relay is not None else timedelta(0)

    async def _commit(self, conn: asyncpg.Connection) -> None:
        try:
            tag = await conn.execute("COMMIT")
        except asyncpg.PostgresError as error:
            if (error.sqlstate or "").startswith(("08", "57")):
                _cut(conn)
                raise OutcomeUnknown("the answer to a commit was lost") from error
            raise  # the server refused: rolled back for certain
        except BaseException as error:
            _cut(conn)
            if isinstance(error, Exception):
                raise OutcomeUnknown("the answer to a commit was lost") from error
            raise
        if tag != "COMMIT":
            raise RuntimeError("an error inside the transaction was swallowed; it was rolled back")

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            async with asyncio.timeout(self._acquire_seconds):
                conn = await self._pool.acquire()
        except (asyncpg.PostgresError, *_LOST) as error:
            raise Unavailable("the database cannot be reached now") from error
        try:
            yield conn
        finally:
            # The pool cuts a connection that does not come to rest and complains; what became of the work on it is known already.
            with contextlib.suppress(asyncpg.PostgresError, *_LOST):
                await self._pool.release(conn, timeout=2)

    async def _translated(self, error: Exception) -> Exception:
        state = getattr(error, "sqlstate", None) or ""
        if state.startswith(_DEMOTED_STATES):
            await self._pool.expire_connections()
        weather = isinstance(error, _LOST) or state.startswith(("08", "53", "55P03", "57", "25006"))
        return Unavailable("the database cannot be reached now") if weather else error


async def _prepare(conn: asyncpg.Connection) -> None:
    await conn.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value, default=_plain),
        decoder=lambda raw: orjson.loads(raw[1:]),
    )


def _plain(value: object) -> object:
    """What orjson does not write by itself: it knows uuid.UUID, but not the driver's subclass."""
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(type(value).__name__)


async def _keep(conn: asyncpg.Connection) -> None:
    """Instead of asyncpg's reset query, which costs a third of small reads: sessions here never change their settings."""


async def _roll_back(conn: asyncpg.Connection) -> None:
    try:
        async with asyncio.timeout(2):
            await conn.execute("ROLLBACK")
    except (asyncpg.PostgresError, *_LOST):
        _cut(conn)
    except BaseException:
        _cut(conn)
        raise


def _cut(conn: asyncpg.Connection) -> None:
    # The pool takes a connection back by itself once it is lost; then there is nothing left to cut.
    with contextlib.suppress(asyncpg.InterfaceError):
        conn.terminate()


async def _insert_outbox(conn: asyncpg.Connection, outgoing: Sequence[Outgoing], now: datetime, lease: timedelta) -> None:
    for start in range(0, len(outgoing), ROW_FACTS_MAX):
        facts = outgoing[start : start + ROW_FACTS_MAX]
        position = await conn.fetchval(
            "INSERT INTO outbox (facts, created_at, leased_until) VALUES ($1, $2, $3) RETURNING position", bundle(facts), now, now + lease
        )
        for place, fact in enumerate(facts):
            fact.position, fact.place = position, place
