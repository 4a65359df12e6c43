"""The store all replicas share (Redis): what was counted by any of them, and which nonces were seen. Never waited for longer than a moment."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import ceil
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import structlog
from prometheus_client import Gauge

from gateway.limits import Visit

log = structlog.get_logger()

_BATCH_MAX = 512
_WAITING_MAX = 8192
_PREFIX = "darkroom:"


class StoreAway(Exception):
    """It does not answer; go on without."""


class Store:
    """One Redis (or Sentinel, or Cluster: any URL the library `limits` takes), behind a breaker.

    The first call that fails opens it: from then on nobody waits, and `run` looks every `pause_seconds` whether it is back.
    """

    def __init__(self, url: str, *, wait_seconds: float, pause_seconds: float, up: Gauge | None = None) -> None:
        # Slow to import, and a gateway that counts alone never needs them.
        from limits.aio.storage import RedisStorage
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError

        self._failures = (RedisError, OSError, TimeoutError)
        # A repeat would wait again: whoever asks goes on without the store instead.
        retry = Retry(NoBackoff(), 0)
        options: dict[str, Any] = {"socket_timeout": wait_seconds, "socket_connect_timeout": wait_seconds, "retry": retry}
        bridge: Any = RedisStorage(url, implementation="redispy", **options).bridge
        self._redis: Any = bridge.get_connection()
        self._wait_seconds = wait_seconds
        self._pause_seconds = pause_seconds
        self._up = up
        self._is_away = False
        self._tell()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with contextlib.suppress(*self._failures):
            async with asyncio.timeout(1):
                await self._redis.aclose()

    @property
    def is_away(self) -> bool:
        return self._is_away

    async def count(self, wanted: Sequence[tuple[str, int, int]]) -> list[tuple[int, int]]:
        """For each (key, window in seconds, how many more): the sum so far and the milliseconds its window still lasts. Raises StoreAway."""
        pipe = self._redis.pipeline(transaction=False)
        for key, seconds, more in wanted:
            pipe.set(_PREFIX + key, 0, ex=seconds, nx=True)
            pipe.incrby(_PREFIX + key, more)
            pipe.pttl(_PREFIX + key)
        said = await self._within(pipe.execute)
        counted = [(int(said[at + 1]), int(said[at + 2])) for at in range(0, len(said), 3)]
        # A window that ended between two of the commands was begun anew without an end.
        endless = [(key, seconds) for (key, seconds, _), (_, left) in zip(wanted, counted, strict=True) if left < 0]
        for key, seconds in endless:
            await self._within(partial(self._redis.expire, _PREFIX + key, seconds))
        return [(sum_, left if left >= 0 else seconds * 1000) for (_, seconds, _), (sum_, left) in zip(wanted, counted, strict=True)]

    async def claim(self, names: Sequence[str], *, seconds: int) -> list[bool]:
        """Of each name whether nobody claimed it in the last `seconds`; from now on it is claimed. Raises StoreAway."""
        pipe = self._redis.pipeline(transaction=False)
        for name in names:
            pipe.set(f"{_PREFIX}once/{name}", 1, ex=seconds, nx=True)
        return [bool(one) for one in await self._within(pipe.execute)]

    async def run(self, draining: asyncio.Event) -> None:
        """While it is away, look whether it is back; until draining. The first look connects, so that no request has to."""
        with contextlib.suppress(StoreAway):
            await self._within(self._redis.ping)
        while not draining.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_seconds):
                    await draining.wait()
            if self._is_away:
                await self._look()

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._redis.ping()
        except self._failures:
            return
        self._is_away = False
        self._tell()
        log.info("limits.store_is_back")

    async def _within(self, call: Callable[[], Awaitable[Any]]) -> Any:
        if self._is_away:
            raise StoreAway()
        try:
            async with asyncio.timeout(self._wait_seconds):
                return await call()
        except self._failures as error:
            if not self._is_away:
                self._is_away = True
                self._tell()
                log.warning("limits.store_is_away", cause=type(error).__name__)
            raise StoreAway() from error

    def _tell(self) -> None:
        if self._up is not None:
            self._up.set(0 if self._is_away else 1)


Item = TypeVar("Item")


class Rounds(Generic[Item]):
    """Many callers, one round trip: what waits goes together, one batch after the other."""

    def __init__(self, take: Callable[[list[Item]], Awaitable[None]], let_go: Callable[[list[Item]], None]) -> None:
        self._take = take
        self._let_go = let_go
        self._waiting: deque[Item] = deque()
        self._wanted = asyncio.Event()
        self._runs = False

    def add(self, item: Item) -> bool:
        """Join the next batch; False when there is no room or nobody runs it. Every item that joined is let go again."""
        if not self._runs or len(self._waiting) >= _WAITING_MAX:
            return False
        self._waiting.append(item)
        self._wanted.set()
        return True

    async def run(self, draining: asyncio.Event) -> None:
        """Until draining."""
        self._runs = True
        try:
            async with asyncio.TaskGroup() as group:
                taking = group.create_task(self._take_for_ever(), name="rounds to the store")
                await draining.wait()
                self._runs = False
                taking.cancel()
        finally:
            self._runs = False
            self._let_go(list(self._waiting))
            self._waiting.clear()

    async def _take_for_ever(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH_MAX))]
                try:
                    await self._take(batch)
                except StoreAway:
                    pass
                finally:
                    self._let_go(batch)


Decided = Callable[[Visit], None]


class SharedCounts:
    """What all replicas counted, together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rounds: Rounds[tuple[Visit, Decided]] = Rounds(self._count, self._let_go)
        self.run = self._rounds.run

    def ask(self, visit: Visit, decided: Decided) -> None:
        """Decide by what all replicas counted. `decided` is called once; with what this replica counted itself where the store is away."""
        if self._store.is_away or not self._rounds.add((visit, decided)):
            decided(visit)

    async def decide(self, visit: Visit) -> None:
        """The same for a coroutine."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ask(visit, lambda _: None if done.done() else done.set_result(None))
        await done

    async def _count(self, batch: list[tuple[Visit, Decided]]) -> None:
        windows: dict[str, list[int]] = {}
        for visit, _ in batch:
            for key, budget in zip(visit.keys, visit.plan.budgets, strict=True):
                windows.setdefault(key, [budget.window_seconds, 0])[1] += 1
        said = await self._store.count([(key, seconds, more) for key, (seconds, more) in windows.items()])
        before = {key: sum_ - more for (key, (_, more)), (sum_, _) in zip(windows.items(), said, strict=True)}
        left = {key: max(1, ceil(milliseconds / 1000)) for key, (_, milliseconds) in zip(windows, said, strict=True)}
        for visit, _ in batch:
            for key in visit.keys:
                before[key] += 1
            visit.decide([before[key] for key in visit.keys], [left[key] for key in visit.keys])

    @staticmethod
    def _let_go(batch: Sequence[tuple[Visit, Decided]]) -> None:
        for visit, decided in batch:
            try:
                decided(visit)
            except Exception as error:  # one connection's trouble must not stop the counting of all
                log.error("limits.decision_failed", exc_info=error)


class SharedNames:
    """Names that are taken once by all replicas, for a while."""

    def __init__(self, store: Store, *, seconds: int) -> None:
        self._store = store
        self._seconds = seconds
        self._rounds: Rounds[tuple[str, asyncio.Future[bool]]] = Rounds(self._claim, self._let_go)
        self.run = self._rounds.run

    async def claim(self, name: str) -> bool:
        """Whether this is the first claim; raises StoreAway when that cannot be known."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if self._store.is_away or not self._rounds.add((name, done)):
            raise StoreAway()
        return await done

    async def _claim(self, batch: list[tuple[str, asyncio.Future[bool]]]) -> None:
        said = await self._store.claim([name for name, _ in batch], seconds=self._seconds)
        for (_, done), is_first in zip(batch, said, strict=True):
            if not done.done():
                done.set_result(is_first)

    @staticmethod
    def _let_go(batch: Sequence[tuple[str, "asyncio.Future[bool]"]]) -> None:
        for _, done in batch:
            if not done.done():
                done.set_exception(StoreAway())
