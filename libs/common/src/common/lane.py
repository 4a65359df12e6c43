"""Many waiting callers become one batch, and each gets its own answer."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeVar

import structlog

from common.db import OutcomeUnknown, passes, repeats
from common.errors import Overloaded, ServiceError, Unavailable

log = structlog.get_logger()

Ask = TypeVar("Ask")
Answer = TypeVar("Answer")

_REPEATS_MAX = 8
_BUSY_ASKS = 4


class _Waiting(Generic[Ask, Answer]):
    __slots__ = ("answer", "ask", "until")

    def __init__(self, ask: Ask, answer: "asyncio.Future[Answer]", until: float) -> None:
        self.ask = ask
        self.answer = answer
        self.until = until


class Lane(Generic[Ask, Answer]):
    """Many callers, one batch: what waits is done together.

    `run` takes a list of asks and answers a list of the same length, item by item; a ServiceError in it is raised to its own caller.
    Only what is safe to repeat may run in a lane: a batch whose commit's outcome is unknown is run again.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Ask]], Awaitable[Sequence[Answer | ServiceError]]],
        *,
        name: str = "lane",
        batch_max: int = 256,
        waiting_max: int = 2048,
        flushers: int = 1,
        deadline_seconds: float = 10,
        pace_seconds: float = 0.004,
    ) -> None:
        self.name = name
        self._run = run
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._flushers = flushers
        self._deadline_seconds = deadline_seconds
        self._pace_seconds = pace_seconds
        self._waiting: deque[_Waiting[Ask, Answer]] = deque()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    async def __call__(self, ask: Ask) -> Answer:
        """Join the next batch. Raises the ask's own refusal, or Overloaded when too many wait already."""
        if len(self._waiting) >= self._waiting_max:
            raise Overloaded("too many are waiting")
        if self._stopping:
            raise Unavailable("stopping")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(ask, answer, time.monotonic() + self._deadline_seconds))
        self._wake.set()
        return await answer

    async def start(self) -> None:
        """Begin to serve; the lane owns its flushers until `stop`."""
        self._tasks = [asyncio.create_task(self._flush(), name=f"lane {self.name} {number}") for number in range(self._flushers)]

    async def stop(self) -> None:
        """Finish what waits, refuse what comes. When it is cut short, nobody is left waiting for an answer that will not come."""
        self._stopping = True
        self._wake.set()
        try:
            for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    raise ended
        finally:
            _refuse(self._waiting, Unavailable("stopping"))
            self._waiting.clear()

    async def __aenter__(self) -> "Lane[Ask, Answer]":
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def _flush(self) -> None:
        while True:
            if not self._waiting:
                if self._stopping:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            began = time.monotonic()
            try:
                await self._answer(batch)
            except asyncio.CancelledError:
                _refuse(batch, Unavailable("the outcome is unknown: repeat with the same key"))
                raise
            if len(batch) >= _BUSY_ASKS and not self._stopping:
                # Under load batches grow instead of becoming more; a quiet lane never waits.
                await asyncio.sleep(max(0.0, began + self._pace_seconds - time.monotonic()))

    def _take(self) -> list[_Waiting[Ask, Answer]]:
        taken: list[_Waiting[Ask, Answer]] = []
        now = time.monotonic()
        while self._waiting and len(taken) < self._batch_max:
            waiting = self._waiting.popleft()
            if waiting.until < now:
                _refuse([waiting], Overloaded("waited too long"))
            elif not waiting.answer.done():
                taken.append(waiting)
        return taken

    async def _answer(self, batch: list[_Waiting[Ask, Answer]], *, repeated: int = 0) -> None:
        if not batch:
            return
        try:
            answered = list(zip(batch, await self._run([waiting.ask for waiting in batch]), strict=True))
        except Exception as error:
            await self._recover(batch, error, repeated)
            return
        for waiting, answer in answered:
            if waiting.answer.done():
                continue
            if isinstance(answer, ServiceError):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)

    async def _recover(self, batch: list[_Waiting[Ask, Answer]], error: Exception, repeated: int) -> None:
        unknown = isinstance(error, OutcomeUnknown)
        if unknown or (repeats(error) and repeated < _REPEATS_MAX):
            log.warning("lane.repeated", lane=self.name, asks=len(batch), error=type(error).__name__)
            await asyncio.sleep(random.uniform(0.005, 0.02) * (2 ** min(repeated, 6)))
            now = time.monotonic()
            late = [waiting for waiting in batch if waiting.until < now]
            _refuse(late, Unavailable("the outcome is unknown: repeat with the same key"))
            await self._answer([waiting for waiting in batch if waiting.until >= now], repeated=repeated + 1)
        elif passes(error) or isinstance(error, ServiceError):
            _refuse(batch, error if isinstance(error, ServiceError) else Unavailable("not now"))
        elif len(batch) == 1:
            if not batch[0].answer.done():
                batch[0].answer.set_exception(error)
        else:
            log.warning("lane.split", lane=self.name, asks=len(batch), error=type(error).__name__)
            middle = len(batch) // 2
            await self._answer(batch[:middle])
            await self._answer(batch[middle:])


def _refuse(batch: Iterable[_Waiting[Ask, Answer]], error: ServiceError) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            # One instance per caller: a traceback grows on an exception that several tasks raise.
            fresh = type(error)(error.detail, data=error.data, errors=error.errors, retry_after_seconds=error.retry_after_seconds)
            waiting.answer.set_exception(fresh)
