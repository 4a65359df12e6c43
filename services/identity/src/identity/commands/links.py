"""Links sent by mail: asking for one, and what using one does."""

from collections.abc import Sequence
from uuid import UUID

from common.db import Tx
from common.errors import ServiceError, Unauthorized
from common.events import DeliveryRequested
from common.ids import UserId, new_id
from identity import store
from identity.commands.sessions import revoke
from identity.domain import LINK_GOOD_FOR, LinkAsk, LinkPurpose, MailLink, Revoke, SetPassword, UseLink

_OVER = "the link was used already, is too old or was never sent"


async def request_links(tx: Tx, asks: Sequence[LinkAsk]) -> list[bool | ServiceError]:
    """A new link by mail, in the place of the last one; whoever asks again within a minute has one on the way already, and is answered False."""
    wanted = {
        (ask.user_id, ask.purpose): MailLink(
            ref=new_id(), user_id=ask.user_id, purpose=ask.purpose, email_hash=ask.email_hash, lang=ask.lang, requested_at=tx.now,
            expires_at=tx.now + LINK_GOOD_FOR[ask.purpose], used_at=None,
        )
        for ask in asks
    }  # fmt: skip
    sent = await store.replace_links(tx.conn, list(wanted.values())) if wanted else set()
    tx.emit(*(DeliveryRequested(sequence=1, user_id=link.user_id, template=link.purpose, ref=str(link.ref)) for link in wanted.values() if link.ref in sent))
    return [wanted[ask.user_id, ask.purpose].ref in sent for ask in asks]


async def answer_reset_requests(tx: Tx, limit: int) -> int:
    """Mails for those requests whose address somebody has; answers how many requests there were."""
    requests = await store.take_reset_requests(tx.conn, limit)
    known = await store.list_known(tx.conn, [one.email_hash for one in requests])
    people = [(one, known[one.email_hash].person) for one in requests if one.email_hash in known]
    await request_links(tx, [LinkAsk(person.user_id, "password_reset", one.email_hash, one.lang) for one, person in people if not person.disabled])
    return len(requests)


async def set_passwords(tx: Tx, asks: Sequence[SetPassword]) -> list[UserId | ServiceError]:
    """A new password for who has the link, once; every session before it is over. Who reads mail at the address has verified it, too."""
    outcomes: list[UserId | ServiceError] = []
    for ask in asks:
        user_id = await _use(tx, ask.ref, "password_reset")
        if isinstance(user_id, ServiceError):
            outcomes.append(user_id)
            continue
        await store.save_password(tx.conn, user_id, ask.password_hash, tx.now)
        await store.mark_verified(tx.conn, user_id, tx.now)
        person = (await store.list_people(tx.conn, [user_id]))[user_id]
        await revoke(tx, [Revoke(user_id, "disabled" if person.disabled else "password")])
        outcomes.append(user_id)
    return outcomes


async def verify_addresses(tx: Tx, asks: Sequence[UseLink]) -> list[UserId | ServiceError]:
    """Whoever has the link reads the mail at the address."""
    outcomes: list[UserId | ServiceError] = []
    for ask in asks:
        user_id = await _use(tx, ask.ref, "email_verification")
        if not isinstance(user_id, ServiceError):
            await store.mark_verified(tx.conn, user_id, tx.now)
        outcomes.append(user_id)
    return outcomes


async def _use(tx: Tx, ref: UUID, purpose: LinkPurpose) -> UserId | ServiceError:
    """Whose link it is; locked in the order of everybody else: the person, then the link."""
    link = await store.find_link(tx.conn, ref, purpose)
    if link is None or link.user_id not in await store.lock_people(tx.conn, [link.user_id]):
        return Unauthorized(_OVER)
    return link.user_id if await store.use_link(tx.conn, link.ref, tx.now) else Unauthorized(_OVER)
