"""The embedded Kafka: started, adopted, killed and restarted with what it had."""

import asyncio
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from suite.embedded.kafka import EmbeddedKafka, answers
from suite.embedded.parts import EmbeddedError, PortTaken, is_alive

STARTS_ONE = """
import asyncio, sys, time
from pathlib import Path
from suite.embedded.kafka import EmbeddedKafka

async def main():
    broker = EmbeddedKafka(Path(sys.argv[1]))
    await broker.start()
    print(broker.pid, broker.port, flush=True)
    time.sleep(600)

asyncio.run(main())
"""

pytestmark = pytest.mark.kafka


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[EmbeddedKafka]:
    broker = EmbeddedKafka(folder, dies_with_us=True)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()


async def create_topic(bootstrap: str, topic: str) -> int:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    await admin.start()
    try:
        answer = await admin.create_topics([NewTopic(topic, num_partitions=6, replication_factor=1)])
        return int(answer.topic_errors[0][1])
    finally:
        await admin.close()


async def send(bootstrap: str, topic: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, request_timeout_ms=5_000)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def read(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id="test", auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_a_record_goes_round(kafka: EmbeddedKafka) -> None:
    assert await create_topic(kafka.bootstrap, "round") == 0
    await send(kafka.bootstrap, "round", b"trip")
    assert await read(kafka.bootstrap, "round", 1) == [b"trip"]


async def test_topics_are_never_made_by_accident(kafka: EmbeddedKafka) -> None:
    with pytest.raises(KafkaError):
        await send(kafka.bootstrap, "nobody-made-this", b"x")


async def test_a_broker_killed_and_paused_comes_back_with_what_it_had(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    async with running(tmp_path / "kafka") as broker:
        assert await create_topic(broker.bootstrap, "kept") == 0
        await send(broker.bootstrap, "kept", b"before")
        await broker.kill()
        assert not await answers(broker.port)
        await broker.start()
        assert not broker.adopted
        broker.pause()
        async with asyncio.timeout(30):
            while await answers(broker.port):  # what it had begun to answer may still arrive
                await asyncio.sleep(0.1)
        broker.resume()
        await send(broker.bootstrap, "kept", b"after")
        assert sorted(await read(broker.bootstrap, "kept", 2)) == [b"after", b"before"]


async def test_a_broker_left_by_a_killed_parent_is_adopted(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS_ONE, str(tmp_path / "kafka")]
    parent = await asyncio.to_thread(subprocess.Popen, command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        pid, port = (int(word) for word in (await asyncio.to_thread(parent.stdout.readline)).split())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert is_alive(pid)
    async with running(tmp_path / "kafka") as broker:
        assert (broker.adopted, broker.pid, broker.port) == (True, pid, port)
    assert not is_alive(pid)


async def test_a_taken_port_is_told_in_a_sentence(kafka: EmbeddedKafka, tmp_path: Path) -> None:
    with pytest.raises(PortTaken, match=f"Kafka cannot start: port {kafka.port}"):
        await EmbeddedKafka(tmp_path / "kafka", kafka.port).start()


async def test_jars_that_cannot_be_had_are_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(EmbeddedError, match="Kafka cannot be had: its jars could not be fetched"):
            await EmbeddedKafka(tmp_path / "kafka").start()


async def test_a_broken_broker_tells_why(kafka: EmbeddedKafka) -> None:
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "kafka" / "data"
        data.mkdir(parents=True)
        (data / "meta.properties").write_text("version=1\ncluster.id=x\nnode.id=77\n")
        with pytest.raises(EmbeddedError, match="Kafka did not start: "):
            await EmbeddedKafka(Path(name) / "kafka").start()
