"""make bench: our tasks per second, their price and their waiting times, beside the peer's when asked for."""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

import uvloop

from lab import tables
from lab.children import NotStarted
from lab.load import LoadFailed, Shape
from lab.ours import running_suite
from lab.peer import running_peer
from lab.rounds import Series, memory_mib, run_round, warm
from lab.side import Side

LAB = Path(__file__).parents[2]
SHAPES = {"64": Shape(in_flight=64), "256": Shape(in_flight=256), "100/s": Shape(rate=100), "500/s": Shape(rate=500)}
WARM_TASKS = {"peer": 4_000, "ours": 20_000}
GOALS = {64: 3.0, 256: 4.0}
"""On Kafka: at least so many times the peer's tasks/s, and at most its CPU per task divided by it."""


@dataclass
class Result:
    """Everything one bus (or the peer alone) gave."""

    title: str
    series: list[Series] = field(default_factory=list)
    memory: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)

    def pairs(self) -> list[tuple[Series, Series]]:
        """Ours and the peer's under the same load, where both ran."""
        peers = {str(series.shape): series for series in self.series if series.side == "peer"}
        return [(series, peers[str(series.shape)]) for series in self.series if series.side != "peer" and str(series.shape) in peers]

    @property
    def is_sound(self) -> bool:
        """No round lost, refused or failed anything."""
        return all(each.is_sound for series in self.series for each in series.rounds)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(prog="python -m lab.bench", description=__doc__)
    with_peer = os.environ.get("PEER", "") not in ("", "0")
    parser.add_argument("--peer", action="store_true", default=with_peer, help="alternate with the peer and print ratios (also PEER=1)")
    parser.add_argument("--only-peer", action="store_true", help="measure the peer alone")
    parser.add_argument("--bus", nargs="+", choices=["memory", "kafka"], default=["memory", "kafka"])
    parser.add_argument("--load", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load in each round")
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--warm", type=int, default=WARM_TASKS["ours"], help="tasks before ours is measured: a fresh JVM starts slow")
    parser.add_argument("--scratch", type=Path, default=LAB / "scratch", help="where databases live meanwhile; must be a real disk")
    parser.add_argument("--results", type=Path, default=LAB / "results")
    return parser.parse_args(arguments)


async def measure(title: str, sides: Sequence[Side], options: argparse.Namespace) -> Result:
    """Every load on every side, in turns."""
    result = Result(title)
    for side in sides:
        say(f"warming {side.name}")
        run = await warm(side, WARM_TASKS["peer"] if side.name == "peer" else options.warm)
        if run.completed == 0:
            raise LoadFailed(f"{side.name} completed nothing while it was warmed: {dict(run.errors)}, {run.lost} lost")
    for name in options.load:
        shape = Shape(in_flight=SHAPES[name].in_flight, rate=SHAPES[name].rate, seconds=options.seconds)
        series = [Series(side.name, shape) for side in sides]
        for number in range(options.rounds):
            for side, each in zip(sides, series, strict=True):
                each.rounds.append(await run_round(side, shape))
                say(f"{title}, {shape}, round {number + 1}, {side.name}: {each.rounds[-1]}")
        result.series += series
    result.memory = {side.name: memory_mib(side) for side in sides}
    return result


def run(options: argparse.Namespace) -> list[Result]:
    """Start what is needed, measure, stop it."""
    results = []
    with contextlib.ExitStack() as stack:
        peers = []
        if options.peer or options.only_peer:
            say("starting the peer")
            peers.append(stack.enter_context(running_peer(options.scratch, users=options.users)))
        if options.only_peer:
            results.append(uvloop.run(measure("peer alone", peers, options)))
        for bus in [] if options.only_peer else options.bus:
            say(f"starting Darkroom on {bus}")
            with running_suite(options.scratch, bus=bus, users=options.users) as ours:
                results.append(uvloop.run(measure(bus, [ours, *peers], options)))
    return results


def report(results: Sequence[Result]) -> None:
    """Print every table."""
    for result in results:
        print(f"\n## {result.title}\n\n{tables.figures(result.series)}")
        for side in dict.fromkeys(series.side for series in result.series):
            print(f"\n{tables.split(result.series, side)}")
        if pairs := result.pairs():
            print(f"\nRatios to the peer (medians of rounds side by side; tasks/s more is better, the rest less)\n\n{tables.ratios(pairs)}")
        print(f"\n{tables.memory_table(result.memory)}")
    speeds = [each.machine_us for result in results for series in result.series for each in series.rounds]
    print(f"\nThe same small piece of work took {min(speeds) / 1e3:.0f} to {max(speeds) / 1e3:.0f} ms of CPU between these rounds:")
    print("compare ratios, not absolute figures.")


def missed_goals(results: Sequence[Result]) -> list[str]:
    """What the benches promise and did not show."""
    missed = [f"{result.title}: a round lost, refused or failed something" for result in results if not result.is_sound]
    for result in results:
        for ours, peer in result.pairs() if result.title == "kafka" else []:
            goal = GOALS.get(ours.shape.in_flight or 0)
            if goal is None:
                continue
            faster, dearer = ours.ratio(peer, "tasks_per_second"), ours.ratio(peer, "cpu_us_total")
            if faster < goal or dearer > 1 / goal:
                goal_text = f"the goal is {goal:g}x at {1 / goal:.2f}x"
                missed.append(f"kafka, {ours.shape}: {faster:.2f}x the tasks/s at {dearer:.2f}x the CPU; {goal_text}")
    return missed


def write(results: Sequence[Result], options: argparse.Namespace) -> Path:
    """The same as JSON."""
    options.results.mkdir(parents=True, exist_ok=True)
    path: Path = options.results / f"bench-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    machine: Mapping[str, object] = {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()}
    path.write_text(json.dumps({"machine": machine, "results": [asdict(result) for result in results]}, indent=1))
    return path


def say(text: str) -> None:
    """Progress for whoever waits."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind like ctrl-C, so that everything started is stopped."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main() -> int:
    """Exit code 0 only when every round was sound and every goal met."""
    options = parse(sys.argv[1:])
    try:
        with ended_by_sigterm():
            results = run(options)
    except (NotStarted, LoadFailed) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    report(results)
    print(f"written to {write(results, options)}")
    missed = missed_goals(results)
    for sentence in missed:
        print(f"missed: {sentence}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
