"""The bus on Kafka. The only file that imports aiokafka; every call into it has a deadline of ours."""

import asyncio
import contextlib
import logging
import time
import zlib
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as KafkaPartition
from aiokafka import errors as kafka_errors
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndMetadata

from common.bus.broker import BusUnavailable, Reader, Receipts, Record, TopicPartition
from common.bus.envelope import Outgoing, seal
from common.events.base import Fact
from common.events.catalog import BY_TOPIC

log = structlog.get_logger()

Answer = TypeVar("Answer")

_REFUSALS = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordTooLargeError,
    kafka_errors.InvalidTopicError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.UnsupportedForMessageFormatError,
    kafka_errors.PolicyViolationError,
)
_REBUILDS = (
    kafka_errors.OutOfOrderSequenceNumber,
    kafka_errors.ProducerFenced,
    kafka_errors.InvalidProducerEpoch,
    kafka_errors.UnknownProducerId,
    kafka_errors.InvalidProducerIdMapping,
)
_TOPIC_EXISTS = 36
_START_SECONDS = 10.0
_ABSENT_SECONDS = 10
_NOTHING_NAMED_SECONDS = 60
_STOP_SECONDS = 2.0
_GATHER_BYTES_MIN = 512 * 1024
_BUSY_RECORDS = 6
_BUSY_GATHER_MS = 10
_BUSY_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """How we speak to Kafka; times in milliseconds where aiokafka wants them so."""

    servers: str
    client_id: str = "darkroom"
    request_timeout_ms: int = 10_000
    retry_backoff_ms: int = 200
    session_timeout_ms: int = 6_000
    heartbeat_interval_ms: int = 500
    rebalance_timeout_ms: int = 6_000
    fetch_max_wait_ms: int = 2_000
    batch_bytes_max: int = 256 * 1024
    compression: str | None = None
    ack_seconds: float = 10
    """An acknowledgement that takes longer means the producer is beyond hope and is replaced."""

    def producer(self) -> dict[str, Any]:
        """Every option of the producer whose default would lose or slow records."""
        return {
            "bootstrap_servers": self.servers,
            "client_id": self.client_id,
            "enable_idempotence": True,
            "acks": "all",
            "linger_ms": 0,
            "max_batch_size": self.batch_bytes_max,
            "compression_type": self.compression,
            "request_timeout_ms": self.request_timeout_ms,
            "retry_backoff_ms": self.retry_backoff_ms,
        }

    def consumer(self) -> dict[str, Any]:
        """Every option of a consumer whose default would lose or slow records."""
        return {
            "bootstrap_servers": self.servers,
            "client_id": self.client_id,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            "fetch_max_wait_ms": self.fetch_max_wait_ms,
            "request_timeout_ms": self.request_timeout_ms,
            "retry_backoff_ms": self.retry_backoff_ms,
            "session_timeout_ms": self.session_timeout_ms,
            "heartbeat_interval_ms": self.heartbeat_interval_ms,
            "rebalance_timeout_ms": self.rebalance_timeout_ms,
        }


class KafkaBus:
    """Publishes with one idempotent producer that is thrown away when it stops answering."""

    def __init__(self, options: KafkaOptions) -> None:
        self.options = options
        self._producer: AIOKafkaProducer | None = None
        self._starting = asyncio.Lock()
        self._in_flight: dict[int, tuple[Outgoing, Receipts, float]] = {}
        self._number = 0
        self._missing_since: dict[str, float] = {}
        self._watching: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[Any]] = set()
        # It repeats a traceback per metadata request for as long as a broker is away.
        logging.getLogger("aiokafka.cluster").setLevel(logging.CRITICAL)
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    async def start(self) -> None:
        self._watching = asyncio.create_task(self._watch(), name="kafka producer watch")
        with contextlib.suppress(BusUnavailable):
            await self._ready()

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._forget("stopping")
        if self._background:
            await asyncio.wait(self._background, timeout=_STOP_SECONDS * 2)

    async def publish(self, records: Sequence[Outgoing], receipts: Receipts) -> None:
        producer = await self._ready()
        handed = 0
        try:
            async with asyncio.timeout(self.options.ack_seconds):
                for record in records:
                    if record.topic not in BY_TOPIC:
                        # A newer version left it, which finds it parked when it comes back.
                        receipts.refused(record, f"no fact is known on topic {record.topic}")
                    elif producer.client.cluster.partitions_for_topic(record.topic) is None and not await self._known(producer, record.topic):
                        self._absent(producer, record, receipts)
                    else:
                        self._missing_since.pop(record.topic, None)
                        await self._send(producer, record, receipts)
                    handed += 1
        except (TimeoutError, kafka_errors.KafkaError, OSError) as error:
            if producer is self._producer:  # not another one that took its place meanwhile
                self._forget(type(error).__name__)
            if handed == 0:
                raise BusUnavailable(f"{type(error).__name__}: {error}") from error
            for record in records[handed:]:
                receipts.lost(record, type(error).__name__)

    async def tell(self, facts: Sequence[Fact]) -> None:
        producer = self._producer
        if producer is None:
            return
        now = datetime.now(UTC)
        try:
            async with asyncio.timeout(0.5):
                for fact in facts:
                    record = seal(fact, now, None)
                    if producer.client.cluster.partitions_for_topic(record.topic) is not None or await self._known(producer, record.topic):
                        sent = await producer.send(
                            record.topic, record.value, key=record.key.encode(), headers=record.headers(), partition=_partition_of(producer, record)
                        )
                        sent.add_done_callback(_retrieve)
        except (TimeoutError, kafka_errors.KafkaError, OSError):
            return

    def group(self, name: str, topics: Sequence[str], *, gather_seconds: float = 0) -> Reader:
        return _KafkaReader(self.options, topics, group=name, gather_seconds=gather_seconds)

    def broadcast(self, topics: Sequence[str], *, gather_seconds: float = 0) -> Reader:
        return _KafkaReader(self.options, topics, group=None, gather_seconds=gather_seconds)

    async def _send(self, producer: AIOKafkaProducer, record: Outgoing, receipts: Receipts) -> None:
        try:
            sent = await producer.send(record.topic, record.value, key=record.key.encode(), headers=record.headers(), partition=_partition_of(producer, record))
        except _REFUSALS as error:
            receipts.refused(record, f"{type(error).__name__}: {error}")
            return
        self._number += 1
        number = self._number
        self._in_flight[number] = (record, receipts, time.monotonic())
        sent.add_done_callback(partial(self._settle, number))

    def _settle(self, number: int, sent: "asyncio.Future[Any]") -> None:
        error = None if sent.cancelled() else sent.exception()
        waiting = self._in_flight.pop(number, None)
        if waiting is None:
            return
        record, receipts, _ = waiting
        if sent.cancelled():
            receipts.lost(record, "cancelled")
        elif error is None:
            receipts.acked(record)
        elif isinstance(error, _REFUSALS):
            receipts.refused(record, f"{type(error).__name__}: {error}")
        else:
            receipts.lost(record, type(error).__name__)
            if isinstance(error, _REBUILDS):
                self._forget(type(error).__name__)

    async def _known(self, producer: AIOKafkaProducer, topic: str) -> bool:
        """Ask the broker about a topic it did not name yet."""
        await producer.client.add_topic(topic)
        if producer.client.cluster.partitions_for_topic(topic) is None:
            await producer.client.force_metadata_update()
        known = producer.client.cluster.partitions_for_topic(topic) is not None
        if known:
            self._missing_since.pop(topic, None)
        return known

    def _absent(self, producer: AIOKafkaProducer, record: Outgoing, receipts: Receipts) -> None:
        # A broker that has just come back may name none of its topics for long while it is busy: only a lasting absence is a refusal.
        since = self._missing_since.setdefault(record.topic, time.monotonic())
        patience = _ABSENT_SECONDS if producer.client.cluster.topics() else _NOTHING_NAMED_SECONDS
        if time.monotonic() - since > patience:
            receipts.refused(record, f"no topic {record.topic}")
        else:
            receipts.lost(record, f"no topic {record.topic} yet")

    async def _ready(self) -> AIOKafkaProducer:
        if self._producer is not None:
            return self._producer
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(**self.options.producer())
                try:
                    await _bounded(producer.start(), _START_SECONDS)
                except BusUnavailable:
                    self._leave(_stop_producer(producer))
                    raise
                self._producer = producer
            return self._producer

    async def _watch(self) -> None:
        """An idempotent producer waits for ever for a broker that is gone; this does not."""
        while True:
            await asyncio.sleep(1)
            oldest = next(iter(self._in_flight.values()), None)
            if oldest is not None and time.monotonic() - oldest[2] > self.options.ack_seconds:
                self._forget("no acknowledgement")

    def _forget(self, reason: str) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if reason != "stopping":
            log.warning("kafka.producer_replaced", reason=reason)
        waiting, self._in_flight = self._in_flight, {}
        for record, receipts, _ in waiting.values():
            receipts.lost(record, reason)
        self._leave(_stop_producer(producer))

    def _leave(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="kafka producer stop")
        self._background.add(task)
        task.add_done_callback(self._background.discard)


class _KafkaReader:
    """One aiokafka consumer: a member of a group, or a listener to every partition from now on."""

    def __init__(self, options: KafkaOptions, topics: Sequence[str], *, group: str | None, gather_seconds: float) -> None:
        self._options = options
        self._gather_seconds = gather_seconds
        self._busy = False
        self._topics = list(topics)
        self._group = group
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        settings = self._options.consumer()
        if self._group is None:
            settings["auto_offset_reset"] = "latest"
        await _check_topics(self._options, self._topics)
        consumer = AIOKafkaConsumer(*self._topics, group_id=self._group, **settings)
        self._consumer = consumer
        await _bounded(consumer.start(), _START_SECONDS)
        if self._group is None:
            await _bounded(consumer.seek_to_end(), _START_SECONDS)
            await _bounded(_positions(consumer), _START_SECONDS)

    async def stop(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop_consumer(consumer)

    async def fetch(self, *, records_max: int, wait_seconds: float) -> list[Record]:
        wait_ms = int(min(wait_seconds, _BUSY_SECONDS if self._busy else wait_seconds) * 1000)
        try:
            found = await self._open.getmany(timeout_ms=wait_ms, max_records=records_max)
        except (kafka_errors.KafkaError, kafka_errors.ConsumerStoppedError, OSError) as error:
            raise BusUnavailable(f"{type(error).__name__}: {error}") from error
        records = [
            Record(message.topic, message.partition, message.offset, message.offset, message.key, message.value, message.headers)
            for messages in found.values()
            for message in messages
        ]
        self._adapt(len(records))
        return records

    def _adapt(self, heard: int) -> None:
        """While records come, let the broker gather for a moment: a fetch names every partition and costs both sides more than its records.

        While none come it answers at once, and asking again is rare. The library has no call for this, so the numbers are set where it keeps them.
        """
        self._busy = heard >= (1 if self._gather_seconds > 0 else _BUSY_RECORDS)
        fetcher = self._open._fetcher
        fetcher._fetch_min_bytes = _GATHER_BYTES_MIN if self._busy else 1
        fetcher._fetch_max_wait_ms = max(_BUSY_GATHER_MS, int(self._gather_seconds * 1000)) if self._busy else self._options.fetch_max_wait_ms

    async def commit(self, cursors: Mapping[TopicPartition, int]) -> None:
        consumer = self._open
        mine = consumer.assignment()
        # Naming one partition that is no longer ours would make aiokafka commit nothing at all.
        offsets = {KafkaPartition(*where): OffsetAndMetadata(cursor, "") for where, cursor in cursors.items() if KafkaPartition(*where) in mine}
        if not offsets:
            return
        try:
            await _bounded(consumer.commit(offsets), 5)
        except BusUnavailable as error:
            if not isinstance(error.__cause__, (kafka_errors.CommitFailedError, kafka_errors.IllegalStateError, kafka_errors.RebalanceInProgressError)):
                raise

    async def lagging(self) -> bool:
        consumer = self._open
        mine = list(consumer.assignment())
        if not mine:
            return True
        ends = await _bounded(consumer.end_offsets(mine), 5)
        for where in mine:
            if ends[where] > await _bounded(consumer.position(where), 5):
                return True
        return False

    @property
    def _open(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise BusUnavailable("not started")
        return self._consumer


async def apply_topics(options: KafkaOptions, facts: Sequence[type[Fact]], *, replication: int = 1) -> list[str]:
    """Create the facts' topics that are missing; answers their names. Raises BusUnavailable."""
    admin = AIOKafkaAdminClient(bootstrap_servers=options.servers, request_timeout_ms=options.request_timeout_ms)
    try:
        await _bounded(admin.start(), _START_SECONDS)
        wanted = [NewTopic(fact.topic, fact.partitions, replication, topic_configs={"retention.ms": str(fact.retention_hours * 3600 * 1000)}) for fact in facts]
        answer = await _bounded(admin.create_topics(wanted, timeout_ms=8000), _START_SECONDS)
    finally:
        with contextlib.suppress(BusUnavailable):
            await _bounded(admin.close(), _STOP_SECONDS)
    # create_topics answers error codes instead of raising.
    made = []
    for topic, code, *message in answer.topic_errors:
        if code == 0:
            made.append(topic)
        elif code != _TOPIC_EXISTS:
            raise BusUnavailable(f"topic {topic} was not created: {code} {message}")
    return made


async def _check_topics(options: KafkaOptions, topics: Sequence[str]) -> None:
    """Raises BusUnavailable while a topic is missing: a consumer would start and silently hear nothing of it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=options.servers, request_timeout_ms=options.request_timeout_ms)
    try:
        await _bounded(admin.start(), _START_SECONDS)
        there = set(await _bounded(admin.list_topics(), _START_SECONDS))
    finally:
        with contextlib.suppress(BusUnavailable):
            await _bounded(admin.close(), _STOP_SECONDS)
    missing = sorted(set(topics) - there)
    if missing:
        raise BusUnavailable(f"no topic {', '.join(missing)}: run `darkroom topics apply`")


def _partition_of(producer: AIOKafkaProducer, record: Outgoing) -> int:
    """By CRC-32 of the key: the client library's murmur2 is pure Python and costs more than everything else about a record."""
    return zlib.crc32(record.key.encode()) % len(producer.client.cluster.partitions_for_topic(record.topic))


async def _positions(consumer: AIOKafkaConsumer) -> None:
    for where in consumer.assignment():
        await consumer.position(where)


async def _bounded(work: Coroutine[Any, Any, Answer], seconds: float) -> Answer:
    """Await with a deadline, in a task of its own: aiokafka may raise CancelledError out of nowhere, or never return."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)
        if task.done() and not task.cancelled():
            task.exception()
        raise BusUnavailable(f"no answer within {seconds:g} s")
    if task.cancelled():
        raise BusUnavailable("cancelled by the client library")
    error = task.exception()
    if isinstance(error, (kafka_errors.KafkaError, kafka_errors.ConsumerStoppedError, OSError, asyncio.CancelledError)):
        raise BusUnavailable(f"{type(error).__name__}: {error}") from error
    if error is not None:
        raise error
    return task.result()


async def _stop_producer(producer: AIOKafkaProducer) -> None:
    with contextlib.suppress(BusUnavailable):
        await _bounded(producer.stop(), _STOP_SECONDS)
    # A producer that would not stop still delivers once the broker is back, unless its parts are closed.
    with contextlib.suppress(BusUnavailable, AttributeError):
        if producer._sender is not None:
            await _bounded(producer._sender.close(), _STOP_SECONDS)
    with contextlib.suppress(BusUnavailable):
        await _bounded(producer.client.close(), _STOP_SECONDS)


async def _stop_consumer(consumer: AIOKafkaConsumer) -> None:
    try:
        await _bounded(consumer.stop(), _STOP_SECONDS)
    except BusUnavailable:
        # One that would not stop keeps its connections and goes on fetching for nobody, unless its parts are closed.
        heartbeat = getattr(consumer._coordinator, "_stop_heartbeat_task", None)
        for close in (heartbeat, getattr(consumer._fetcher, "close", None), consumer._client.close):
            if close is not None:
                with contextlib.suppress(BusUnavailable):
                    await _bounded(close(), _STOP_SECONDS)


def _retrieve(sent: "asyncio.Future[Any]") -> None:
    if not sent.cancelled():
        sent.exception()
