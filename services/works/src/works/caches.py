"""What was read a short while ago, kept in memory and dropped when it changes."""

import time
from collections.abc import Hashable
from typing import Generic, TypeVar
from uuid import UUID

from works.domain import Numbers, Work

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by key for a few seconds. Whoever changes one drops it; who hears of a change elsewhere does so too; should that be missed, time does."""

    def __init__(self, *, seconds: float, values_max: int) -> None:
        self._seconds = seconds
        self._values_max = values_max
        self._values: dict[K, tuple[V, float]] = {}
        self._drops = 0

    def get(self, key: K) -> V | None:
        found = self._values.get(key)
        if found is None or found[1] <= time.monotonic():
            return None
        return found[0]

    def begin(self) -> int:
        """To be asked before a value is read, and handed to `put`."""
        return self._drops

    def put(self, key: K, value: V, begun: int) -> None:
        """Remember what was read; not where something was dropped meanwhile, for it may have been this."""
        if begun != self._drops or self._seconds <= 0:
            return
        if len(self._values) >= self._values_max:
            self._values.clear()
        self._values[key] = (value, time.monotonic() + self._seconds)

    def drop(self, *keys: K) -> None:
        self._drops += 1
        for key in keys:
            self._values.pop(key, None)

    def drop_all(self) -> None:
        self._drops += 1
        self._values.clear()


PublicWorks = Remembered[UUID, Work]
"""Works as others than their owners see them."""
KeptNumbers = Remembered[str, Numbers]
