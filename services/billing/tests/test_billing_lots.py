"""Lots: the order they are used in, and how they return."""

from hypothesis import given
from hypothesis import strategies as st

from billing.domain import lot
from billing.domain.lot import GRACE_US, Lot

HOUR_US = 3_600_000_000


def test_membership_goes_before_gifts_and_gifts_before_what_was_paid() -> None:
    lots: list[Lot] = []
    for number, priority in ((1, lot.PAID), (2, lot.GIFT), (3, lot.MEMBERSHIP)):
        lot.add(lots, Lot(number, 5, priority, None))
    assert [one.number for one in lot.take(lots, 12)] == [3, 2, 1]
    assert lots == [Lot(1, 3, lot.PAID, None)]


def test_of_one_priority_the_earliest_expiry_goes_first_and_then_the_oldest() -> None:
    lots: list[Lot] = []
    for number, until_us in ((1, None), (2, 2 * HOUR_US), (3, HOUR_US), (4, HOUR_US)):
        lot.add(lots, Lot(number, 1, lot.GIFT, until_us))
    assert [one.number for one in lots] == [3, 4, 2, 1]


def test_what_returns_goes_back_to_the_grant_it_came_from() -> None:
    lots = [Lot(1, 5, lot.GIFT, None), Lot(2, 5, lot.PAID, None)]
    draws = lot.take(lots, 7)
    lot.give_back(lots, lot.after(draws, 4), 0)
    assert lots == [Lot(1, 1, lot.GIFT, None), Lot(2, 5, lot.PAID, None)]


def test_what_returns_to_an_expired_grant_gets_seven_days() -> None:
    lots = [Lot(1, 5, lot.GIFT, HOUR_US)]
    draws = lot.take(lots, 5)
    lot.give_back(lots, draws, 2 * HOUR_US)
    assert lots == [Lot(1, 5, lot.GIFT, 2 * HOUR_US + GRACE_US)]


def test_only_what_has_run_out_is_taken_out() -> None:
    lots = [Lot(1, 5, lot.GIFT, HOUR_US), Lot(2, 6, lot.GIFT, HOUR_US + 1), Lot(3, 7, lot.GIFT, None)]
    assert lot.take_expired(lots, HOUR_US) == [Lot(1, 5, lot.GIFT, HOUR_US)]
    assert lot.soonest_us(lots) == HOUR_US + 1


any_lots = st.lists(
    st.tuples(st.integers(1, 9), st.integers(1, 50), st.sampled_from((10, 20, 50)), st.none() | st.integers(1, 10**9)), max_size=6, unique_by=lambda one: one[0]
).map(lambda found: sorted((Lot(*one) for one in found), key=lot.order))


@given(any_lots, st.data())
def test_taking_and_returning_neither_makes_nor_loses_credits(lots: list[Lot], data: st.DataObject) -> None:
    before = list(lots)
    total = sum(one.amount for one in lots)
    amount = data.draw(st.integers(0, total))
    draws = lot.take(lots, amount)
    assert sum(one.amount for one in draws) == amount
    assert sum(one.amount for one in lots) == total - amount
    captured = data.draw(st.integers(0, amount))
    rest = lot.after(draws, captured)
    assert sum(one.amount for one in rest) == amount - captured
    lot.give_back(lots, rest, 0)
    assert sum(one.amount for one in lots) == total - captured
    assert lots == sorted(lots, key=lot.order)
    if not captured:
        assert lots == before


@given(any_lots)
def test_lots_read_back_as_they_were_written(lots: list[Lot]) -> None:
    assert lot.read(lot.write(lots)) == lots


@given(any_lots, st.integers(1, 60))
def test_drawing_from_written_lots_is_taking_from_read_ones(lots: list[Lot], amount: int) -> None:
    drawn = lot.draw(lot.write(lots), amount)
    if not lots or lots[0].amount <= amount:
        assert drawn is None
        return
    taken = lot.take(lots, amount)
    assert drawn == (lot.write(lots), lot.write(taken))
