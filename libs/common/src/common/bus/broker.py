"""What every bus promises: records go in sealed, come out at least once per group, and every process may overhear.

The promises, shown by one contract suite for all implementations:
- a record published and acknowledged is heard by every group of its topic, at least once, also after a restart;
- records of one key stay in one partition, a partition has one member of a group at a time, and its records come in order;
- committed records are not heard again, uncommitted ones are;
- a record that will never be taken is refused by itself, others go on;
- a broadcast hears from now on and may lose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from common.bus.envelope import Headers, Outgoing
from common.events.base import Fact


class BusUnavailable(Exception):
    """The broker cannot be reached now; nothing is known to be lost."""


class TopicPartition(NamedTuple):
    """One ordered stream of a topic."""

    topic: str
    partition: int


@dataclass(slots=True)
class Record:
    """A record as it was read. `offset` names it for ever; `cursor` is its place in the reader's stream, for commits."""

    topic: str
    partition: int
    offset: int
    cursor: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class Receipts(Protocol):
    """Whoever wants to know what became of each record."""

    def acked(self, record: Outgoing) -> None:
        """Taken for good."""

    def refused(self, record: Outgoing, error: str) -> None:
        """Will never be taken as it is."""

    def lost(self, record: Outgoing, error: str) -> None:
        """Perhaps taken, perhaps not: publish it again later."""


class Reader(Protocol):
    """A member of a group, or a broadcast listener."""

    async def start(self) -> None:
        """Join. Raises BusUnavailable."""

    async def stop(self) -> None:
        """Leave; bounded in time whatever the broker does."""

    async def fetch(self, *, records_max: int, wait_seconds: float) -> list[Record]:
        """What has come, at most so many; an empty list after the wait. Raises BusUnavailable."""
        ...

    async def commit(self, cursors: Mapping[TopicPartition, int]) -> None:
        """Everything below these cursors has been heard; partitions no longer ours are ignored. Raises BusUnavailable."""

    async def lagging(self) -> bool:
        """Whether there is something to read that has not been fetched (asked only when nothing came for long)."""
        ...


class Bus(Protocol):
    """The broker, as services see it."""

    async def start(self) -> None:
        """Open; a broker that is away is not an error."""

    async def stop(self) -> None:
        """Close; bounded in time."""

    async def publish(self, records: Sequence[Outgoing], receipts: Receipts) -> None:
        """Hand records over; each one's outcome goes to `receipts`, now or later. Raises BusUnavailable when none was handed over."""

    async def tell(self, facts: Sequence[Fact]) -> None:
        """Say facts that may be lost (progress). Never raises for a broker that is away."""

    def group(self, name: str, topics: Sequence[str], *, gather_seconds: float = 0) -> Reader:
        """A member of a consumer group; each record goes to one member. The broker may gather records for that long before it answers."""
        ...

    def broadcast(self, topics: Sequence[str], *, gather_seconds: float = 0) -> Reader:
        """Hears every record said from now on."""
        ...
