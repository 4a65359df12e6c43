"""`darkroom topics`: the catalogue as a table, and onto a broker."""

from __future__ import annotations

import json

from common.events.catalog import FACTS
from suite.console import out, print_lines, print_plainly
from suite.foundation import apply_topics
from suite.home import Home, SuiteError


def show_topics(form: str) -> None:
    """Print every topic, as lines or as JSON."""
    facts = sorted(FACTS, key=lambda fact: fact.topic)
    if form == "json":
        found = [
            {
                "topic": fact.topic, "owner": fact.owner, "groups": list(fact.groups), "broadcast": list(fact.broadcast),
                "retention_hours": fact.retention_hours,
            }
            for fact in facts
        ]  # fmt: skip
        print_plainly(json.dumps(found, indent=1))
        return
    rows = [(fact.topic, fact.owner, ", ".join(fact.groups) or "-", ", ".join(fact.broadcast) or "-", f"{fact.retention_hours} h") for fact in facts]
    print_lines(("topic", "owner", "heard by", "broadcast to", "kept"), rows)


async def create_topics(home: Home, bus_url: str | None) -> None:
    """Create what is missing on the broker of `bus_url`, or of the running suite."""
    url = bus_url or home.running_state().environment["DARKROOM_BUS_URL"]
    if url == "memory://":
        out.print("The suite here runs on the bus in memory, which needs no topics.")
        return
    if not url.startswith("kafka://"):
        raise SuiteError(f"{url} is not a broker's address (kafka://host:port).")
    made = await apply_topics(url.removeprefix("kafka://").rstrip("/"))
    out.print(f"Created {', '.join(sorted(made))}." if made else "Every topic was there already.")
