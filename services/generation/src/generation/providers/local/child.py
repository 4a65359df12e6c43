"""The worker's side of the pool: limits, progress, and an end when nobody is left to work for."""

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

PR_SET_PDEATHSIG = 1
WATCH_SECONDS = 1.0
CPU_GRACE_SECONDS = 5.0
PROGRESS_BYTES_MAX = 512
"""Far below PIPE_BUF, so that workers sharing the pipe never cut into each other's lines."""


class OverLimit(Exception):
    """The job needed more memory or time than a job may have."""


class Stopped(Exception):
    """Nobody listens any more."""


class _Worker:
    """What a worker process knows; there is one per process, set by `start`."""

    progress: Connection | None = None
    cpu_seconds_max: float = 0.0
    cpu_until: float = float("inf")


def start(progress: Connection, memory_bytes_max: int, cpu_seconds_max: float) -> None:
    """Run once in a new worker, before its first job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGXCPU, _out_of_time)
    _die_with_parent()
    os.set_blocking(progress.fileno(), False)
    _Worker.progress, _Worker.cpu_seconds_max = progress, cpu_seconds_max
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes_max, memory_bytes_max))


def _out_of_time(number: int, frame: object) -> None:
    raise OverLimit("the job took too long")


def _die_with_parent() -> None:
    """Two deaths matter: the fork server's, told by the kernel, and that of the process we work for, told by a pipe only it holds."""
    server = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    employer = parent_process()
    if employer is None or os.getppid() != server or server == 1:
        os._exit(1)
    threading.Thread(target=_watch, args=(employer, server), name="parent-watch", daemon=True).start()


def _watch(employer: BaseProcess, server: int) -> None:
    """Also ends a job stuck inside one long call, which no signal handler can leave."""
    while os.getppid() == server and time.process_time() < _Worker.cpu_until + CPU_GRACE_SECONDS:
        employer.join(WATCH_SECONDS)
        if not employer.is_alive():
            break
    os._exit(1)


def run_job(token: int, job: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], *, tells_progress: bool) -> Any:
    """One job under its own CPU limit. Memory and time over the limit become OverLimit; the worker lives on."""
    _limit_cpu(time.process_time() + _Worker.cpu_seconds_max)
    try:
        if tells_progress:
            kwargs = {**kwargs, "report": _reporter(token)}
        return job(*args, **kwargs)
    except MemoryError:
        raise OverLimit("the job needed too much memory") from None
    finally:
        _limit_cpu(float("inf"))


def _limit_cpu(until: float) -> None:
    _Worker.cpu_until = until
    soft = resource.RLIM_INFINITY if until == float("inf") else int(until) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _reporter(token: int) -> Callable[[int, int, str], None]:
    def report(done: int, planned: int, doing: str) -> None:
        assert _Worker.progress is not None
        line = f"{token} {done} {planned} {doing}".encode()[:PROGRESS_BYTES_MAX] + b"\n"
        try:
            os.write(_Worker.progress.fileno(), line)
        except BlockingIOError:
            return  # the parent is busy: progress may be lost, work may not
        except BrokenPipeError:
            raise Stopped from None

    return report


def idle(seconds: float) -> int:
    """A job that only proves the worker is there."""
    time.sleep(seconds)
    return os.getpid()
