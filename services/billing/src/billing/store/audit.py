"""The auditor's statements: everything that must agree, in one snapshot."""

from datetime import UTC, datetime
from typing import Any

import asyncpg

from billing.domain import Findings, System

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

# What an entry must be after the one before it, recomputed: domain/entry.py's `link`.
_LINK = """sha256(
    coalesce(before.hash, sha256(convert_to(account.user_id::text || '/' || account.asset, 'UTF8')))
    || convert_to(concat_ws('|', entry.number, entry.debit, entry.credit, entry.amount, entry.posted_after, entry.kind, entry.source,
        (extract(epoch FROM entry.at) * 1000000)::bigint, entry.reason), 'UTF8'))"""

_CHECKS = f"""
    WITH touched AS (
        SELECT account.* FROM account
        WHERE $3 OR account_id = ANY(ARRAY(
            SELECT account_id FROM entry WHERE at >= $1::timestamptz UNION SELECT account_id FROM record WHERE at >= $1))
    ), open_hold AS (
        SELECT account_id, sum(price * items) AS amount FROM hold WHERE state = 'open' GROUP BY account_id
    )
    SELECT
        (SELECT count(*) FROM entry LEFT JOIN account USING (account_id)
            LEFT JOIN entry AS before ON before.account_id = entry.account_id AND before.number = entry.number - 1
            WHERE entry.at >= $1 AND (
                account.account_id IS NULL OR (entry.number > 1) <> (before.number IS NOT NULL) OR entry.asset <> account.asset
                OR entry.posted_after <> coalesce(before.posted_after, 0)
                    + CASE WHEN entry.credit = entry.account_id THEN entry.amount ELSE -entry.amount END
                OR $3 AND entry.hash <> {_LINK})) AS entries_broken,
        (SELECT count(*) FROM touched LEFT JOIN entry AS latest ON latest.account_id = touched.account_id AND latest.number = touched.entries
            WHERE touched.posted <> coalesce(latest.posted_after, 0)
                OR touched.head <> coalesce(latest.hash, sha256(convert_to(touched.user_id::text || '/' || touched.asset, 'UTF8')))
                OR (touched.entries > 0) <> (latest.number IS NOT NULL)
                OR EXISTS (SELECT FROM entry WHERE entry.account_id = touched.account_id AND entry.number > touched.entries))
            AS accounts_off_ledger,
        (SELECT count(*) FROM record
            LEFT JOIN record AS before ON before.account_id = record.account_id AND before.number = record.number - 1
            WHERE record.at >= $1 AND (
                (record.number > 1) <> (before.number IS NOT NULL)
                OR record.available_after <> coalesce(before.available_after, 0) + record.amount)) AS records_broken,
        (SELECT count(*) FROM touched LEFT JOIN record AS latest ON latest.account_id = touched.account_id AND latest.number = touched.records
            WHERE touched.posted - touched.held <> coalesce(latest.available_after, 0) OR (touched.records > 0) <> (latest.number IS NOT NULL)
                OR EXISTS (SELECT FROM record WHERE record.account_id = touched.account_id AND record.number > touched.records))
            AS accounts_off_records,
        (SELECT count(*) FROM touched LEFT JOIN open_hold USING (account_id) WHERE touched.held <> coalesce(open_hold.amount, 0))
            + (SELECT count(*) FROM open_hold WHERE NOT EXISTS (SELECT FROM account WHERE account.account_id = open_hold.account_id))
            AS accounts_off_holds,
        (SELECT count(*) FROM touched
            WHERE posted - held <> (SELECT coalesce(sum((lot ->> 1)::bigint), 0) FROM json_array_elements(lots) AS lot)) AS accounts_off_lots,
        (SELECT count(*) FROM hold WHERE state = 'open' AND expires_at < $2) AS holds_overdue,
        (SELECT count(*) FROM touched WHERE ($3 OR receivable > 0) AND receivable <> (
            SELECT coalesce(sum(CASE WHEN debit = {int(System.RECEIVABLE)} THEN amount ELSE -amount END), 0) FROM entry
            WHERE entry.account_id = touched.account_id AND {int(System.RECEIVABLE)} IN (debit, credit))) AS receivables_off_ledger"""

# What costs too much to be asked every minute, beside recomputing the hashes.
_FULL_CHECKS = """
    SELECT
        (SELECT count(*) FROM entry LEFT JOIN hold ON hold.task_id = entry.source::uuid
            WHERE entry.kind IN ('capture', 'late_capture') AND hold.captured_amount IS DISTINCT FROM entry.amount)
            AS captures_off_holds,
        (SELECT count(*) FROM (
            SELECT asset, sum(posted) AS posted FROM account GROUP BY asset) AS users
            FULL JOIN (
            SELECT asset, sum(CASE WHEN credit < 0 THEN amount ELSE -amount END) AS posted FROM entry GROUP BY asset) AS systems USING (asset)
            WHERE coalesce(users.posted, 0) + coalesce(systems.posted, 0) <> 0) AS assets_off_balance,
        (SELECT count(*) FROM hold WHERE captured_amount > 0 AND NOT EXISTS (
            SELECT FROM entry WHERE entry.kind IN ('capture', 'late_capture') AND entry.source = hold.task_id::text)) AS holds_off_ledger,
        (SELECT count(*) FROM entry FULL JOIN payment_order AS o ON entry.kind = 'purchase' AND entry.source = o.order_no
            WHERE (entry.kind = 'purchase' OR o.order_no IS NOT NULL) AND (
                (o.state IN ('paid', 'refunded')) IS DISTINCT FROM (entry.kind IS NOT NULL)
                OR o.state IN ('paid', 'refunded') AND (o.amount <> entry.amount OR o.asset <> entry.asset))) AS orders_off_ledger,
        (SELECT count(*) FROM order_refund AS r JOIN payment_order AS o USING (order_no)
            WHERE NOT EXISTS (SELECT FROM entry WHERE entry.kind = 'claw_back' AND entry.source = r.refund_id::text AND entry.amount = o.amount)
                OR (r.state = 'refused') <> EXISTS (SELECT FROM entry WHERE entry.kind = 'refund' AND entry.source = r.refund_id::text)
                OR r.state = 'finished' AND o.state <> 'refunded')
            + (SELECT count(*) FROM payment_order AS o WHERE o.state = 'refunded' AND NOT EXISTS (
                SELECT FROM order_refund AS r WHERE r.order_no = o.order_no AND r.state = 'finished'))
            + (SELECT count(*) FROM entry WHERE kind = 'claw_back' AND NOT EXISTS (
                SELECT FROM order_refund AS r WHERE r.refund_id::text = entry.source)) AS refunds_off_ledger"""


async def find_disagreements(conn: asyncpg.Connection, *, since: datetime | None, overdue_before: datetime, seconds: float) -> Findings:
    """Count what does not agree, among what was changed since a moment or, without one, in everything, hashes too.

    Needs a transaction of its own.
    """
    await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    await conn.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
    row: Any = await conn.fetchrow(_CHECKS, since or _BEGINNING, overdue_before, since is None, timeout=seconds + 1)
    found = dict(row)
    if since is None:
        found |= dict(await conn.fetchrow(_FULL_CHECKS, timeout=seconds + 1))
    return Findings(**found)
