"""What embedded PostgreSQL and Kafka share: their errors, processes found by pid, ports, atomic files."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LOG_BYTES_MAX = 16 * 1024 * 1024


class EmbeddedError(Exception):
    """A part could not be had or did not start; the text is a sentence for the console."""


class PortTaken(EmbeddedError):
    """Somebody else listens on the port a part was told to use."""

    def __init__(self, part: str, port: int) -> None:
        super().__init__(f"{part} cannot start: port {port} on 127.0.0.1 is taken by another program.")
        self.part = part
        self.port = port


def is_alive(pid: int) -> bool:
    """Whether the process still runs; a zombie nobody reaped counts as dead."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    with contextlib.suppress(OSError, IndexError):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
        return after_name.split()[0] not in ("Z", "X")
    return True


def command_of(pid: int) -> str:
    """The command line of a living process, or an empty text."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        if Path("/proc/self").exists():
            return ""
    # Where there is no /proc (macOS), ps knows.
    answer = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


# Below the range the system takes ports for outgoing connections from: such a port could be gone when a part comes back.
_FREE_PORTS = range(28_000, 32_000)


def free_port() -> int:
    """A port nobody listens on right now."""
    for _ in range(1000):
        port = random.choice(_FREE_PORTS)
        if not is_port_taken(port):
            return port
    raise EmbeddedError("There is no free port on 127.0.0.1.")


def plain_environment(locale: str = "C") -> dict[str, str]:
    """Nothing of the caller's that could change how a part behaves (PG*, JAVA_*)."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": locale, "TZ": "UTC"}


def is_port_taken(port: int) -> bool:
    """Whether somebody listens on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def listens(port: int) -> bool:
    """Whether somebody takes connections on this port of the loopback address."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


async def wait_until(condition: Callable[[], bool], *, within_seconds: float, every_seconds: float = 0.02) -> bool:
    """Poll until the condition holds; False when the time ran out first."""
    until = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(every_seconds)
    return True


async def run_command(command: list[str], *, environment: dict[str, str], options: dict[str, Any] | None = None) -> tuple[int, str]:
    """Run to its end: (exit code, everything it printed). Cancelled, it takes the command with it."""
    child = _popen(command, environment, subprocess.PIPE, options)
    try:
        printed, _ = await asyncio.to_thread(child.communicate)
        return child.returncode, printed.decode(errors="replace")
    finally:
        if child.poll() is None:
            child.kill()


def write_secretly(path: Path, text: str, *, once: bool = False) -> None:
    """Replace a file whole or not at all, readable by its owner only; with `once`, one that is there stays."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if once:
            with contextlib.suppress(FileExistsError):
                os.link(name, path)
            os.unlink(name)
        else:
            os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def open_log(path: Path) -> int:
    """A descriptor that appends to a part's log; an overgrown log is put aside first."""
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_suffix(".old.log"))
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def size_of(path: Path) -> int:
    """A file's size; 0 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def last_lines(path: Path, *, after_byte: int = 0, lines_max: int = 5) -> list[str]:
    """The end of a log, for a sentence about why a part did not start."""
    try:
        with path.open("rb") as file:
            file.seek(after_byte)
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return [line.strip() for line in text.strip().splitlines()[-lines_max:]]


@contextlib.contextmanager
def sentences_for_disk_errors(part: str, folder: Path) -> Iterator[None]:
    """Turn what a folder refuses (no room, no permission) into a sentence."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EmbeddedError(f"{part} cannot start: no room left on the disk of {folder}.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise EmbeddedError(f"{part} cannot start: no permission to write in {folder}.") from error
        raise


def spawn(command: list[str], *, log: Path | None, environment: dict[str, str], options: dict[str, Any] | None = None) -> Process:
    """Start a part in a session of its own, so that a Ctrl-C meant for us does not reach it."""
    output = subprocess.DEVNULL if log is None else open_log(log)
    try:
        child = _popen(command, environment, output, options)
    finally:
        if log is not None:
            os.close(output)
    return Process(child.pid, child)


def _popen(command: list[str], environment: dict[str, str], output: int, options: dict[str, Any] | None) -> subprocess.Popen[bytes]:
    settings: dict[str, Any] = {"cwd": "/", "env": environment, "start_new_session": True, **(options or {})}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, **settings)


class Process:
    """A part's process, ours or found alive: asked by pid, so that both are treated alike."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._child = child
        self._tether: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return is_alive(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Signal it; one that is gone already is no error."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait_gone(self, *, within_seconds: float) -> bool:
        gone = await wait_until(lambda: not self.is_running, within_seconds=within_seconds)
        if gone:
            self.untie()
        return gone

    def tie(self, number: signal.Signals) -> None:
        """Let it die with us, even by kill -9: a small shell holds a pipe of ours and signals when the pipe closes."""
        script = f"read -r _; kill -{number.name.removeprefix('SIG')} {self.pid} 2>/dev/null"
        quiet = subprocess.DEVNULL
        command = ["/bin/sh", "-c", script]
        self._tether = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, cwd="/", start_new_session=True)

    def untie(self) -> None:
        """Forget the tie; the shell ends first, so that it cannot signal a pid that has a new owner."""
        if self._tether is not None:
            self._tether.kill()
            self._tether.wait()
            if self._tether.stdin is not None:
                self._tether.stdin.close()
            self._tether = None


class OneProcess:
    """A part that is one process while it runs."""

    _process: Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self._process.is_running else None

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        if self._process is not None:
            self._process.send(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send(signal.SIGCONT)
