"""The bus inside one process. The outbox makes it durable: a row is acknowledged when every group of the catalogue has heard it."""

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from common.bus.broker import Reader, Receipts, Record, TopicPartition
from common.bus.envelope import ROW_FACTS_MAX, Outgoing, seal
from common.events.base import Fact
from common.events.catalog import BY_TOPIC, groups_of

_BROADCAST_WAITING_MAX = 10_000


class _Entry:
    __slots__ = ("index", "outgoing", "receipts")

    def __init__(self, index: int, outgoing: Outgoing, receipts: Receipts | None) -> None:
        self.index = index
        self.outgoing = outgoing
        self.receipts = receipts

    def record(self, where: TopicPartition) -> Record:
        sealed = self.outgoing
        return Record(where.topic, where.partition, _offset(sealed) or self.index, self.index, sealed.key.encode(), sealed.value, sealed.headers())


def _offset(sealed: Outgoing) -> int:
    """The same after a restart, so that what is told again is the same record; 0 for what no outbox holds."""
    return sealed.position * ROW_FACTS_MAX + sealed.place


class _Log:
    """One partition: the entries that some group has not committed yet."""

    __slots__ = ("entries", "first", "next_index")

    def __init__(self) -> None:
        self.entries: deque[_Entry] = deque()
        self.first = 0
        self.next_index = 0

    def append(self, outgoing: Outgoing, receipts: Receipts | None) -> None:
        self.entries.append(_Entry(self.next_index, outgoing, receipts))
        self.next_index += 1

    def since(self, index: int, limit: int) -> list[_Entry]:
        start = max(index - self.first, 0)
        return [self.entries[place] for place in range(start, min(start + limit, len(self.entries)))]

    def forget_below(self, index: int) -> list[_Entry]:
        gone = []
        while self.entries and self.entries[0].index < index:
            gone.append(self.entries.popleft())
        self.first = self.entries[0].index if self.entries else max(self.first, min(index, self.next_index))
        return gone


class _Group:
    """A consumer group: what it has committed, who its members are and which partitions each has."""

    def __init__(self) -> None:
        self.committed: dict[TopicPartition, int] = {}
        self.members: list[_Member] = []

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        for member in self.members:
            member.positions = {}
        wanted = [(where, [m for m in self.members if where.topic in m.topics]) for where in partitions]
        for where, members in wanted:
            if members:
                owner = members[where.partition % len(members)]
                owner.positions[where] = self.committed.get(where, 0)
        for member in self.members:
            member.wake.set()


class MemoryBus:
    """Topics, partitions, groups and broadcasts in memory; made once per process and shared by its services."""

    def __init__(self, *, topics: Sequence[str] | None = None, groups: Callable[[str], tuple[str, ...]] = groups_of) -> None:
        self._topics = set(BY_TOPIC if topics is None else topics)
        self._groups_of = groups
        self._logs: dict[TopicPartition, _Log] = {TopicPartition(t, p): _Log() for t in sorted(self._topics) for p in range(BY_TOPIC[t].partitions)}
        self._groups: dict[str, _Group] = {}
        self._listeners: list[_Listener] = []

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        return None

    async def publish(self, records: Sequence[Outgoing], receipts: Receipts) -> None:
        for outgoing in records:
            if outgoing.topic in self._topics:
                self._append(outgoing, receipts)
            else:
                receipts.refused(outgoing, f"no topic {outgoing.topic}")
        self._wake()

    async def tell(self, facts: Sequence[Fact]) -> None:
        now = datetime.now(UTC)
        for fact in facts:
            self._append(seal(fact, now, None), None)
        self._wake()

    def group(self, name: str, topics: Sequence[str], *, gather_seconds: float = 0) -> Reader:
        return _Member(self, self._groups.setdefault(name, _Group()), topics)

    def broadcast(self, topics: Sequence[str], *, gather_seconds: float = 0) -> Reader:
        return _Listener(self, topics)

    def _append(self, outgoing: Outgoing, receipts: Receipts | None) -> None:
        where = TopicPartition(outgoing.topic, zlib.crc32(outgoing.key.encode()) % BY_TOPIC[outgoing.topic].partitions)
        log = self._logs[where]
        for listener in self._listeners:
            listener.offer(where, log.next_index, outgoing)
        if self._keepers(outgoing.topic):
            log.append(outgoing, receipts)
        else:
            log.next_index += 1
            log.first = log.next_index
            if receipts is not None:
                receipts.acked(outgoing)

    def _keepers(self, topic: str) -> list[str]:
        """Groups a record must wait for: those of the catalogue, and whoever has joined."""
        joined = [name for name, group in self._groups.items() if any(topic in member.topics for member in group.members)]
        return [*self._groups_of(topic), *(name for name in joined if name not in self._groups_of(topic))]

    def _wake(self) -> None:
        for group in self._groups.values():
            for member in group.members:
                member.wake.set()

    def _joined(self, member: "_Member") -> None:
        member.group.members.append(member)
        member.group.assign(list(self._logs))

    def _left(self, member: "_Member") -> None:
        if member in member.group.members:
            member.group.members.remove(member)
            member.positions = {}
            member.group.assign(list(self._logs))

    def _commit(self, group: _Group, cursors: Mapping[TopicPartition, int]) -> None:
        for where, cursor in cursors.items():
            group.committed[where] = max(group.committed.get(where, 0), cursor)
            log = self._logs[where]
            keepers = [self._groups.get(name) for name in self._keepers(where.topic)]
            heard = min((keeper.committed.get(where, 0) if keeper else 0) for keeper in keepers)
            for entry in log.forget_below(heard):
                if entry.receipts is not None:
                    entry.receipts.acked(entry.outgoing)


class _Member:
    """A member of a group."""

    def __init__(self, bus: MemoryBus, group: _Group, topics: Sequence[str]) -> None:
        self.bus = bus
        self.group = group
        self.topics = frozenset(topics)
        self.positions: dict[TopicPartition, int] = {}
        self.wake = asyncio.Event()

    async def start(self) -> None:
        self.bus._joined(self)

    async def stop(self) -> None:
        self.bus._left(self)

    async def fetch(self, *, records_max: int, wait_seconds: float) -> list[Record]:
        self.wake.clear()
        found = self._take(records_max)
        if not found:
            try:
                async with asyncio.timeout(wait_seconds):
                    await self.wake.wait()
            except TimeoutError:
                return []
            found = self._take(records_max)
        return found

    async def commit(self, cursors: Mapping[TopicPartition, int]) -> None:
        self.bus._commit(self.group, {where: cursor for where, cursor in cursors.items() if where in self.positions})

    async def lagging(self) -> bool:
        return any(self.bus._logs[where].next_index > position for where, position in self.positions.items())

    def _take(self, limit: int) -> list[Record]:
        found: list[Record] = []
        for where, position in self.positions.items():
            log = self.bus._logs[where]
            if log.next_index <= position or len(found) >= limit:
                continue
            entries = log.since(position, limit - len(found))
            if entries:
                self.positions[where] = entries[-1].index + 1
                found.extend(entry.record(where) for entry in entries)
        return found


class _Listener:
    """A broadcast listener: a bounded queue that forgets its oldest."""

    def __init__(self, bus: MemoryBus, topics: Sequence[str]) -> None:
        self._bus = bus
        self._topics = frozenset(topics)
        self._waiting: deque[Record] = deque(maxlen=_BROADCAST_WAITING_MAX)
        self._wake = asyncio.Event()

    def offer(self, where: TopicPartition, index: int, outgoing: Outgoing) -> None:
        if where.topic in self._topics:
            self._waiting.append(_Entry(index, outgoing, None).record(where))
            self._wake.set()

    async def start(self) -> None:
        self._bus._listeners.append(self)

    async def stop(self) -> None:
        if self in self._bus._listeners:
            self._bus._listeners.remove(self)

    async def fetch(self, *, records_max: int, wait_seconds: float) -> list[Record]:
        if not self._waiting:
            self._wake.clear()
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._wake.wait()
            except TimeoutError:
                return []
        return [self._waiting.popleft() for _ in range(min(records_max, len(self._waiting)))]

    async def commit(self, cursors: Mapping[TopicPartition, int]) -> None:
        return None

    async def lagging(self) -> bool:
        return False
