"""Billing's promise: credits are moved, never made; and each hold ends as its task did."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from typing import Any
from uuid import UUID

import asyncpg

from lab.invariants.places import say
from lab.invariants.tasks import Task

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def check_books(billing: asyncpg.Connection) -> list[str]:
    """The ledger, the balances and the histories, each against the others."""
    found = []
    for what, query in _RULES.items():
        found += say(what, [row[0] for row in await billing.fetch(query)])
    return found + await _check_chains(billing)


async def _check_chains(billing: asyncpg.Connection) -> list[str]:
    """Each entry carries the hash of the one before, back to its owner's name; computed here in our own words."""
    accounts = {row["account_id"]: row for row in await billing.fetch("SELECT account_id, user_id, asset, head FROM account")}
    heads = {account_id: sha256(f"{row['user_id']}/{row['asset']}".encode()).digest() for account_id, row in accounts.items()}
    broken: list[str] = []
    rows = await billing.fetch("SELECT account_id, number, debit, credit, amount, posted_after, kind, source, at, reason, hash FROM entry ORDER BY 1, 2")
    for account_id, entries in groupby(rows, itemgetter("account_id")):
        for entry in entries:
            heads[account_id] = sha256(heads.get(account_id, b"") + _hashed(entry)).digest()
            if heads[account_id] != entry["hash"]:
                broken.append(f"{account_id} at entry {entry['number']}")
                break
    found = say("accounts whose chain of entries is broken", broken)
    if not broken:
        found += say("accounts whose head is not their last entry's hash", [each for each, row in accounts.items() if row["head"] != heads[each]])
    return found


def _hashed(entry: Mapping[str, Any]) -> bytes:
    microseconds = (entry["at"] - _EPOCH) // timedelta(microseconds=1)
    fields = [entry[name] for name in ("number", "debit", "credit", "amount", "posted_after", "kind", "source")]
    return "|".join(map(str, [*fields, microseconds, entry["reason"]])).encode()


async def check_holds(billing: asyncpg.Connection, tasks: Mapping[UUID, Task]) -> list[str]:
    """Every task had a hold of its price, and it ended the matching way; what no task came of was given back."""
    rows = await billing.fetch(
        """
        SELECT hold.task_id, account.user_id, account.asset, hold.state, hold.price, hold.items, hold.captured_amount, hold.written_off_amount
        FROM hold JOIN account USING (account_id)
        """
    )
    holds = {row["task_id"]: row for row in rows}
    found = say("tasks without a hold", [task_id for task_id in tasks if task_id not in holds])
    orphans = [hold for task_id, hold in holds.items() if task_id not in tasks]
    found += say("holds without a task that took something", [hold["task_id"] for hold in orphans if hold["captured_amount"]])
    found += say("holds that are still open", [f"{task_id}" for task_id, hold in holds.items() if hold["state"] == "open"])
    found += say("holds that do not match their task", _mismatches(holds, tasks))
    return found


def _mismatches(holds: Mapping[UUID, Mapping[str, Any]], tasks: Mapping[UUID, Task]) -> Iterator[str]:
    for task_id, task in tasks.items():
        hold = holds.get(task_id)
        if hold is None or hold["state"] == "open":
            continue
        asset = "point" if task.kind == "song" else "credit"
        if (hold["user_id"], hold["asset"]) != (task.user_id, asset):
            yield f"{task_id} (of another account)"
        if hold["price"] * hold["items"] != task.price or hold["items"] != task.asked:
            yield f"{task_id} (held {hold['price']} x {hold['items']}, the task says {task.price} for {task.asked})"
        due = hold["price"] * task.delivered
        paid = hold["captured_amount"] + hold["written_off_amount"]
        state = {"captured"} if due else {"released", "expired"}
        if paid != due or (hold["state"] not in state and not (hold["state"] == "expired" and due)):
            yield f"{task_id} ({task.state} with {task.delivered} of {task.asked}, hold {hold['state']} with {hold['captured_amount']} of {due} taken)"


_SIGNED = "CASE WHEN entry.credit = entry.account_id THEN entry.amount ELSE -entry.amount END"
_RULES = {
    "assets whose postings do not sum to zero": """
        WITH posting AS (
            SELECT asset, debit AS account, -amount AS amount FROM entry UNION ALL SELECT asset, credit, amount FROM entry
        ), held AS (
            SELECT asset, sum(posted) AS posted FROM account GROUP BY asset
        )
        SELECT format('%s (users have %s, systems gave %s)', asset, posted, -coalesce(sum(amount) FILTER (WHERE account < 0), 0))
        FROM held LEFT JOIN posting USING (asset) GROUP BY asset, posted
        HAVING coalesce(sum(amount), 0) <> 0 OR posted <> -coalesce(sum(amount) FILTER (WHERE account < 0), 0)
    """,
    "accounts whose balance is not the sum of their entries": f"""
        SELECT account.account_id FROM account LEFT JOIN entry USING (account_id) GROUP BY account.account_id
        HAVING account.posted <> coalesce(sum({_SIGNED}), 0)
    """,
    "accounts whose entries have gaps or are not as many as they count": """
        SELECT account.account_id FROM account LEFT JOIN entry USING (account_id) GROUP BY account.account_id
        HAVING count(entry.number) <> account.entries OR coalesce(max(entry.number), 0) <> account.entries
    """,
    "entries whose running balance is wrong": f"""
        SELECT DISTINCT account_id FROM (
            SELECT account_id, posted_after, sum({_SIGNED}) OVER (PARTITION BY account_id ORDER BY number) AS running FROM entry
        ) AS step WHERE posted_after <> running
    """,
    "entries of another asset than their account": "SELECT account_id FROM entry JOIN account USING (account_id) WHERE entry.asset <> account.asset",
    "entries without an account": "SELECT account_id FROM entry WHERE NOT EXISTS (SELECT FROM account WHERE account.account_id = entry.account_id)",
    "accounts below zero": "SELECT account_id FROM account WHERE posted - held < 0 OR held < 0",
    "accounts that hold another amount than their open holds": """
        SELECT account.account_id FROM account LEFT JOIN hold ON hold.account_id = account.account_id AND hold.state = 'open'
        GROUP BY account.account_id HAVING account.held <> coalesce(sum(hold.price * hold.items), 0)
    """,
    "accounts whose lots are not what is available": """
        SELECT account_id FROM account
        WHERE posted - held <> (SELECT coalesce(sum((lot ->> 1)::bigint), 0) FROM jsonb_array_elements(lots::jsonb) AS lot)
    """,
    "accounts that consumed another amount than was captured": """
        SELECT account.account_id FROM account LEFT JOIN entry ON entry.account_id = account.account_id AND entry.kind IN ('capture', 'late_capture')
        GROUP BY account.account_id HAVING account.consumed <> coalesce(sum(entry.amount), 0)
    """,
    "holds whose captured amount is not in the ledger once": """
        SELECT coalesce(hold.task_id::text, entry.source) FROM hold
        FULL JOIN (SELECT source, sum(amount) AS amount FROM entry WHERE kind IN ('capture', 'late_capture') GROUP BY source) AS entry
            ON entry.source = hold.task_id::text
        WHERE coalesce(hold.captured_amount, -1) <> coalesce(entry.amount, 0)
    """,
    "histories of records that have gaps or are not as many as their account counts": """
        SELECT account.account_id FROM account LEFT JOIN record USING (account_id) GROUP BY account.account_id
        HAVING count(record.number) <> account.records OR coalesce(max(record.number), 0) <> account.records
    """,
    "records whose running number is wrong": """
        SELECT DISTINCT account_id FROM (
            SELECT account_id, available_after, sum(amount) OVER (PARTITION BY account_id ORDER BY number) AS running FROM record
        ) AS step WHERE available_after <> running
    """,
    "accounts whose records do not add up to what is available": """
        SELECT account.account_id FROM account LEFT JOIN record USING (account_id) GROUP BY account.account_id
        HAVING coalesce(sum(record.amount), 0) <> account.posted - account.held
    """,
    "holds whose records do not add up to what they took": """
        SELECT hold.task_id FROM hold LEFT JOIN record ON record.account_id = hold.account_id AND record.ref_id = hold.task_id
        GROUP BY hold.task_id
        HAVING coalesce(sum(record.amount), 0) <> CASE WHEN hold.state = 'open' THEN -hold.price * hold.items ELSE -hold.captured_amount END
    """,
}
