"""Sessions: beginning, refreshing and ending them."""

from collections.abc import Sequence
from datetime import timedelta

from common.auth import USER_TOKEN_SECONDS
from common.db import Tx
from common.events import SessionRevoked
from identity import store
from identity.domain import Revoke

# As long as the longest token lives, and an hour for clocks that disagree.
_REVOCATION_KEPT = timedelta(seconds=USER_TOKEN_SECONDS + 3600)


async def revoke(tx: Tx, asks: Sequence[Revoke]) -> list[int]:
    """End tokens before their time; answers the numbers of the rows. Lock what else is changed before: the people, then the row that numbers, come last."""
    if not asks:
        return []
    numbers = await store.insert_revocations(tx.conn, asks, now=tx.now, expires_at=tx.now + _REVOCATION_KEPT)
    tx.emit(
        *(SessionRevoked(sequence=number, user_id=ask.user_id, session_id=ask.session_id, reason=ask.reason) for number, ask in zip(numbers, asks, strict=True))
    )
    return numbers
