"""Sign-ups in batches, on a real database."""

from typing import Any
from uuid import UUID

import orjson

from common.errors import Conflict, IdempotencyKeyReused
from common.ids import UserId, new_id
from identity import commands
from identity.domain import Registered, Registration


def _ask(email: str, *, user_id: UUID | None = None, request: bytes | None = None) -> Registration:
    return Registration(UserId(user_id or new_id()), "ada", None, email.encode(), b"sealed", "1", "hash", request)


async def test_one_batch_that_names_an_address_several_times_is_folded(service_database: Any) -> None:
    db = await service_database("identity")
    same = _ask("a", request=b"r")
    other_body = _ask("a", user_id=same.user_id, request=b"other")
    async with db.transaction() as tx:
        outcomes = await commands.register_people(tx, [same, same, other_body, _ask("a"), _ask("b")])
    assert [type(one) for one in outcomes] == [Registered, Registered, IdempotencyKeyReused, Conflict, Registered]
    assert [one.replayed for one in outcomes if isinstance(one, Registered)] == [False, True, False]
    assert await db.fetchval("SELECT count(*) FROM person") == 2


async def test_a_batch_that_is_run_again_finds_its_own_rows_and_says_nothing_twice(service_database: Any) -> None:
    db = await service_database("identity")
    asks = [_ask("a"), _ask("b", request=b"r")]
    for _ in range(2):
        async with db.transaction() as tx:
            outcomes = await commands.register_people(tx, asks)
        assert [one.person.user_id for one in outcomes if isinstance(one, Registered)] == [ask.user_id for ask in asks]
    facts = [orjson.loads(row["payload"]) for row in await db.fetch("SELECT topic, payload FROM outbox_fact WHERE topic = 'user.registered'")]
    assert sorted(fact["user_id"] for fact in facts) == sorted(str(ask.user_id) for ask in asks)
    assert {(fact["name"], fact["source"], fact["sequence"]) for fact in facts} == {("ada", "email", 1)}
    assert not any("email" in fact for fact in facts)
