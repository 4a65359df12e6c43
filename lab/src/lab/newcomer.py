"""make newcomer: what somebody new waits for. The README's two commands in fresh clones of what is committed; fails where one fails or takes too long."""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.rounds import measure_machine_us
from lab.tables import table

ROOT = Path(__file__).parents[3]
LINES_SHOWN = 40


@dataclass(frozen=True)
class Wait:
    """One command in one clone, and how many seconds it may take."""

    what: str
    clone: str
    target: str
    seconds_max: float
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Waited:
    """How a wait ended."""

    wait: Wait
    code: int
    seconds: float

    @property
    def verdict(self) -> str:
        """Empty when all is well."""
        if self.code:
            return "failed"
        return "too long" if self.seconds > self.wait.seconds_max else ""


def waits(downloads: Path, *, with_tests: bool) -> list[Wait]:
    """The commands in their order; the first demo finds nothing in `downloads`, the others what it left there."""
    at_hand = {"XDG_CACHE_HOME": str(downloads)}
    demos = [
        Wait("make demo, a fresh clone, nothing downloaded yet", "first", "demo", 180, at_hand),
        Wait("make demo, a fresh clone, downloads at hand", "second", "demo", 30, at_hand),
        Wait("make demo, once more", "second", "demo", 30, at_hand),
    ]
    return [*demos, Wait("make test, a fresh clone", "third", "test", 900, {"CI": "true"})] if with_tests else demos


def run(wait: Wait, clone: Path) -> Waited:
    """Make it; what it printed is shown when it fails."""
    began = time.monotonic()
    done = subprocess.run(
        ["make", wait.target], cwd=clone, env=os.environ | wait.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-LINES_SHOWN:]), file=sys.stderr)
    return Waited(wait, done.returncode, time.monotonic() - began)


def report(all_waited: Sequence[Waited]) -> str:
    """A line per command."""
    rows = [[one.wait.what, f"{one.seconds:.0f}", f"{one.wait.seconds_max:.0f}", one.verdict or "well"] for one in all_waited]
    return table(["command", "seconds", "at most", "ended"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the commands; 1 when one failed or took too long."""
    parser = argparse.ArgumentParser(prog="python -m lab.newcomer", description=__doc__)
    parser.add_argument("--test", action="store_true", help="also `make test`, where a missing part is a failure")
    options = parser.parse_args(arguments)
    all_waited = []
    with tempfile.TemporaryDirectory(prefix="darkroom-newcomer-") as name:
        for wait in waits(Path(name) / "downloads", with_tests=options.test):
            clone = Path(name) / wait.clone
            if not clone.exists():
                subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
            print(f"{wait.what} ...", flush=True)
            all_waited.append(run(wait, clone))
    print(f"\n{report(all_waited)}\n\na fixed loop takes {measure_machine_us() / 1000:.0f} ms of CPU on this machine")
    return 1 if any(one.verdict for one in all_waited) else 0


if __name__ == "__main__":
    sys.exit(main())
