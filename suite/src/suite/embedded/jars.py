"""Kafka's jars: fetched once from Maven Central, listed as a class path, shared between runs. Runs as a program of its own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# 4.4.0 is out, but some of its dependencies never reached Maven Central.
KAFKA = "org.apache.kafka:kafka_2.13:4.3.1"
# Kafka logs through slf4j 1.7 and brings no back end; without one a broker that cannot start ends in silence.
LOGGER = "org.slf4j:slf4j-simple:1.7.36"
FETCH_SECONDS_MAX = 30


def find_class_path(folder: Path) -> str | None:
    """The class path when every jar in it is there; sorted, so that an archive made with it fits the next time."""
    try:
        class_path = _listing(folder).read_text()
    except OSError:
        return None
    return class_path if all(Path(jar).exists() for jar in class_path.split(os.pathsep)) else None


def fetch(folder: Path) -> None:
    """Bring the jars; of several processes one does it, and the others wait."""
    # Slow to import, and needed once in a machine's life.
    from jgo.env import EnvironmentBuilder, LinkStrategy
    from jgo.maven import MavenContext

    with _locked(folder / "lock"):
        if find_class_path(folder) is not None:
            return
        context = MavenContext(repo_cache=folder / "maven", timeout=FETCH_SECONDS_MAX)
        builder = EnvironmentBuilder(context=context, cache_dir=folder / "jgo", link_strategy=LinkStrategy.AUTO)
        environment = builder.from_endpoint(f"{KAFKA}+{LOGGER}")
        jars = sorted(str(jar) for jar in environment.path.rglob("*.jar"))
        _listing(folder).write_text(os.pathsep.join(jars))


def _listing(folder: Path) -> Path:
    name = hashlib.sha256(f"{KAFKA}+{LOGGER}".encode()).hexdigest()[:16]
    return folder / f"{name}.classpath"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
