"""Measured rounds: one load on one side, with what it cost, and the medians of several."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lab import cpu
from lab.load import Run, Shape, drive, percentile_ms
from lab.side import Side

MIB = 1024 * 1024
APPLICATION = "application together"


@dataclass(frozen=True)
class Round:
    """One load on one side."""

    tasks_per_second: float
    cpu_us_per_task: Mapping[str, float]
    create_p50_ms: float
    create_p99_ms: float
    notify_p50_ms: float
    notify_p99_ms: float
    completed: int
    missing: int
    errors: Mapping[str, int]
    tail_seconds: float
    generator_us_per_task: float
    late_ms_max: float
    machine_us: float

    @property
    def cpu_us_total(self) -> float:
        """All processes of the side together."""
        return sum(self.cpu_us_per_task.values())

    def __str__(self) -> str:
        text = f"{self.tasks_per_second:,.0f} tasks/s, {self.cpu_us_total:,.0f} us/task, create->notify {self.notify_p50_ms:.1f} / {self.notify_p99_ms:.1f} ms"
        return text if self.is_sound else f"{text}; NOT SOUND: {self.completed} completed, {self.missing} missing, {dict(self.errors)}"

    @property
    def is_sound(self) -> bool:
        """Nothing was lost, refused or failed."""
        return self.missing == 0 and not self.errors and self.completed > 0


@dataclass
class Series:
    """All rounds of one side under one load."""

    side: str
    shape: Shape
    rounds: list[Round] = field(default_factory=list)

    def median(self, of: str) -> float:
        """The median of a figure over the rounds."""
        return statistics.median(float(getattr(each, of)) for each in self.rounds)

    def median_cpu(self, label: str) -> float:
        """The median CPU per task of one label."""
        return statistics.median(each.cpu_us_per_task.get(label, 0.0) for each in self.rounds)

    def ratio(self, other: "Series", of: str) -> float:
        """The median of the ratios of rounds that ran side by side, so that a machine that slows down slows both."""
        pairs = zip(self.rounds, other.rounds, strict=True)
        return statistics.median(float(getattr(mine, of)) / float(getattr(theirs, of)) for mine, theirs in pairs)


async def run_round(side: Side, shape: Shape) -> Round:
    """Drive, wait until the side is idle again, and divide what it used by what it completed.

    Work that a side leaves for after its last frame is thus counted too; how long that took is the tail.
    """
    machine_us = measure_machine_us()
    await cpu.settle(side.roots)
    before = cpu.cpu_seconds(side.roots)
    run = await drive(side.url, side.users, shape)
    tail_seconds = await cpu.settle(side.roots)
    after = cpu.cpu_seconds(side.roots)
    return _summarise(run, {label: after[label] - before.get(label, 0.0) for label in after}, tail_seconds, machine_us)


def _summarise(run: Run, cpu_seconds: Mapping[str, float], tail_seconds: float, machine_us: float) -> Round:
    completed = max(run.completed, 1)
    return Round(
        tasks_per_second=run.tasks_per_second,
        cpu_us_per_task={label: seconds / completed * 1e6 for label, seconds in cpu_seconds.items()},
        create_p50_ms=percentile_ms(run.create_seconds, 0.50),
        create_p99_ms=percentile_ms(run.create_seconds, 0.99),
        notify_p50_ms=percentile_ms(run.notify_seconds, 0.50),
        notify_p99_ms=percentile_ms(run.notify_seconds, 0.99),
        completed=run.completed,
        missing=run.lost + run.repeated,
        errors=dict(run.errors),
        tail_seconds=tail_seconds,
        generator_us_per_task=run.generator_us_per_task,
        late_ms_max=run.late_ms_max,
        machine_us=machine_us,
    )


def measure_machine_us() -> float:
    """CPU for a fixed piece of work: on a shared host the same work costs twice as much in a bad minute."""
    began = time.process_time()
    total = 0
    for number in range(300_000):
        total += number
    return (time.process_time() - began) * 1e6


def memory_mib(side: Side) -> dict[str, tuple[float, float]]:
    """RSS and PSS now, by label, in MiB; the application's processes also together."""
    used = {label: (each.rss_bytes / MIB, each.pss_bytes / MIB) for label, each in cpu.memory(side.roots).items()}
    used[APPLICATION] = (sum(used[label][0] for label in side.application), sum(used[label][1] for label in side.application))
    return used


async def warm(side: Side, tasks: int, in_flight: int = 128) -> Run:
    """Let compilers, caches and pools reach their working state."""
    run = await drive(side.url, side.users, Shape(in_flight=in_flight, tasks=tasks))
    await cpu.settle(side.roots)
    return run


def labels(series: Sequence[Series]) -> list[str]:
    """The processes of these rounds, in the order they were named."""
    found: dict[str, None] = {}
    for each in series:
        for one in each.rounds:
            found.update(dict.fromkeys(one.cpu_us_per_task))
    return list(found)
