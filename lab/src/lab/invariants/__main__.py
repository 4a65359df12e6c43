"""`darkroom status -o env | python -m lab.invariants`: one sentence per broken rule, and an exit code."""

import argparse
import asyncio
import sys

from lab.invariants import check_when_settled, places_of


def main() -> int:
    """0 when all is well, 1 when not, 2 when there is nothing to look at."""
    parser = argparse.ArgumentParser(prog="python -m lab.invariants", description=__doc__)
    parser.add_argument("--wait", type=float, default=10.0, help="seconds that facts may still be on their way")
    options = parser.parse_args()
    environment = dict(line.strip().split("=", 1) for line in sys.stdin if "=" in line)
    places = places_of(environment)
    if not places.databases:
        print("no <SERVICE>_DATABASE_URL was given", file=sys.stderr)
        return 2
    found = asyncio.run(check_when_settled(places, seconds_max=options.wait))
    for sentence in found:
        print(sentence)
    if not found:
        print(f"all is well in {', '.join(places.databases)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
