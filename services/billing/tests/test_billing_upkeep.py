"""Holds that nothing resolved: asked about, released, renewed, extended, expired; and what comes late."""

from uuid import UUID

import pytest

from billing import upkeep
from billing.deps import Deps


async def sweep(deps: Deps, *, batch_max: int = 200) -> None:
    await upkeep.look_at_open_holds(deps, batch_max=batch_max)


async def state_of(bank, task_id: UUID) -> str:
    return str((await bank.hold_of(task_id))["state"])


async def test_a_hold_is_left_alone_for_a_minute(bank, deps: Deps, generation, user_id: UUID) -> None:
    await bank.hold(user_id, 4)
    bank.clock.move(seconds=59)
    await sweep(deps)
    assert generation.asked == []


async def test_a_hold_whose_task_never_came_to_be_is_released(bank, deps: Deps, generation, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4)
    bank.clock.move(seconds=61)
    await sweep(deps)
    assert generation.asked == [{task_id}]
    assert await state_of(bank, task_id) == "released"
    assert await bank.available(user_id) == 10
    await bank.check()


async def test_a_hold_renewed_while_generation_was_asked_stays(bank, deps: Deps, generation, user_id: UUID) -> None:
    """Its task may be inserted by now, and the process that asked may have slept since."""
    ask = bank.ask(user_id, 4)
    await bank.place(ask)
    bank.clock.move(seconds=61)

    async def renew_and_sleep() -> None:
        await bank.place(ask)
        bank.clock.move(seconds=90)

    generation.before_answer = renew_and_sleep
    await sweep(deps)
    assert await state_of(bank, ask.task_id) == "open"
    generation.before_answer = None
    await sweep(deps)
    assert await state_of(bank, ask.task_id) == "released"


async def test_a_known_task_is_not_asked_about_again_before_its_time(bank, deps: Deps, generation, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4, seconds=2000)
    generation.knows(task_id, "running")
    bank.clock.move(seconds=61)
    await sweep(deps)
    bank.clock.move(seconds=600)
    await sweep(deps)
    assert len(generation.asked) == 1
    assert await state_of(bank, task_id) == "open"


@pytest.mark.parametrize(
    ("state", "delivered", "resolved", "left"), [("completed", 4, "captured", 6), ("cancelled", 1, "captured", 9), ("failed", 0, "released", 10)]
)
async def test_a_task_whose_end_was_never_heard_is_resolved_by_it(
    bank, deps: Deps, generation, user_id: UUID, state: str, delivered: int, resolved: str, left: int
) -> None:
    task_id = await bank.hold(user_id, 4)
    generation.knows(task_id, state, delivered=delivered)
    bank.clock.move(seconds=61)
    await sweep(deps)
    assert await state_of(bank, task_id) == resolved
    assert await bank.available(user_id) == left
    await bank.check()


async def test_an_unfinished_task_extends_its_hold_three_times_and_then_it_expires(bank, deps: Deps, generation, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4, seconds=2000)
    generation.knows(task_id, "running")
    bank.clock.move(seconds=2000)
    for extension in (1, 2, 3):
        await sweep(deps)
        hold = await bank.hold_of(task_id)
        assert (hold["state"], hold["extensions"], (hold["expires_at"] - bank.clock.now()).total_seconds()) == ("open", extension, 900)
        bank.clock.move(seconds=900)
    await sweep(deps)
    assert await state_of(bank, task_id) == "expired"
    assert await bank.available(user_id) == 10
    assert [fact.kind for fact in await bank.facts() if fact.task_id == task_id] == ["held", "expired"]
    await bank.check()


async def test_while_nobody_answers_a_hold_waits_and_is_asked_about_every_sweep(bank, deps: Deps, generation, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4)
    generation.away = True
    bank.clock.move(seconds=61)
    await sweep(deps)
    bank.clock.move(seconds=10)
    await sweep(deps)
    assert await state_of(bank, task_id) == "open"
    generation.away = False
    bank.clock.move(seconds=10)
    await sweep(deps)
    assert await state_of(bank, task_id) == "released"


async def test_a_late_success_is_debited_afresh(bank, deps: Deps, generation, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4, seconds=100)
    await _expire(bank, deps, generation, task_id)
    [hold] = await bank.capture((task_id, 3))
    assert (hold.state, hold.captured_amount) == ("expired", 3)
    await bank.capture((task_id, 3))
    assert await bank.available(user_id) == 7
    assert [(record.kind, record.amount) for record in await bank.history(user_id)] == [("gift", 10), ("consume", -4), ("refund", 4), ("consume", -3)]
    await bank.check()


async def test_a_late_success_that_cannot_be_paid_is_written_off_and_never_below_zero(bank, deps: Deps, generation, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4, seconds=100)
    await _expire(bank, deps, generation, task_id)
    await bank.adjust(user_id, -9)
    [hold] = await bank.capture((task_id, 3))
    assert (hold.captured_amount, hold.written_off_amount) == (0, 3)
    await bank.adjust(user_id, 9)
    await bank.capture((task_id, 3))
    assert await bank.available(user_id) == 10
    await bank.check()


async def _expire(bank, deps: Deps, generation, task_id: UUID) -> None:
    generation.knows(task_id, "running")
    while await state_of(bank, task_id) == "open":
        bank.clock.move(seconds=900)
        await sweep(deps)


async def test_a_thousand_orphans_are_asked_about_in_batches(bank, deps: Deps, generation, user_id: UUID) -> None:
    await bank.adjust(user_id, 1000)
    await bank.place(*(bank.ask(user_id) for _ in range(250)))
    bank.clock.move(seconds=61)
    await sweep(deps, batch_max=100)
    assert [len(asked) for asked in generation.asked] == [100, 100, 50]
    assert await bank.db.fetchval("SELECT count(*) FROM hold WHERE state = 'open'") == 0
    await bank.check()


async def test_grants_that_ran_out_are_taken_out_and_what_is_held_of_them_comes_back_for_a_week(bank, deps: Deps, user_id: UUID) -> None:
    await bank.open(user_id)
    until_us = int((bank.clock.now().timestamp() + 3600) * 1_000_000)
    await bank.plant(
        "UPDATE account SET lots = format('[[1,10,20,%s]]', $1::bigint)::json, next_expiry_us = $1 WHERE user_id = $2 AND asset = 'credit'", until_us, user_id
    )
    task_id = await bank.hold(user_id, 4)
    bank.clock.move(seconds=3601)
    await upkeep.expire_lots(deps)
    assert await bank.available(user_id) == 0
    assert [(fact.kind, fact.amount) for fact in await bank.facts() if fact.asset == "credit"][-1] == ("expired", -6)
    await bank.capture((task_id, 1))
    assert await bank.available(user_id) == 3
    await bank.check()
    bank.clock.move(seconds=7 * 24 * 3600)
    await upkeep.expire_lots(deps)
    assert await bank.available(user_id) == 0
    assert [(record.kind, record.amount) for record in await bank.history(user_id)][-2:] == [("refund", 3), ("expire", -3)]
    await bank.check()


async def test_the_gauges_show_how_many_holds_are_open_and_how_old(bank, deps: Deps, user_id: UUID) -> None:
    await bank.hold(user_id, 1)
    bank.clock.move(seconds=30)
    await bank.hold(user_id, 1)
    await upkeep.count_open_holds(deps)
    assert (deps.numbers.open_holds._value.get(), deps.numbers.oldest_hold_seconds._value.get()) == (2, 30)


async def test_the_auditor_keeps_its_gauges_and_looks_at_everything_at_night(bank, deps: Deps, user_id: UUID) -> None:
    await bank.open(user_id)
    bank.clock.move(seconds=7200)
    await bank.plant("UPDATE account SET held = held + 1 WHERE asset = 'credit'")
    await deps.auditor.check()
    gauge = deps.numbers.disagreements.labels("accounts_off_holds")
    assert gauge._value.get() == 0
    bank.clock.move(seconds=3 * 3600)
    await deps.auditor.check()
    assert gauge._value.get() == 1
