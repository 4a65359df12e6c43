"""The test command: every group of tests in turn, with what took how long; exits non-zero when one fails.

Groups run one after another: a browser wants the machine to itself, and brokers, and processes that are killed, no crowd beside them.
Within a group a few files run at once, and crash tests each by itself: they wait more than they work.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

BIN = Path(sys.executable).parent
BY_FILE = ("--dist", "loadfile", "--no-loadscope-reorder")
GROUPS = {
    "library, services, suite": ["-m", "not kafka and not crash and not slow and not browser", "-n", "3", *BY_FILE],
    "pages": ["-m", "browser and not kafka and not crash and not slow"],
    "kafka, crash": ["-m", "(kafka or crash) and not slow", "-n", "4", "--dist", "loadgroup", "--no-loadscope-reorder"],
}
NO_TESTS = 5
# Where Python is told to keep no compiled modules, each process that a test starts compiles every library anew: half of all the time.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> int:
    """Run the groups; further arguments go to pytest."""
    took: list[tuple[str, float, int]] = []
    for name, choice in GROUPS.items():
        sys.stdout.write(f"\n== {name}\n")
        sys.stdout.flush()
        began = time.monotonic()
        code = subprocess.run([str(BIN / "pytest"), *choice, "--durations=5", *sys.argv[1:]], env=ENVIRONMENT, check=False).returncode
        took.append((name, time.monotonic() - began, code))
    sys.stdout.write("\n")
    for name, seconds, code in took:
        verdict = "passed" if code == 0 else "no tests" if code == NO_TESTS else "failed"
        sys.stdout.write(f"{name:<28} {seconds:7.1f} s  {verdict}\n")
    return 0 if all(code == 0 for _, _, code in took) else 1


if __name__ == "__main__":
    sys.exit(main())
