"""Accounts: opening them, and what operators change about them."""

from collections.abc import Sequence
from dataclasses import replace

import orjson

from common.db import Tx
from common.errors import Conflict, IdempotencyKeyReused, ServiceError, UserNotFound
from common.events import UserRegistered, UserUpdated
from common.ids import UserId
from identity import store
from identity.commands.links import request_links
from identity.commands.sessions import revoke
from identity.domain import INTENT_LEASE, Intent, LinkAsk, Person, PersonChange, PersonChanged, Registered, Registration, Revoke, WechatLogin, WechatPerson


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
    await request_links(tx, [LinkAsk(ask.user_id, "email_verification", ask.email_hash, ask.lang) for ask in new])
    outcomes: list[Registered | ServiceError] = []
    for number, ask in enumerate(asks):
        found = known[ask.email_hash]
        is_new = made.get(ask.user_id) == number
        outcomes.append(Registered(found.person, replayed=False) if is_new else replay(ask.user_id, ask.request_hash, found))
    return outcomes


def replay(user_id: UserId, request_hash: bytes | None, known: store.Known) -> Registered | ServiceError:
    """What a sign-up gets whose address is taken: its own first answer, or a refusal."""
    if known.person.user_id != user_id:
        return Conflict.of("email", "taken")
    if known.request_hash != request_hash:
        return IdempotencyKeyReused()
    return Registered(known.person, replayed=True)


async def log_in_through_wechat(tx: Tx, asks: Sequence[WechatLogin]) -> list[WechatPerson | ServiceError]:
    """Find the account of each openid, or open it. The insert is the lock, as for sign-ups: two first logins make one account."""
    made = await store.insert_wechat(tx.conn, list({ask.openid_hash: ask for ask in reversed(asks)}.values()), tx.now)
    known = await store.list_wechat_people(tx.conn, [ask.openid_hash for ask in asks])
    tx.emit(*(UserRegistered(sequence=1, user_id=ask.user_id, name=ask.username, avatar_key=None, source="wechat") for ask in asks if ask.user_id in made))
    return [WechatPerson(known[ask.openid_hash], is_new=ask.user_id in made) for ask in asks]


async def begin_changes(tx: Tx, asks: Sequence[PersonChange]) -> list[PersonChanged | Intent | ServiceError]:
    """What operators ask for: made at once, or, with credits in it, noted as an intent, for billing is asked outside of any transaction.

    Safe twice by the action's id. Without a key, the very same said again while it is still open is that one: a second click, or another try.
    """
    people = await store.lock_people(tx.conn, [ask.user_id for ask in asks])
    outcomes: list[PersonChanged | Intent | ServiceError] = []
    for ask in asks:
        outcome = await _begin(tx, people.get(ask.user_id), ask)
        if isinstance(outcome, PersonChanged):
            people[ask.user_id] = outcome.person
        outcomes.append(outcome)
    return outcomes


async def _begin(tx: Tx, person: Person | None, ask: PersonChange) -> PersonChanged | Intent | ServiceError:
    if person is None:
        return UserNotFound()
    intent = await store.find_intent(tx.conn, ask)
    known = intent.change.body_hash if intent is not None else await store.find_action_hash(tx.conn, ask.action_id)
    if known not in (None, ask.body_hash):
        return IdempotencyKeyReused()
    if intent is not None:
        return await _claim(tx, intent)
    if known is not None:
        return PersonChanged(person, replayed=True)
    if ask.dethrones(person):
        return Conflict("an admin cannot take the role or the account from themselves")
    if ask.credits_adjustment:
        made = Intent(ask, 1, tx.now + INTENT_LEASE, claimed=True)
        await store.insert_intent(tx.conn, made, tx.now)
        return made
    [changed] = await change_people(tx, [ask])
    return PersonChanged(changed, replayed=False) if isinstance(changed, Person) else changed


async def _claim(tx: Tx, intent: Intent) -> Intent:
    if intent.leased_until > tx.now:
        return intent
    taken = replace(intent, claim_no=intent.claim_no + 1, leased_until=tx.now + INTENT_LEASE)
    return replace(taken, claimed=await store.claim_intent(tx.conn, taken))


async def change_people(tx: Tx, asks: Sequence[PersonChange]) -> list[Person | ServiceError]:
    """Make what was decided about people: role and state, with a row that says who, what and why. Safe twice by the action's id.

    Credits that it speaks of have moved: whoever heard billing say so comes here, even if somebody else gave the intent up.
    What tokens say about somebody (the role, that they may) is over with the change, so the tokens are too.
    """
    people = await store.lock_people(tx.conn, [ask.user_id for ask in asks])
    outcomes: list[Person | ServiceError] = []
    ended: list[Revoke] = []
    for ask in asks:
        before = people.get(ask.user_id)
        if before is None:
            outcomes.append(UserNotFound())
            continue
        after = replace(before, role=ask.role or before.role, disabled=before.disabled if ask.status is None else ask.status == "disabled")
        noted = await store.insert_admin_action(
            tx.conn,
            action_id=ask.action_id,
            admin_id=ask.admin_id,
            user_id=ask.user_id,
            before=_noted(before, 0),
            after=_noted(after, ask.credits_adjustment),
            reason=ask.reason,
            body_hash=ask.body_hash,
            now=tx.now,
        )
        if noted and after != before:
            after = replace(after, version=before.version + 1, updated_at=tx.now)
            await store.save_person(tx.conn, after)
            tx.emit(
                UserUpdated(
                    sequence=after.version, user_id=after.user_id, name=after.username, avatar_key=after.avatar_key, role=after.role, status=after.status
                )
            )
            people[ask.user_id] = after
            ended.append(Revoke(ask.user_id, "disabled" if after.disabled else "changed"))
        outcomes.append(people[ask.user_id])
    await store.delete_intents(tx.conn, [ask.action_id for ask in asks])
    await revoke(tx, ended)
    return outcomes


def _noted(person: Person, credits_adjustment: int) -> str:
    return orjson.dumps({"role": person.role, "status": person.status, "credits_adjustment": credits_adjustment}).decode()
