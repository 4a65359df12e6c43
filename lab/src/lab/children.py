"""Programs a bench starts: their logs, their readiness and their certain end."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class NotStarted(Exception):
    """A part of the bench is missing or did not come up; the text is for the console."""


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Children:
    """Child processes that end in reverse order of their start, whatever happens to us."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []
        self._end_with_us = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []

    def start(self, name: str, command: Sequence[str | Path], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> int:
        """Start one in a session of its own, so that ctrl-C reaches only us; its process id."""
        with (self._logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*self._end_with_us, *map(str, command)],
                cwd=cwd,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._running.append((name, process))
        return process.pid

    def wait_ready(self, name: str, is_ready: Callable[[], bool], *, seconds_max: float) -> None:
        """Return once it is ready; raise with the end of its log when it ends or takes too long."""
        process = next(process for known, process in self._running if known == name)
        ends_at = time.monotonic() + seconds_max
        while not is_ready():
            if process.poll() is not None:
                raise NotStarted(f"{name} ended with {process.returncode}: {self.log_end(name)}")
            if time.monotonic() > ends_at:
                raise NotStarted(f"{name} was not ready after {seconds_max:.0f} s: {self.log_end(name)}")
            time.sleep(0.05)

    def log_end(self, name: str) -> str:
        """The last lines it wrote."""
        lines = (self._logs / f"{name}.log").read_text(errors="replace").splitlines()
        return "\n".join(lines[-15:]) or "(no output)"

    def stop(self, *, seconds_max: float = 15.0) -> None:
        """Ask each to end, newest first; kill what does not."""
        while self._running:
            _, process = self._running.pop()
            process.terminate()
            try:
                process.wait(seconds_max)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def accepts(port: int) -> bool:
    """Whether somebody listens on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
