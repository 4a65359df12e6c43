"""The dead letters of every service: what they are, and giving them back to the group that could not take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import orjson

from common.bus.envelope import Outgoing, bundle
from suite.home import SuiteError
from suite.members import WITH_DATA


@dataclass(frozen=True)
class Letter:
    """One dead letter, for a table."""

    service: str
    number: int
    topic: str
    cause: str
    tries: int
    failed_at: datetime
    is_replayed: bool


async def list_letters(environment: Mapping[str, str], *, everything: bool = False) -> list[Letter]:
    """Those that wait to be looked at, oldest first; with `everything` also those that were given back."""
    found = []
    for service in WITH_DATA:
        connection = await asyncpg.connect(environment[f"{service.upper()}_DATABASE_URL"])
        try:
            rows = await connection.fetch(
                "SELECT dead_letter_id, topic, cause, tries, failed_at, replayed_at IS NOT NULL AS is_replayed"
                " FROM dead_letter WHERE $1 OR replayed_at IS NULL ORDER BY dead_letter_id LIMIT 1000",
                everything,
            )
        finally:
            await connection.close()
        found += [Letter(service, row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows]
    return found


async def replay(environment: Mapping[str, str], service: str, numbers: list[int]) -> int:
    """Give letters back: the group forgets that it heard the fact, and the service's own outbox tells it again.

    Other groups hear it again too and their inboxes absorb it. Letters that were never facts (undecodable) cannot be given back.
    """
    connection = await asyncpg.connect(environment[f"{service.upper()}_DATABASE_URL"])
    try:
        async with connection.transaction():
            rows = await connection.fetch(
                "SELECT * FROM dead_letter WHERE dead_letter_id = ANY($1::bigint[]) AND replayed_at IS NULL ORDER BY dead_letter_id FOR UPDATE", numbers
            )
            hopeless = [str(row["dead_letter_id"]) for row in rows if row["event_id"] is None]
            if hopeless:
                raise SuiteError(f"Letter {', '.join(hopeless)} of {service} could not even be read as a fact; it cannot be given back.")
            for row in rows:
                await _give_back(connection, row)
    finally:
        await connection.close()
    return len(rows)


async def _give_back(connection: asyncpg.Connection[Any], row: asyncpg.Record) -> None:
    headers = row["headers"] if isinstance(row["headers"], dict) else orjson.loads(row["headers"])
    said_at = datetime.fromisoformat(headers["ce_time"])
    fact = Outgoing(
        row["event_id"], row["topic"], headers.get("ce_partitionkey") or (row["key"] or b"").decode(), row["payload"], headers["ce_subject"],
        int(headers["ce_sequence"]), said_at, headers.get("ce_correlationid"), headers.get("traceparent"),
    )  # fmt: skip
    await connection.execute("DELETE FROM inbox WHERE event_id = $1 AND group_name = $2", row["event_id"], row["group_name"])
    # The time of the fact stays what it was; a lease in the past lets the next sweep take the row.
    await connection.execute("INSERT INTO outbox (facts, created_at, leased_until) VALUES ($1, $2, '-infinity')", bundle([fact]), said_at)
    await connection.execute("UPDATE dead_letter SET replayed_at = now() WHERE dead_letter_id = $1", row["dead_letter_id"])
