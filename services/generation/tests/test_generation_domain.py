"""The rules of a task, by themselves and in any order."""

from datetime import timedelta

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from common.clock import FakeClock
from common.errors import TaskNotCancellable
from common.ids import new_id
from generation import domain
from generation.domain import Attempt, Brief, Failure, Limits, Outcome, Stale, Task

LEASE = timedelta(seconds=60)
LIMITS = Limits(start=timedelta(minutes=10), total=timedelta(minutes=20))


def a_task(clock: FakeClock, *, asked: int = 3) -> Task:
    task_id = new_id()
    return domain.new_task(
        task_id=task_id,
        user_id=new_id(),
        work_id=task_id,
        kind="travel",
        asked=asked,
        price=asked,
        scene_id=None,
        brief=Brief(),
        limits=LIMITS,
        now=clock.now(),
    )


def test_a_finish_with_something_delivered_is_a_completion_whatever_failed() -> None:
    clock = FakeClock()
    task = domain.claim(a_task(clock), clock.now(), LEASE)
    ended = domain.finish(task, 1, 2, {2: Failure("refused", "no")}, Outcome(engine="local"), clock.now())
    assert isinstance(ended, Task)
    assert (ended.state, ended.delivered, ended.version) == ("completed", 2, 3)
    assert ended.outcome is not None
    assert ended.outcome.reason is None


def test_a_finish_with_nothing_says_the_most_telling_reason() -> None:
    clock = FakeClock()
    task = domain.claim(a_task(clock), clock.now(), LEASE)
    failures = {0: Failure("provider_error", "broken"), 1: Failure("refused", "not this one"), 2: Failure("internal")}
    ended = domain.finish(task, 1, 0, failures, Outcome(engine="local"), clock.now())
    assert isinstance(ended, Task)
    assert ended.state == "failed"
    assert ended.outcome is not None
    assert (ended.outcome.reason, ended.outcome.message) == ("refused", "not this one")


def test_a_finish_of_an_older_claim_is_stale() -> None:
    clock = FakeClock()
    task = domain.claim(domain.claim(a_task(clock), clock.now(), LEASE), clock.now(), LEASE)
    assert domain.finish(task, 1, 3, {}, Outcome(), clock.now()) == Stale("running")


def test_a_finish_named_twice_is_the_same_end() -> None:
    clock = FakeClock()
    task = domain.claim(a_task(clock), clock.now(), LEASE)
    ended = domain.finish(task, 1, 3, {}, Outcome(), clock.now())
    assert isinstance(ended, Task)
    assert domain.finish(ended, 1, 3, {}, Outcome(), clock.now()) is ended


def test_a_finish_after_a_cancel_is_stale_although_its_claim_was_the_last() -> None:
    clock = FakeClock()
    task = domain.claim(a_task(clock), clock.now(), LEASE)
    cancelled = domain.cancel(task, "owner", 1, clock.now())
    assert cancelled.delivered == 1
    assert domain.finish(cancelled, 1, 3, {}, Outcome(), clock.now()) == Stale("cancelled")


def test_a_cancel_of_an_ended_task_names_how_it_ended() -> None:
    clock = FakeClock()
    ended = domain.finish(domain.claim(a_task(clock), clock.now(), LEASE), 1, 3, {}, Outcome(), clock.now())
    assert isinstance(ended, Task)
    with pytest.raises(TaskNotCancellable) as refusal:
        domain.cancel(ended, "owner", 3, clock.now())
    assert refusal.value.data == {"status": "completed"}


def test_an_overdue_task_with_something_delivered_is_completed() -> None:
    clock = FakeClock()
    task = domain.claim(a_task(clock), clock.now(), LEASE)
    clock.move(seconds=1200)
    ended = domain.expire(task, 2, [], clock.now())
    assert (ended.state, ended.delivered) == ("completed", 2)


def test_an_overdue_task_with_a_lost_attempt_says_so() -> None:
    clock = FakeClock()
    task = domain.claim(a_task(clock), clock.now(), LEASE)
    lost = Attempt(attempt_no=1, item_index=0, claim_no=1, state="unknown", provider="far", created_at=clock.now())
    clock.move(seconds=1200)
    ended = domain.expire(task, 0, [lost], clock.now())
    assert ended.outcome is not None
    assert (ended.state, ended.outcome.reason) == ("failed", "provider_unknown")


def test_a_task_that_never_began_ends_by_its_start() -> None:
    clock = FakeClock()
    task = a_task(clock)
    clock.move(seconds=599)
    assert domain.expire(task, 0, [], clock.now()) is task
    clock.move(seconds=1)
    assert domain.expire(task, 0, [], clock.now()).state == "failed"


def test_no_lease_outlives_the_deadline() -> None:
    clock = FakeClock()
    task = domain.claim(a_task(clock), clock.now(), timedelta(hours=5))
    assert task.due_at == task.deadline_at


@pytest.mark.parametrize(("failed", "seconds"), [(1, 5), (2, 10), (3, 20)])
def test_back_off_doubles(failed: int, seconds: int) -> None:
    assert domain.back_off(failed, timedelta(seconds=5), 0) == timedelta(seconds=seconds)
    assert domain.back_off(failed, timedelta(seconds=5), 1) == timedelta(seconds=seconds * 1.2)


class TaskMachine(RuleBasedStateMachine):
    """Whoever does what in whichever order: a task ends once, its versions are gapless, only the last claim changes it."""

    @initialize(asked=st.integers(1, 5))
    def begin(self, asked: int) -> None:
        self.clock = FakeClock()
        self.task = a_task(self.clock, asked=asked)
        self.seen = [self.task]

    def keep(self, after: Task) -> None:
        if after.version != self.task.version:
            assert after.version == self.task.version + 1
            self.seen.append(after)
        self.task = after

    @rule(seconds=st.integers(0, 700))
    def wait(self, seconds: int) -> None:
        self.clock.move(seconds=seconds)

    @precondition(lambda self: domain.is_claimable(self.task, self.clock.now()))
    @rule()
    def claim(self) -> None:
        before = self.task
        self.keep(domain.claim(before, self.clock.now(), LEASE))
        assert self.task.claim_no == before.claim_no + 1
        assert not domain.is_claimable(self.task, self.clock.now())

    @rule(back=st.integers(0, 2), share=st.floats(0, 1))
    def finish(self, back: int, share: float) -> None:
        claim_no = self.task.claim_no - back
        mine = domain.holds_claim(self.task, claim_no)
        before = self.task
        outcome = domain.finish(before, claim_no, int(before.asked * share), {0: Failure("provider_error")}, Outcome(), self.clock.now())
        if isinstance(outcome, Stale):
            assert not mine
            return
        assert mine or outcome is before
        self.keep(outcome)

    @rule(back=st.integers(0, 1), seconds=st.integers(0, 3000))
    def give_back(self, back: int, seconds: int) -> None:
        claim_no = self.task.claim_no - back
        outcome = domain.give_back(self.task, claim_no, self.clock.now() + timedelta(seconds=seconds))
        if not isinstance(outcome, Stale):
            self.keep(outcome)
            assert domain.renew(self.task, claim_no, self.clock.now(), LEASE) == Stale("running")

    @rule(share=st.floats(0, 1))
    def cancel(self, share: float) -> None:
        before = self.task
        try:
            self.keep(domain.cancel(before, "owner", int(before.asked * share), self.clock.now()))
        except TaskNotCancellable:
            assert before.state in ("completed", "failed")

    @rule(share=st.floats(0, 1))
    def expire(self, share: float) -> None:
        self.keep(domain.expire(self.task, int(self.task.asked * share), [], self.clock.now()))
        assert not self.task.is_overdue(self.clock.now())

    @invariant()
    def ends_once_and_for_good(self) -> None:
        ended = [task for task in self.seen if task.is_ended]
        assert len(ended) <= 1
        assert not ended or ended[0] is self.seen[-1]
        assert [task.version for task in self.seen] == list(range(1, len(self.seen) + 1))

    @invariant()
    def is_told_truly(self) -> None:
        task = self.task
        assert task.is_ended == (task.ended_at is not None)
        assert 0 <= task.delivered <= task.asked
        assert task.due_at <= task.deadline_at
        if task.state == "completed":
            assert task.delivered > 0
        if task.state == "failed":
            assert task.delivered == 0
            assert task.outcome is not None
            assert task.outcome.reason is not None


TaskMachine.TestCase.settings = hypothesis_settings(max_examples=150, stateful_step_count=30, deadline=None)
TestTaskMachine = TaskMachine.TestCase
