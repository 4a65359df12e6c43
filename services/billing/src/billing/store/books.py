"""Locking and saving what a batch touches: accounts first, by id; their holds are guarded by them. One statement each."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from uuid import UUID

import asyncpg

from billing.domain import Account, Book, Captured, Hold, HoldTerms, Owner, System
from billing.domain.entry import first_link

_ACCOUNT = (
    "account_id, user_id, asset, posted, held, consumed, version, entries, records, head, lots, next_expiry_us, "
    "receivable, consumes, recharges, recharged, memberships"
)
_CAPTURABLE = "task_id, account_id, state, price, items, captured_amount, written_off_amount, draws"
_HOLD = f"{_CAPTURABLE}, body_hash, extensions, renewed_at, expires_at, look_at"


async def lock_book_of_owners(
    conn: asyncpg.Connection, now: datetime, owners: Collection[Owner], task_ids: Sequence[UUID] = (), *, terms: HoldTerms | None = None
) -> Book:
    """Lock these accounts, as far as they are open, then read the holds these tasks have, whoever's they are."""
    rows = await conn.fetch(
        f"""
        SELECT {_ACCOUNT}, (SELECT max(ends_at) FROM membership_period AS period WHERE period.user_id = account.user_id) FROM account
        WHERE asset = 'credit' AND user_id = ANY($1::uuid[]) OR asset = 'point' AND user_id = ANY($2::uuid[])
        ORDER BY account_id FOR UPDATE
        """,
        [user_id for user_id, asset in owners if asset == "credit"], [user_id for user_id, asset in owners if asset == "point"],
    )  # fmt: skip
    # A second statement, because its snapshot must be younger than the locks.
    holds = await _list_holds(conn, task_ids) if task_ids else ()
    return Book(now, (Account(*row) for row in rows), holds, terms=terms)


async def lock_book_of_tasks(conn: asyncpg.Connection, now: datetime, task_ids: Sequence[UUID], *, terms: HoldTerms | None = None) -> Book:
    """Lock the accounts of these tasks' holds, then read the holds; tasks without a hold are simply not in the book.

    Without `terms` the holds come as far as a capture needs them.
    """
    rows = await conn.fetch(
        f"""
        SELECT {_ACCOUNT} FROM account
        WHERE account_id = ANY(ARRAY(SELECT account_id FROM hold WHERE task_id = ANY($1::uuid[])))
        ORDER BY account_id FOR UPDATE
        """,
        task_ids,
    )
    accounts = [Account(*row) for row in rows]
    locked = {account.account_id for account in accounts}
    # A hold placed since the first statement may be of an account that is not locked: to this book it does not exist yet.
    holds = [hold for hold in await _list_holds(conn, task_ids, _HOLD if terms else _CAPTURABLE) if hold.account_id in locked]
    return Book(now, accounts, holds, terms=terms)


async def lock_book_of_accounts(conn: asyncpg.Connection, now: datetime, account_ids: Sequence[int]) -> Book:
    """Lock these accounts."""
    rows = await conn.fetch(f"SELECT {_ACCOUNT} FROM account WHERE account_id = ANY($1::bigint[]) ORDER BY account_id FOR UPDATE", account_ids)
    return Book(now, (Account(*row) for row in rows))


async def insert_accounts(conn: asyncpg.Connection, now: datetime, owners: Iterable[Owner]) -> Book:
    """Open those of these accounts that nobody has opened; they are empty. Sorted, so that two openers never wait in a ring."""
    wanted = sorted(owners)
    rows = await conn.fetch(
        f"""
        INSERT INTO account (user_id, asset, head, opened_at)
        SELECT o.user_id, o.asset, o.head, $4 FROM unnest($1::uuid[], $2::text[], $3::bytea[]) AS o (user_id, asset, head)
        ON CONFLICT (user_id, asset) DO NOTHING RETURNING {_ACCOUNT}
        """,
        [user_id for user_id, _ in wanted], [asset for _, asset in wanted], [first_link(*owner) for owner in wanted], now,
    )  # fmt: skip
    return Book(now, (Account(*row) for row in rows))


async def _list_holds(conn: asyncpg.Connection, task_ids: Sequence[UUID], columns: str = _HOLD) -> list[Hold]:
    return [Hold(*row) for row in await conn.fetch(f"SELECT {columns} FROM hold WHERE task_id = ANY($1::uuid[])", task_ids)]


# Rows come as one array of composite values: asyncpg encodes those at half the price of parallel arrays. Two things keep the plans good
# whatever the tables have grown to: `= ANY(ARRAY(...))` sends the planner to the primary key instead of a scan, and the state an UPDATE
# leaves is compared with a column, for as a constant it would tempt the planner to walk the index of all open holds.
_UPDATE_ACCOUNTS = """
    UPDATE account SET posted = c.posted, held = c.held, consumed = c.consumed, version = c.version, entries = c.entries,
        records = c.records, head = c.head, lots = c.lots::json, next_expiry_us = c.next_expiry_us,
        receivable = c.receivable, consumes = c.consumes, recharges = c.recharges, recharged = c.recharged, memberships = c.memberships
    FROM changed AS c WHERE account.account_id = c.account_id AND account.account_id = ANY(ARRAY(SELECT account_id FROM changed))"""
_SAVE_ACCOUNTS = f"WITH changed AS MATERIALIZED (SELECT * FROM unnest($1::account_saved[])) {_UPDATE_ACCOUNTS}"
_SAVE_PLACED = f"""
    WITH changed AS MATERIALIZED (SELECT * FROM unnest($1::account_saved[])),
    placed AS MATERIALIZED (SELECT * FROM unnest($2::hold_placed[])),
    accounts AS ({_UPDATE_ACCOUNTS}),
    holds AS (
        INSERT INTO hold (task_id, account_id, price, items, body_hash, draws, placed_at, renewed_at, expires_at, look_at)
        SELECT task_id, account_id, price, items, body_hash, draws::json, $3, $3, $3::timestamptz + expires_in_seconds * interval '1 second', $4
        FROM placed)
    INSERT INTO record (account_id, number, kind, amount, available_after, ref_id, at)
    SELECT account_id, record_number, 'consume', -price * items, available_after, task_id, $3 FROM placed WHERE record_number IS NOT NULL"""
_SAVE_CAPTURED = f"""
    WITH changed AS MATERIALIZED (SELECT * FROM unnest($1::account_saved[])),
    captured AS MATERIALIZED (SELECT *, 'open' AS was FROM unnest($2::hold_captured[])),
    accounts AS ({_UPDATE_ACCOUNTS}),
    holds AS (
        UPDATE hold SET state = 'captured', captured_amount = c.captured_amount, resolved_at = $3 FROM captured AS c
        WHERE hold.task_id = c.task_id AND hold.state = c.was AND hold.task_id = ANY(ARRAY(SELECT task_id FROM captured)))
    INSERT INTO entry (account_id, number, debit, credit, asset, amount, posted_after, kind, source, reason, at, hash)
    SELECT account_id, number, account_id, $4, asset, captured_amount, posted_after, 'capture', task_id::text, '', $3, hash FROM captured"""
_SAVE_ENDED = """
    WITH ended AS MATERIALIZED (SELECT * FROM unnest($1::hold_ended[]))
    UPDATE hold SET state = c.state, captured_amount = c.captured_amount, written_off_amount = c.written_off_amount,
        resolved_at = coalesce(resolved_at, $2)
    FROM ended AS c WHERE hold.task_id = c.task_id AND hold.state = c.was AND hold.task_id = ANY(ARRAY(SELECT task_id FROM ended))"""
_SAVE_MOVED = """
    WITH moved AS MATERIALIZED (SELECT * FROM unnest($1::hold_moved[]))
    UPDATE hold SET extensions = c.extensions, renewed_at = c.renewed_at, expires_at = c.expires_at, look_at = c.look_at
    FROM moved AS c WHERE hold.task_id = c.task_id AND hold.state = c.was AND hold.task_id = ANY(ARRAY(SELECT task_id FROM moved))"""
_INSERT_ENTRIES = """
    INSERT INTO entry (account_id, number, debit, credit, asset, amount, posted_after, kind, source, reason, at, hash)
    SELECT * FROM unnest($1::entry[])"""
_INSERT_RECORDS = """
    INSERT INTO record (account_id, number, kind, amount, available_after, ref_id, description, at)
    SELECT * FROM unnest($1::public.record[])"""


_account_saved = attrgetter(
    "account_id", "posted", "held", "consumed", "version", "entries", "records", "head", "written_lots", "next_expiry_us",
    "receivable", "consumes", "recharges", "recharged", "memberships",
)  # fmt: skip
_placed = attrgetter("task_id", "account_id", "price", "items", "expires_in_seconds", "body_hash", "draws", "record_number", "available_after")


async def save_book(conn: asyncpg.Connection, book: Book) -> None:
    """Write everything the book has changed, each row once. One statement for a batch of plain holds or plain captures."""
    for account in book.changed_accounts.values():
        account.close_lots()
    accounts = [_account_saved(account) for account in book.changed_accounts.values()]
    if book.placed:
        await conn.execute(_SAVE_PLACED, accounts, [_placed(one) for one in book.placed.values()], book.now, book.look_at)
    elif book.captured:
        await conn.execute(_SAVE_CAPTURED, accounts, [_captured(one) for one in book.captured], book.now, int(System.REVENUE))
    elif accounts:
        await conn.execute(_SAVE_ACCOUNTS, accounts)
    if book.ended:
        rows = [(one.task_id, one.was, one.state, one.captured_amount, one.written_off_amount) for one in book.ended.values()]
        await conn.execute(_SAVE_ENDED, rows, book.now)
    if book.moved:
        await conn.execute(_SAVE_MOVED, [(one.task_id, one.was, one.extensions, one.renewed_at, one.expires_at, one.look_at) for one in book.moved.values()])
    if book.entries:
        await conn.execute(_INSERT_ENTRIES, book.entries)
    if book.records:
        await conn.execute(_INSERT_RECORDS, book.records)


def _captured(captured: Captured) -> tuple[object, ...]:
    hold, entry = captured
    return (hold.task_id, hold.captured_amount, entry.account_id, entry.number, entry.asset, entry.posted_after, entry.hash)
