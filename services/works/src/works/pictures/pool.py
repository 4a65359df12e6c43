"""The processes in which strangers' pictures are decoded: few, started when needed, bounded in memory and CPU, dead when we are."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from common.errors import FileTooLarge, FileUnreadable, Overloaded, ServiceError, Unavailable

log = structlog.get_logger()

_REFUSALS: Mapping[str, type[ServiceError]] = {"too-large": FileTooLarge, "unreadable": FileUnreadable}
_ANSWER_BYTES_MAX = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLimits:
    """What one picture may be and take. A job over its CPU seconds is refused, one that only waited too long is not its sender's fault."""

    pixels_max: int = 40_000_000
    side_max: int = 12_000
    memory_bytes_max: int = 1024**3
    output_bytes_max: int = 192 * 1024**2
    cpu_seconds_max: int = 20
    wait_seconds: float = 60
    idle_seconds: float = 60
    jobs_per_process_max: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanPicture:
    """A picture after it was decoded, turned upright, stripped and encoded again."""

    content_type: str
    extension: str
    width: int
    height: int
    size_bytes: int
    md5: str
    sha256: str


class _Gone(Exception):
    """The process ended; `cause` is its exit code."""

    def __init__(self, cause: int) -> None:
        super().__init__(cause)
        self.cause = cause


class _Child:
    """One process and what it was asked."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.jobs = 0

    @classmethod
    async def start(cls, limits: PictureLimits) -> "_Child":
        given = {
            "parent": os.getpid(),
            "pixels_max": limits.pixels_max,
            "side_max": limits.side_max,
            "memory_bytes_max": limits.memory_bytes_max,
            "output_bytes_max": limits.output_bytes_max,
            "cpu_seconds_max": limits.cpu_seconds_max,
            "idle_seconds": limits.idle_seconds,
        }
        # A session of its own, so that a terminal's Ctrl-C reaches only us; no environment, so that no secret is near a stranger's bytes.
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "works.pictures.child",
            json.dumps(given),
            stdin=PIPE,
            stdout=PIPE,
            env={"LC_ALL": "C.UTF-8"},
            start_new_session=True,
            limit=_ANSWER_BYTES_MAX,
        )
        return cls(process)

    async def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """One job, one answer; raises _Gone when the process ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.jobs += 1
        # A process that left meanwhile is told by the missing answer; uvloop says so with a RuntimeError already here.
        with suppress(ConnectionError, RuntimeError):
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            await self._process.stdin.drain()
        line = await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise _Gone(await self._process.wait())
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def stop(self) -> None:
        """End it, whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()


class PicturePool:
    """Decodes pictures in at most `processes` children; at most `waiting_max` callers wait for their turn."""

    def __init__(self, limits: PictureLimits, *, processes: int, waiting_max: int = 64) -> None:
        self._limits = limits
        self._turns = asyncio.Semaphore(processes)
        self._waiting = 0
        self._waiting_max = waiting_max
        self._idle: list[_Child] = []

    async def clean(self, source: Path, target: Path, *, picture_format: str) -> CleanPicture:
        """Decode `source`, write what is kept of it to `target`. Raises FileTooLarge, FileUnreadable, or Unavailable when it is not the file's fault."""
        return CleanPicture(**await self._do({"source": str(source), "target": str(target), "format": picture_format}))

    async def shrink(self, source: Path, target: Path, *, picture_format: str, side_px: int) -> None:
        """Decode `source`, write it to `target` as a WebP of at most so many pixels a side. Raises as `clean` does."""
        await self._do({"source": str(source), "target": str(target), "format": picture_format, "side_px": side_px})

    async def _do(self, job: Mapping[str, Any]) -> dict[str, Any]:
        if self._waiting >= self._waiting_max:
            raise Overloaded("too many pictures are waiting")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait_seconds), self._turns:
                answer = await self._ask(job)
        except TimeoutError as error:
            raise Unavailable("decoding the picture took too long", retry_after_seconds=5) from error
        finally:
            self._waiting -= 1
        if "no_room" in answer:
            raise Unavailable("there is no room for files now", retry_after_seconds=30)
        if "refused" in answer:
            if "cause" in answer:
                log.info("picture.undecodable", cause=answer["cause"])
            raise _REFUSALS[answer["refused"]].of("body", answer["slug"])
        return answer

    async def close(self) -> None:
        """End every child."""
        while self._idle:
            await self._idle.pop().stop()

    async def _ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        while True:
            child = self._idle.pop() if self._idle else await _Child.start(self._limits)
            fresh = child.jobs == 0
            try:
                answer = await child.ask(job)
            except _Gone as gone:
                await child.stop()
                if gone.cause == 0 and not fresh:
                    continue  # it had just left for want of work
                raise _refusal_for(gone) from gone
            except BaseException:
                await child.stop()  # nobody will read the answer it still works on
                raise
            if child.jobs < self._limits.jobs_per_process_max:
                self._idle.append(child)
            else:
                await child.stop()
            return answer


def _refusal_for(gone: _Gone) -> ServiceError:
    log.warning("picture.process_ended", cause=gone.cause)
    if -gone.cause in (signal.SIGXCPU, signal.SIGXFSZ):
        return FileUnreadable.of("body", "decoding-too-heavy")
    if -gone.cause in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL):
        return FileUnreadable.of("body", "undecodable")
    return Unavailable("the process that decoded the picture ended", retry_after_seconds=2)
