"""The bus: facts out through the outbox, facts in through the inbox, over Kafka or inside one process."""

from common.bus.broker import Bus, BusUnavailable, Reader, Receipts, Record, TopicPartition
from common.bus.memory import MemoryBus

__all__ = ["Bus", "BusUnavailable", "MemoryBus", "Reader", "Receipts", "Record", "TopicPartition", "open_bus"]


def open_bus(url: str) -> Bus:
    """The bus an address names: `memory://` or `kafka://host:port,host:port`. Raises ValueError on anything else."""
    if url == "memory://":
        return MemoryBus()
    if url.startswith("kafka://"):
        # aiokafka costs 60 ms and 10 MB at import, which a run in memory need not pay.
        from common.bus.kafka import KafkaBus, KafkaOptions

        return KafkaBus(KafkaOptions(servers=url.removeprefix("kafka://").rstrip("/")))
    raise ValueError(f"not a bus address: {url} (memory:// or kafka://host:port)")
