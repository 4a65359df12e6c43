"""Where a suite keeps its things: the folder `.darkroom`, who runs in it, its secrets and keys."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from suite.embedded.parts import EmbeddedError, write_secretly

DEFAULT_FOLDER = ".darkroom"
# Whoever operates the suite signs with this name where a service asks for another service's token.
OPERATOR = "suite"
LOCK_TRIES = 10
# The names of identity's two secrets.
ENVELOPE, LOOKUP = "identity-envelope", "identity-lookup"


class SuiteError(Exception):
    """Something the person at the console can mend; the text is the sentence to print."""


@dataclass
class State:
    """What a running suite tells other commands. Holds database passwords, so its file is its owner's only."""

    pid: int
    mode: str
    profile: str
    started_at: float
    environment: dict[str, str]
    admin_urls: dict[str, list[str]]
    pids: dict[str, list[int]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.environment["DARKROOM_URL"]


class Home:
    """The folder of one suite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.postgres = self.folder / "pg"
        self.kafka = self.folder / "kafka"
        self.objects = self.folder / "objects"
        self.s3 = self.folder / "s3"
        self.logs = self.folder / "logs"
        self.keys = self.folder / "keys"

    def make(self) -> None:
        """Make the folder; raises SuiteError when it cannot be written."""
        with sentences(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                self.folder.chmod(0o711)  # the database's user passes through; everything else inside is closed
            for folder in (self.objects, self.logs, self.keys):
                folder.mkdir(mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the one suite of this folder; raises SuiteError when another one is."""
        with sentences(self.folder):
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _lock(handle):
                raise SuiteError(self._who_runs())
            self._state_file.unlink(missing_ok=True)
            yield
            self._state_file.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def is_running(self) -> bool:
        """Whether a suite holds this folder."""
        try:
            handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except PermissionError:
            raise SuiteError(f"No permission to look into {self.folder}.") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(handle)

    def refuse_if_running(self) -> None:
        """Raises SuiteError, saying where, when a suite holds this folder."""
        if self.is_running():
            raise SuiteError(self._who_runs())

    def state(self) -> State | None:
        """What the running suite told; None while none runs or it is still starting."""
        if not self.is_running():
            return None
        try:
            return State(**json.loads(self._state_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def running_state(self) -> State:
        """The state of a suite that must be running; raises SuiteError when it is not."""
        state = self.state()
        if state is None:
            why = "is still starting; try again in a moment" if self.is_running() else "does not run here; start it with `darkroom up`"
            raise SuiteError(f"Darkroom {why} (folder {self.folder}).")
        return state

    def tell(self, state: State) -> None:
        """Let other commands know."""
        with sentences(self.folder):
            write_secretly(self._state_file, json.dumps(asdict(state), indent=1))

    def tell_again(self, state: State) -> None:
        """Let them know what changed, if they know anything yet."""
        if self._state_file.exists():
            self.tell(state)

    def remembered(self, name: str, make: Callable[[], Any]) -> Any:
        """A value made once and kept, readable by its owner only; the same for commands that ask for it at once."""
        path = self.folder / f"{name}.json"
        with sentences(self.folder):
            if not path.exists():
                write_secretly(path, json.dumps(make(), indent=1), once=True)
            return json.loads(path.read_text())

    def secret(self, name: str) -> str:
        """A random secret of 64 hex digits, made once."""
        kept: str = self.remembered(f"secret-{name}", lambda: secrets.token_hex(32))
        return kept

    def key_path(self, name: str) -> Path:
        """The private key of a service, or of the operator."""
        return self.keys / f"{name}.pem"

    def remove(self) -> None:
        """Take everything away; the lock is held by the caller."""
        with sentences(self.folder):
            shutil.rmtree(self.folder)

    @property
    def _state_file(self) -> Path:
        return self.folder / "state.json"

    def _who_runs(self) -> str:
        state = self.state()
        if state is None:
            return f"Darkroom is already starting in {self.folder}; `darkroom status` tells when it is ready."
        minutes = max(0, time.time() - state.started_at) / 60
        return f"Darkroom already runs here: {state.url}, process {state.pid}, for {minutes:.0f} min. `darkroom status` shows more."


def _lock(handle: int) -> bool:
    """Have the lock for as long as the handle is open. Whoever only looks whether it is free holds it for a moment, so one look is not enough."""
    for _ in range(LOCK_TRIES):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)
    return False


@contextlib.contextmanager
def sentences(folder: Path) -> Iterator[None]:
    """Turn what a folder refuses into a sentence."""
    try:
        yield
    except EmbeddedError as error:
        raise SuiteError(str(error)) from error
    except OSError as error:
        raise SuiteError(sentence_of(error, folder)) from error


def sentence_of(error: OSError, folder: Path) -> str:
    """What an operating system's error means for somebody who started a suite."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return no_room(folder)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"No permission to write in {folder}. Start from a folder of your own, or name one with --home."
    if error.errno == errno.EADDRINUSE:
        return f"A port is taken by another program ({error.strerror})."
    return f"The operating system refused: {error.strerror or error} ({folder})."


def no_room(folder: Path) -> str:
    """What a full disk means."""
    return f"No room left on the disk of {folder}. Make room and start again; nothing that was answered is lost."
