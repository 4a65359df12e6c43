"""The rules of works, without a database."""

from typing import Any

from common.ids import new_id
from works.domain import adds_to_another, body_of, fold


def test_the_end_of_a_task_outweighs_its_creation_in_either_order(facts: Any) -> None:
    task, user = new_id(), new_id()
    created, completed = facts.created(task, user, minutes=0), facts.completed(task, user, minutes=5)
    for events in ([created, completed], [completed, created], [completed, created, completed]):
        (told,) = fold(events)
        assert told.status == "completed"
        assert told.created_at == created.time
        assert told.knows_creation


def test_a_creation_alone_is_a_work_in_processing(facts: Any) -> None:
    (told,) = fold([facts.created(new_id(), new_id())])
    assert told.status == "processing"
    assert body_of(told.fact) == {"asked": 2, "title": "A trip", "scene": "beach-sunset"}


def test_a_cancel_keeps_what_was_delivered_before(facts: Any) -> None:
    task, user = new_id(), new_id()
    assert [told.status for told in fold([facts.cancelled(task, user, delivered=1)])] == ["completed"]
    assert [told.status for told in fold([facts.cancelled(task, user)])] == ["cancelled"]


def test_a_failure_keeps_its_reason(facts: Any) -> None:
    (told,) = fold([facts.failed(new_id(), new_id())])
    assert (told.status, body_of(told.fact)["reason"]) == ("failed", "timeout")


def test_tasks_come_out_in_the_order_in_which_rows_are_locked(facts: Any) -> None:
    tasks = sorted((new_id() for _ in range(5)), reverse=True)
    assert [told.fact.task_id for told in fold([facts.created(task, new_id()) for task in tasks])] == sorted(tasks)


def test_a_task_for_another_work_adds_to_it(facts: Any) -> None:
    task, user = new_id(), new_id()
    assert adds_to_another(fold([facts.created(task, user, kind="song", work_id=new_id())])[0].fact)
    assert not adds_to_another(fold([facts.created(task, user, kind="song")])[0].fact)
