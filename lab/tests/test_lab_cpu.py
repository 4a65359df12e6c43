"""What the meter counts, shown on real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab import cpu

BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
WITH_A_CHILD = f"import subprocess, sys, time\nsubprocess.run([sys.executable, '-c', {BURN!r}])\nprint('done', flush=True)\ntime.sleep(60)"


@contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "done\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_cpu_of_a_child_that_has_ended_counts_with_its_parent() -> None:
    with running(WITH_A_CHILD) as process:
        assert cpu.cpu_seconds({"it": [process.pid]})["it"] >= 0.25


def test_a_labelled_child_is_not_counted_with_its_parent() -> None:
    with running("print('done', flush=True)\nimport time\ntime.sleep(60)") as process:
        found = cpu.members({"me": [os.getpid()], "it": [process.pid]}, cpu.read_stats())
        assert found["it"] == [process.pid]
        assert os.getpid() in found["me"]
        assert process.pid not in found["me"]


def test_memory_is_read_and_a_process_that_is_gone_counts_nothing() -> None:
    used = cpu.memory({"me": [os.getpid()], "gone": [2**22 + 1]})
    assert used["me"].rss_bytes > 5_000_000
    assert used["gone"] == cpu.Memory(0, 0)
