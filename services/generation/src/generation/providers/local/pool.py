"""The parent's side of the process pool: starts it lazily, bounds it, hears its progress, rebuilds it when it breaks."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from generation.providers.base import NotSent, ReportStep
from generation.providers.local import child

T = TypeVar("T")

MEMORY_BYTES_MAX = 2 * 1024**3
CPU_SECONDS_MAX = 60.0
WAITING_MAX = 256
RUNS_MAX = 2
"""A job that was in a pool when it broke is run once more: it may have been its neighbour's fault."""
WARM_SECONDS = 0.05
READ_BYTES = 65_536
PRELOADED = ("generation.providers.local.preload",)


class PoolBroken(Exception):
    """The worker died under this job more than once."""


class Pool:
    """Runs functions of this package in worker processes. Belongs to one event loop; `close` it.

    Nothing is started, and nothing heavy imported, before `warm` or the first `run`.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        cpu_seconds_max: float = CPU_SECONDS_MAX,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self.workers = workers or os.cpu_count() or 1
        self._memory_bytes_max = memory_bytes_max
        self._cpu_seconds_max = cpu_seconds_max
        self._waiting_max = waiting_max
        self._waiting = 0
        self._tokens = count(1)
        self._listeners: dict[int, ReportStep] = {}
        self._unread = b""
        self._pipe: tuple[Connection, Connection] | None = None
        self._executor: ProcessPoolExecutor | None = None
        self._starting = asyncio.Lock()
        self._closed = False

    async def warm(self) -> None:
        """Start the workers, so that the first person does not wait for imports."""
        await self._ready()

    async def run(self, job: Callable[..., T], *args: Any, report: ReportStep | None = None, **kwargs: Any) -> T:
        """Run a module-level function in a worker; with `report`, the function gets one too and its calls arrive here.

        Raises what the job raises, child.OverLimit, PoolBroken, or NotSent when too many wait or the pool is closed.
        """
        if self._closed or self._waiting >= self._waiting_max:
            raise NotSent("the local engine is closed" if self._closed else "the local engine has too much to do")
        token = next(self._tokens)
        if report:
            self._listeners[token] = report
        self._waiting += 1
        try:
            return await self._run(token, job, args, kwargs, tells_progress=report is not None)
        finally:
            self._waiting -= 1
            self._hear()
            self._listeners.pop(token, None)

    async def _run(self, token: int, job: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], *, tells_progress: bool) -> T:
        for _ in range(RUNS_MAX):
            executor = await self._ready()
            try:
                future = executor.submit(child.run_job, token, job, args, kwargs, tells_progress=tells_progress)
                return await self._outcome(future)
            except BrokenProcessPool:
                self._forget(executor)
            except child.Stopped:
                raise NotSent("the local engine is closed") from None
            except RuntimeError as error:
                if not self._closed:
                    raise
                raise NotSent("the local engine is closed") from error
        raise PoolBroken("the worker died under this job twice")

    async def _outcome(self, future: Future[T]) -> T:
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and future.cancelled() and task and not task.cancelling():
                raise NotSent("the local engine is closed") from None
            raise

    async def close(self) -> None:
        """Running jobs end at their next step, waiting ones are dropped; processes and threads are gone afterwards."""
        self._closed = True
        async with self._starting:
            executor, self._executor = self._executor, None
            self._close_pipe()
            if executor:
                await asyncio.to_thread(executor.shutdown, wait=True, cancel_futures=True)

    async def _ready(self) -> ProcessPoolExecutor:
        if self._executor:
            return self._executor
        async with self._starting:
            if self._closed:
                raise NotSent("the local engine is closed")
            if not self._executor:
                self._executor = await self._started()
            return self._executor

    async def _started(self) -> ProcessPoolExecutor:
        try:
            executor = await asyncio.to_thread(self._start)
            self._listen()
            await asyncio.gather(*(asyncio.wrap_future(executor.submit(child.idle, WARM_SECONDS)) for _ in range(self.workers)))
            return executor
        except BrokenProcessPool as error:
            raise PoolBroken("the workers do not start") from error

    def _start(self) -> ProcessPoolExecutor:
        """In a thread, because the first start waits until the fork server has imported numpy."""
        context = get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        if not self._pipe:
            self._pipe = context.Pipe(duplex=False)
            os.set_blocking(self._pipe[0].fileno(), False)
        executor = ProcessPoolExecutor(
            max_workers=self.workers,
            mp_context=context,
            initializer=child.start,
            initargs=(self._pipe[1], self._memory_bytes_max, self._cpu_seconds_max),
        )
        executor.submit(child.idle, 0).result()
        return executor

    def _forget(self, broken: ProcessPoolExecutor) -> None:
        if self._executor is broken:
            self._executor = None
            broken.shutdown(wait=False)

    # progress

    def _listen(self) -> None:
        assert self._pipe is not None
        asyncio.get_running_loop().add_reader(self._pipe[0].fileno(), self._hear)

    def _hear(self) -> None:
        """Take what the workers told; also called when a job ends, so that its last steps come before its result."""
        if not self._pipe:
            return
        try:
            self._unread += os.read(self._pipe[0].fileno(), READ_BYTES)
        except BlockingIOError:
            return
        *lines, self._unread = self._unread.split(b"\n")
        for line in lines:
            token, done, planned, doing = line.decode().split(" ", 3)
            listener = self._listeners.get(int(token))
            if listener:
                listener(int(done), int(planned), doing)

    def _close_pipe(self) -> None:
        if self._pipe:
            reader, writer = self._pipe
            asyncio.get_running_loop().remove_reader(reader.fileno())
            reader.close()
            writer.close()
            self._pipe = None
