"""The ledger refuses to be rewritten, and the auditor finds what somebody wrote past it."""

from uuid import UUID

import asyncpg
import pytest

from billing.domain import Findings
from common.ids import new_id


@pytest.mark.parametrize("sql", ["UPDATE entry SET amount = 1", "DELETE FROM entry", "TRUNCATE entry"])
async def test_the_service_has_no_right_to_change_an_entry(bank, user_id: UUID, sql: str) -> None:
    await bank.open(user_id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await bank.db.fetch(sql)


@pytest.mark.parametrize("sql", ["UPDATE entry SET amount = 1", "DELETE FROM entry", "TRUNCATE entry"])
async def test_not_even_the_superuser_changes_an_entry_by_accident(bank, user_id: UUID, sql: str) -> None:
    await bank.open(user_id)
    conn = await asyncpg.connect(bank.superuser_url)
    try:
        with pytest.raises(asyncpg.RestrictViolationError):
            await conn.execute(sql)
    finally:
        await conn.close()


async def test_the_same_source_is_never_posted_twice(bank, user_id: UUID) -> None:
    await bank.open(user_id)
    with pytest.raises(asyncpg.UniqueViolationError):
        await bank.db.fetch(
            "INSERT INTO entry SELECT account_id, 2, debit, credit, asset, amount, posted_after, kind, source, reason, at, hash FROM entry LIMIT 1"
        )


async def test_an_account_below_zero_is_refused_by_the_table(bank, user_id: UUID) -> None:
    await bank.open(user_id)
    with pytest.raises(asyncpg.CheckViolationError):
        await bank.db.fetch("UPDATE account SET held = posted + 1")


DAMAGES = {
    "UPDATE entry SET amount = amount + 1 WHERE number = 1": {"entries_broken"},
    "UPDATE entry SET asset = 'point' WHERE kind = 'capture'": {"entries_broken"},
    "DELETE FROM entry WHERE kind = 'adjustment'": {"entries_broken"},
    "DELETE FROM entry WHERE kind = 'capture'": {"accounts_off_ledger"},
    "UPDATE account SET posted = posted + 5, lots = '[[1,8,20,null],[2,10,40,null]]'": {"accounts_off_ledger", "accounts_off_records", "accounts_off_lots"},
    "UPDATE account SET head = sha256('another')": {"accounts_off_ledger"},
    "UPDATE record SET amount = amount + 1 WHERE number = 2": {"records_broken"},
    "DELETE FROM record WHERE number = 2": {"records_broken"},
    "UPDATE account SET records = records + 1": {"accounts_off_records"},
    "UPDATE account SET held = held + 1": {"accounts_off_holds", "accounts_off_records", "accounts_off_lots"},
    "DELETE FROM hold WHERE state = 'open'": {"accounts_off_holds"},
    "UPDATE hold SET account_id = account_id + 1000 WHERE state = 'open'": {"accounts_off_holds"},
    "UPDATE account SET lots = '[]'": {"accounts_off_lots"},
    "UPDATE hold SET expires_at = placed_at WHERE state = 'open'": {"holds_overdue"},
}
# Found when everything is looked at: the hashes are recomputed, and each capture looks for its hold.
FORGERIES = {
    "UPDATE entry SET reason = 'another' WHERE kind = 'adjustment'": {"entries_broken"},
    "UPDATE entry SET at = at + interval '1 microsecond' WHERE number = 1": {"entries_broken"},
    "UPDATE entry SET source = source || 'x' WHERE kind = 'adjustment'": {"entries_broken"},
    "UPDATE entry SET credit = -1 WHERE kind = 'capture'": {"entries_broken"},
    "UPDATE account SET user_id = gen_random_uuid()": {"entries_broken"},
    "UPDATE hold SET captured_amount = 1 WHERE state = 'captured'": {"captures_off_holds"},
}


async def _tell_a_story(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 2)
    await bank.adjust(user_id, 10)
    await bank.hold(user_id, 3)
    await bank.capture((task_id, 2))
    bank.clock.move(seconds=100)
    await bank.check()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_the_auditor_finds_planted_damage_within_a_round(bank, user_id: UUID, damage: str) -> None:
    await _tell_a_story(bank, user_id)
    await bank.plant(damage)
    for findings in (await bank.audit(), await bank.audit(since_seconds=3600)):
        assert DAMAGES[damage] <= _nonzero(findings)


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_the_full_audit_finds_what_was_made_to_add_up(bank, user_id: UUID, forgery: str) -> None:
    await _tell_a_story(bank, user_id)
    await bank.plant(forgery)
    assert FORGERIES[forgery] <= _nonzero(await bank.audit())


async def test_the_full_audit_finds_what_has_no_partner(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 2)
    await bank.capture((task_id, 2))
    await bank.plant("UPDATE hold SET state = 'captured', captured_amount = 2, task_id = $1", new_id())
    assert _nonzero(await bank.audit()) == {"captures_off_holds", "holds_off_ledger"}
    await bank.plant("UPDATE hold SET task_id = $1", task_id)
    await bank.plant("UPDATE entry SET debit = credit, credit = debit WHERE kind = 'capture'")
    assert {"assets_off_balance", "entries_broken"} <= _nonzero(await bank.audit())


async def test_an_audit_of_what_changed_looks_at_nothing_older(bank, user_id: UUID) -> None:
    await bank.open(user_id)
    bank.clock.move(seconds=7200)
    await bank.plant("UPDATE account SET held = held + 1")
    assert _nonzero(await bank.audit(since_seconds=3600)) == set()
    assert "accounts_off_holds" in _nonzero(await bank.audit())


def _nonzero(findings: Findings) -> set[str]:
    return {name for name in Findings.__dataclass_fields__ if getattr(findings, name)}
