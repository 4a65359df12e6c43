"""The commands on a real database: holds, captures, adjustments, accounts opened by first touch."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from billing import commands
from billing.domain import CaptureHold, Held, Hold
from common.db import Tx
from common.errors import Conflict, DeductFailed, IdempotencyKeyReused, InsufficientCredits, NotFound
from common.ids import new_id


async def test_the_first_touch_opens_both_accounts_with_their_gifts_and_a_day_of_membership(bank, user_id: UUID) -> None:
    balance = await bank.balance(user_id)
    assert (balance.credit.available, balance.point.available) == (10, 180)
    assert (balance.active_until - bank.clock.now()).days == 1
    assert [(record.kind, record.amount, record.available_after) for record in await bank.history(user_id)] == [("gift", 10, 10)]
    facts = await bank.facts()
    assert sorted((fact.asset, fact.kind, fact.amount, fact.sequence) for fact in facts) == [("credit", "granted", 10, 1), ("point", "granted", 180, 1)]
    await bank.check()


async def test_accounts_opened_twice_are_opened_once(bank, user_id: UUID) -> None:
    await bank.open(user_id, user_id)
    await bank.open(user_id)
    assert await bank.available(user_id) == 10
    assert len(await bank.facts()) == 2


async def test_a_new_user_can_spend_at_once(bank, user_id: UUID) -> None:
    [outcome] = await bank.place(bank.ask(user_id, 4))
    assert isinstance(outcome, Held)
    assert (outcome.hold.amount, outcome.available) == (4, 6)


async def test_a_hold_is_shown_as_spent_and_what_was_not_delivered_comes_back(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4)
    [hold] = await bank.capture((task_id, 3))
    assert isinstance(hold, Hold)
    assert (hold.state, hold.captured_amount) == ("captured", 3)
    balance = await bank.balance(user_id)
    assert balance.credit[1:6] == (7, 0, 7, 10, 3)
    history = [(record.kind, record.amount, record.available_after, record.ref_id) for record in await bank.history(user_id)]
    assert history == [("gift", 10, 10, None), ("consume", -4, 6, task_id), ("refund", 1, 7, task_id)]
    facts = [(fact.sequence, fact.kind, fact.amount, fact.available, fact.held, fact.task_id) for fact in await bank.facts() if fact.asset == "credit"]
    assert facts == [
        (1, "granted", 10, 10, 0, None), (2, "held", 4, 6, 4, task_id), (3, "captured", 3, 6, 1, task_id), (4, "released", 1, 7, 0, task_id),
    ]  # fmt: skip
    await bank.check()


async def test_nothing_delivered_releases_everything(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4)
    await bank.capture((task_id, 0))
    assert (await bank.hold_of(task_id))["state"] == "released"
    assert await bank.available(user_id) == 10
    assert await bank.db.fetchval("SELECT count(*) FROM entry WHERE kind = 'capture'") == 0
    await bank.check()


async def test_more_delivered_than_asked_takes_no_more_than_was_held(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4)
    await bank.capture((task_id, 50))
    assert await bank.available(user_id) == 6
    await bank.check()


async def test_too_few_credits_are_a_refusal_with_the_numbers_and_change_nothing(bank, user_id: UUID) -> None:
    [outcome] = await bank.place(bank.ask(user_id, 11))
    assert isinstance(outcome, InsufficientCredits)
    assert outcome.data == {"required": 11, "current": 10, "shortage": 1}
    assert await bank.db.fetchval("SELECT count(*) FROM hold") == 0
    assert len(await bank.facts()) == 2


async def test_three_asks_on_one_account_in_one_batch_see_each_other(bank, user_id: UUID) -> None:
    outcomes = await bank.place(bank.ask(user_id, 4), bank.ask(user_id, 7), bank.ask(user_id, 6))
    assert [type(outcome) for outcome in outcomes] == [Held, InsufficientCredits, Held]
    assert await bank.available(user_id) == 0
    assert [fact.available for fact in await bank.facts() if fact.kind == "held"] == [6, 0]
    await bank.check()


async def test_a_refusal_does_not_spoil_its_neighbours(bank) -> None:
    rich, poor = new_id(), new_id()
    outcomes = await bank.place(bank.ask(poor, 11), bank.ask(rich, 10), bank.ask(poor, 1, asset="point", price=181))
    assert [type(outcome) for outcome in outcomes] == [InsufficientCredits, Held, InsufficientCredits]


async def test_the_same_ask_again_renews_its_hold_and_takes_nothing_more(bank, user_id: UUID) -> None:
    ask = bank.ask(user_id, 4)
    [first] = await bank.place(ask)
    bank.clock.move(seconds=40)
    [again] = await bank.place(ask)
    assert again.available == first.available == 6
    assert (again.hold.renewed_at - first.hold.renewed_at).total_seconds() == 40
    assert (again.hold.expires_at - first.hold.expires_at).total_seconds() == 40
    row = await bank.hold_of(ask.task_id)
    assert (row["renewed_at"], row["placed_at"]) == (bank.clock.now(), first.hold.renewed_at)
    assert len(await bank.facts()) == 3


async def test_a_renewal_never_shortens_a_hold(bank, user_id: UUID) -> None:
    ask = bank.ask(user_id, 4, seconds=4000)
    [first] = await bank.place(ask)
    bank.clock.move(seconds=10)
    [again] = await bank.place(bank.ask(user_id, 4, task_id=ask.task_id, seconds=100))
    assert again.hold.expires_at == first.hold.expires_at == (await bank.hold_of(ask.task_id))["expires_at"]


async def test_one_hold_looked_at_twice_in_a_batch_is_decided_twice_and_saved_once(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4, seconds=100)
    bank.clock.move(seconds=100)
    await bank.look(bank.finding(task_id, "running"), bank.finding(task_id, "ended", delivered=3))
    hold = await bank.hold_of(task_id)
    assert (hold["state"], hold["captured_amount"]) == ("captured", 3)
    await bank.check()


async def test_the_same_task_twice_in_one_batch_is_one_hold(bank, user_id: UUID) -> None:
    ask = bank.ask(user_id, 4)
    longer = bank.ask(user_id, 4, task_id=ask.task_id, seconds=3000)
    outcomes = await bank.place(ask, longer)
    assert [outcome.available for outcome in outcomes] == [6, 6]
    assert ((await bank.hold_of(ask.task_id))["expires_at"] - bank.clock.now()).total_seconds() == 3000
    await bank.check()


async def test_another_body_or_another_user_under_a_known_task_is_refused(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 1)
    outcomes = await bank.place(bank.ask(user_id, 1, task_id=task_id, body="other"), bank.ask(new_id(), 1, task_id=task_id))
    assert [type(outcome) for outcome in outcomes] == [IdempotencyKeyReused, IdempotencyKeyReused]
    assert await bank.available(user_id) == 9


async def test_a_resolved_hold_asks_for_a_new_key(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 1)
    await bank.capture((task_id, 0))
    [outcome] = await bank.place(bank.ask(user_id, 1, task_id=task_id))
    assert isinstance(outcome, DeductFailed)
    assert outcome.data == {"state": "released"}


async def test_a_hold_resolves_once_and_says_how_when_told_otherwise(bank, user_id: UUID) -> None:
    taken, returned = await bank.hold(user_id, 2), await bank.hold(user_id, 2)
    await bank.capture((taken, 2), (returned, 0))
    same = await bank.capture((taken, 2), (returned, 0))
    assert [hold.state for hold in same] == ["captured", "released"]
    other = await bank.capture((taken, 0), (taken, 1), (returned, 2))
    assert [type(outcome) for outcome in other] == [Conflict, Conflict, Conflict]
    assert other[0].data == {"state": "captured", "captured_amount": 2}
    assert await bank.available(user_id) == 8
    await bank.check()


async def test_an_end_for_a_task_without_a_hold_is_an_outcome(bank) -> None:
    [outcome] = await bank.capture((new_id(), 1))
    assert isinstance(outcome, NotFound)


async def test_one_end_several_times_in_one_batch_is_one_capture(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 3)
    outcomes = await bank.capture((task_id, 2), (task_id, 2), (task_id, 0))
    assert [type(outcome) for outcome in outcomes] == [Hold, Hold, Conflict]
    assert await bank.available(user_id) == 8
    await bank.check()


async def test_a_song_is_paid_in_points(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 1, asset="point", price=100)
    await bank.capture((task_id, 1))
    balance = await bank.balance(user_id)
    assert (balance.point.available, balance.credit.available) == (80, 10)
    await bank.check()


async def test_an_item_that_costs_nothing_is_held_without_a_trace_in_the_history(bank, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 3, price=0)
    await bank.capture((task_id, 3))
    assert (await bank.hold_of(task_id))["state"] == "released"
    assert len(await bank.history(user_id)) == 1
    await bank.check()


async def test_adjustments_go_both_ways_and_never_below_zero(bank, user_id: UUID) -> None:
    assert await bank.adjust(user_id, 25) == 35
    assert await bank.adjust(user_id, -30) == 5
    outcome = await bank.adjust(user_id, -6)
    assert isinstance(outcome, InsufficientCredits)
    assert [(record.kind, record.amount) for record in await bank.history(user_id)] == [("gift", 10), ("adjust", 25), ("adjust", -30)]
    assert (await bank.history(user_id))[1].description == "a test"
    await bank.check()


async def test_an_adjustment_is_made_once_and_its_id_stands_for_no_other(bank, user_id: UUID) -> None:
    adjustment_id = new_id()
    assert await bank.adjust(user_id, 5, adjustment_id=adjustment_id) == 15
    assert await bank.adjust(user_id, 5, adjustment_id=adjustment_id) == 15
    assert isinstance(await bank.adjust(user_id, 6, adjustment_id=adjustment_id), IdempotencyKeyReused)
    assert isinstance(await bank.adjust(new_id(), 5, adjustment_id=adjustment_id), IdempotencyKeyReused)
    await bank.check()


async def test_what_was_given_as_a_gift_is_used_before_what_an_admin_gave(bank, user_id: UUID) -> None:
    await bank.adjust(user_id, 5)
    await bank.hold(user_id, 12)
    lots = await bank.db.fetchval("SELECT lots #>> '{}' FROM account WHERE user_id = $1 AND asset = 'credit'", user_id)
    assert lots.replace(" ", "") == "[[2,3,40,null]]"


async def test_a_batch_is_three_statements_whatever_its_size(bank) -> None:
    users = [new_id() for _ in range(30)]
    await bank.open(*users)
    asks = [bank.ask(users[number % 30], 1) for number in range(120)]
    await bank.capture((await bank.hold(users[0]), 1))  # the driver has learned the types
    assert await _count_statements(bank, lambda tx: commands.place_holds(tx, asks, bank.terms)) == 3
    ends = [CaptureHold(ask.task_id, 1) for ask in asks]
    assert await _count_statements(bank, lambda tx: commands.capture_holds(tx, ends)) == 3
    await bank.check()


async def _count_statements(bank, change: Callable[[Tx], Awaitable[object]]) -> int:
    said: list[str] = []
    async with bank.db.transaction() as tx:
        with tx.conn.query_logger(lambda query: said.append(query.query)):
            await change(tx)
    return len(said)
