"""Every change identity can make: lock, decide, save, announce."""

from collections.abc import Sequence

from common.db import Tx
from common.errors import Conflict, FieldError, IdempotencyKeyReused, ServiceError
from common.events import UserRegistered
from common.ids import UserId
from identity import store
from identity.domain import Registered, Registration


async def register_people(tx: Tx, asks: Sequence[Registration]) -> list[Registered | ServiceError]:
    """Open accounts. An address belongs to whoever takes it first; safe twice, for a repeated ask finds its own row.

    The insert is the lock: the unique address makes one of two sign-ups wait for the other and then find it taken.
    """
    taken = await store.insert_credentials(tx.conn, asks, tx.now)
    made: dict[UserId, int] = {}
    for number, ask in enumerate(asks):
        if ask.user_id in taken:
            made.setdefault(ask.user_id, number)
    new = [asks[number] for number in made.values()]
    await store.insert_people(tx.conn, new, tx.now)
    known = await store.list_known(tx.conn, [ask.email_hash for ask in asks])
    tx.emit(*(UserRegistered(sequence=1, user_id=ask.user_id, name=ask.username, avatar_key=ask.avatar_key, source="email") for ask in new))
    outcomes: list[Registered | ServiceError] = []
    for number, ask in enumerate(asks):
        found = known[ask.email_hash]
        is_new = made.get(ask.user_id) == number
        outcomes.append(Registered(found.person, replayed=False) if is_new else replay(ask.user_id, ask.request_hash, found))
    return outcomes


def replay(user_id: UserId, request_hash: bytes | None, known: store.Known) -> Registered | ServiceError:
    """What a sign-up gets whose address is taken: its own first answer, or a refusal."""
    if known.person.user_id != user_id:
        return Conflict("the e-mail address is registered already", errors=[FieldError("email", "is registered already")])
    if known.request_hash != request_hash:
        return IdempotencyKeyReused()
    return Registered(known.person, replayed=True)
