"""How routes show a person: their picture and, where it is theirs to see, their openid."""

from collections.abc import Sequence

from common.ids import UserId
from common.vault import Sealed
from identity import store
from identity.deps import Deps
from identity.domain import Person


def avatar_url(deps: Deps, person: Person) -> str | None:
    """A link to their picture: an upload of ours, else where WeChat keeps it."""
    return deps.links.sign(person.avatar_key, now=deps.db.clock.now()) if person.avatar_key else person.avatar_link


async def openids(deps: Deps, user_ids: Sequence[UserId]) -> dict[UserId, str]:
    """The openids of those who have one."""
    async with deps.db.read() as conn:
        sealed = await store.list_openids(conn, user_ids)
    return {user_id: deps.vault.open(Sealed(content, key_id), owner=user_id).decode() for user_id, (content, key_id) in sealed.items()}
