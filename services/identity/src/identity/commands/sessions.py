"""Sessions: beginning, refreshing and ending them, and the tokens that end with them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from common.auth import USER_TOKEN_SECONDS
from common.db import Tx
from common.errors import AccountDisabled, NotFound, ServiceError, Unauthorized
from common.events import DeliveryRequested, SessionRevoked
from common.ids import UserId
from identity import store
from identity.domain import REFRESH_IDLE, EndSession, NewSession, Refresh, Refreshed, Revoke, Session, fate_of

# As long as the longest token lives, and an hour for clocks that disagree.
_REVOCATION_KEPT = timedelta(seconds=USER_TOKEN_SECONDS + 3600)


async def revoke(tx: Tx, asks: Sequence[Revoke]) -> list[int]:
    """End tokens and sessions before their time; answers the numbers of the rows.

    Lock what else is changed before: the people, their sessions, and the row that numbers come last.
    """
    if not asks:
        return []
    people = [UserId(ask.user_id) for ask in asks if ask.session_id is None]
    await store.lock_people(tx.conn, people)
    await store.end_sessions(tx.conn, session_ids=[ask.session_id for ask in asks if ask.session_id is not None], user_ids=people, now=tx.now)
    numbers = await store.insert_revocations(tx.conn, asks, now=tx.now, expires_at=tx.now + _REVOCATION_KEPT)
    tx.emit(
        *(SessionRevoked(sequence=number, user_id=ask.user_id, session_id=ask.session_id, reason=ask.reason) for number, ask in zip(numbers, asks, strict=True))
    )
    return numbers


async def begin_sessions(tx: Tx, asks: Sequence[NewSession]) -> list[UUID | ServiceError]:
    """Somebody logged in. Safe twice: a session that is there stays."""
    await store.insert_sessions(tx.conn, asks, tx.now)
    return [ask.session_id for ask in asks]


async def refresh_sessions(tx: Tx, asks: Sequence[Refresh]) -> list[Refreshed | ServiceError]:
    """Turn refresh tokens into their successors. Safe twice, because the successor of a token is always the same one.

    A token that was used before, and not just now by a twin, is in two hands: the session ends and its owner is told.
    """
    known = await store.list_refresh_tokens(tx.conn, [ask.token_hash for ask in asks])
    sessions = await store.lock_sessions(tx.conn, [session_id for session_id, _ in known.values()])
    people = await store.list_people(tx.conn, [session.user_id for session in sessions.values()])
    outcomes: list[Refreshed | ServiceError] = []
    rotated: list[tuple[bytes, UUID, int, bytes | None]] = []
    stolen: dict[UUID, Session] = {}
    for ask in asks:
        session_id, number = known.get(ask.token_hash, (None, 0))
        session = sessions.get(session_id) if session_id is not None else None
        person = people.get(session.user_id) if session is not None else None
        if session is None or person is None:
            outcomes.append(Unauthorized("the refresh token is unknown"))
            continue
        fate = fate_of(session, number, tx.now)
        if fate == "reuse":
            stolen[session.session_id] = session
            sessions[session.session_id] = replace(session, ended_at=tx.now)
        if fate in ("reuse", "ended", "expired") or person.disabled or person.revoked_number > session.revoked_number:
            outcomes.append(AccountDisabled() if person.disabled else Unauthorized("the session has ended"))
            continue
        if fate == "rotate":
            rotated.append((ask.successor_hash, session.session_id, number + 1, ask.token_hash))
            session = replace(session, number=number + 1, used_at=tx.now, refreshed_at=tx.now, good_until=max(session.good_until, tx.now + REFRESH_IDLE))
            sessions[session.session_id] = session
        outcomes.append(Refreshed(person, session))
    if rotated:
        await store.insert_refresh_tokens(tx.conn, rotated, tx.now)
        await store.save_sessions(tx.conn, [sessions[session_id] for session_id in sorted({row[1] for row in rotated})])
    await revoke(tx, [Revoke(one.user_id, "reuse", one.session_id) for one in stolen.values()])
    tx.emit(*(DeliveryRequested(sequence=1, user_id=one.user_id, template="refresh_reused", ref=str(one.session_id)) for one in stolen.values()))
    return outcomes


async def end_sessions(tx: Tx, asks: Sequence[EndSession]) -> list[ServiceError | None]:
    """Log out, of one session or of all. Another's session is an unknown one, and so is one that has ended."""
    await store.lock_people(tx.conn, [ask.user_id for ask in asks if ask.session_id is None])
    sessions = await store.lock_sessions(tx.conn, [ask.session_id for ask in asks if ask.session_id is not None])
    outcomes: list[ServiceError | None] = []
    ended: dict[tuple[UUID, UUID | None], Revoke] = {}
    for ask in asks:
        session = sessions.get(ask.session_id) if ask.session_id is not None else None
        if ask.session_id is not None and (session is None or session.user_id != ask.user_id or session.ended_at is not None):
            outcomes.append(NotFound())
            continue
        ended[ask.user_id, ask.session_id] = Revoke(ask.user_id, "logout", ask.session_id)
        outcomes.append(None)
    await revoke(tx, list(ended.values()))
    return outcomes
