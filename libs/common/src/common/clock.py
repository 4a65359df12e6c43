"""Time as the service's own database tells it, so that replicas agree and a skewed host does no harm."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Whoever is asked what time it is."""

    def now(self) -> datetime:
        """The present moment, in UTC."""
        ...


class DatabaseClock:
    """The database's clock, read rarely and carried on by the host's monotonic clock."""

    def __init__(self) -> None:
        self._base = datetime.now(UTC)
        self._read_at = time.monotonic()

    def now(self) -> datetime:
        return self._base + timedelta(seconds=time.monotonic() - self._read_at)

    def set(self, database_now: datetime, *, asked_at: float, answered_at: float) -> None:
        """Take the database's answer; the question's monotonic times bound its error."""
        self._base = database_now
        self._read_at = (asked_at + answered_at) / 2

    @property
    def offset_seconds(self) -> float:
        """How far the database is ahead of the host."""
        return (self.now() - datetime.now(UTC)).total_seconds()


class FakeClock:
    """A clock that tests move by hand."""

    def __init__(self, now: datetime | None = None) -> None:
        self._now = now or datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self._now

    def move(self, *, seconds: float) -> None:
        """Let this much time pass."""
        self._now += timedelta(seconds=seconds)
