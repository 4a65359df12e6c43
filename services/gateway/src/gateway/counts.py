"""The store all replicas share (Redis): what was counted by any of them, and which nonces were seen. Never waited for longer than a moment."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from math import ceil
from types import TracebackType
from typing import Any, Self

import structlog
from limits.aio.storage import RedisStorage
from prometheus_client import Gauge
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.limits import Visit

log = structlog.get_logger()

_VISITS_MAX = 512
_WAITING_MAX = 8192
_PREFIX = "darkroom:"


class StoreAway(Exception):
    """It does not answer; go on without."""


class Store:
    """One Redis (or Sentinel, or Cluster: any URL the library `limits` takes), behind a breaker.

    The first call that fails opens it: from then on nobody waits, and `run` looks every `pause_seconds` whether it is back.
    """

    def __init__(self, url: str, *, wait_seconds: float, pause_seconds: float, up: Gauge | None = None) -> None:
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
        with contextlib.suppress(RedisError, OSError, TimeoutError):
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

    async def claim(self, name: str, *, seconds: int) -> bool:
        """Whether nobody claimed this name in the last `seconds`; from now on it is claimed. Raises StoreAway."""
        return bool(await self._within(partial(self._redis.set, f"{_PREFIX}once/{name}", 1, ex=seconds, nx=True)))

    async def run(self, draining: asyncio.Event) -> None:
        """While it is away, look whether it is back; until draining."""
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
        except (RedisError, OSError, TimeoutError):
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
        except (RedisError, OSError, TimeoutError) as error:
            if not self._is_away:
                self._is_away = True
                self._tell()
                log.warning("limits.store_is_away", cause=type(error).__name__)
            raise StoreAway() from error

    def _tell(self) -> None:
        if self._up is not None:
            self._up.set(0 if self._is_away else 1)


Decided = Callable[[Visit], None]


class SharedCounts:
    """Many requests, one round trip: what waits is counted together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: deque[tuple[Visit, Decided]] = deque()
        self._wanted = asyncio.Event()
        self._runs = False

    def ask(self, visit: Visit, decided: Decided) -> None:
        """Decide by what all replicas counted; `decided` is called once, at once where the store is away."""
        if self._store.is_away or not self._runs or len(self._waiting) >= _WAITING_MAX:
            decided(visit)
            return
        self._waiting.append((visit, decided))
        self._wanted.set()

    async def decide(self, visit: Visit) -> None:
        """The same for a coroutine."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ask(visit, lambda _: None if done.done() else done.set_result(None))
        await done

    async def run(self, draining: asyncio.Event) -> None:
        """Count what waits, until draining."""
        self._runs = True
        try:
            async with asyncio.TaskGroup() as group:
                counting = group.create_task(self._count_for_ever(), name="shared counts")
                await draining.wait()
                self._runs = False
                counting.cancel()
        finally:
            self._runs = False
            self._let_go(list(self._waiting))
            self._waiting.clear()

    async def _count_for_ever(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _VISITS_MAX))]
                try:
                    await self._count(batch)
                except StoreAway:
                    pass  # what this replica counted itself decides
                finally:
                    self._let_go(batch)

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
