"""Hashing of passwords: argon2id in a few threads of its own, so that neither the loop nor the machine is overrun."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from common.errors import Overloaded

T = TypeVar("T")

# OWASP's second choice: 19 MiB, two passes, one lane.
MEMORY_KIB = 19 * 1024
PASSES = 2
LANES = 1


class Passwords:
    """Hashes and checks; raises Overloaded when more wait than may."""

    def __init__(self, *, threads: int, waiting_max: int, memory_kib: int = MEMORY_KIB) -> None:
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=memory_kib, parallelism=LANES)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._waiting_max = waiting_max
        self._waiting = 0
        self._nobody = ""

    async def __aenter__(self) -> Self:
        self._nobody = await self.hash(secrets.token_urlsafe(24))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """A new hash, with its salt and its costs in it."""
        return await self._in_thread(lambda: self._hasher.hash(password))

    async def check(self, password_hash: str | None, password: str) -> bool:
        """Whether the password is right. Without a hash (nobody has that address) it takes as long and is wrong."""
        known = password_hash if password_hash is not None else self._nobody
        right = await self._in_thread(lambda: self._verify(known, password))
        return right and password_hash is not None

    def _verify(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._waiting >= self._waiting_max:
            raise Overloaded("too many passwords are being checked")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._waiting -= 1
