"""The services works asks: identity, for names it has not heard yet."""

import time
from collections.abc import Sequence
from uuid import UUID

import structlog
from pydantic import BaseModel

from common.client import ServiceClient
from common.errors import ServiceError

log = structlog.get_logger()

_KEPT_SECONDS = 60
_KEPT_MAX = 10_000


class _UsersAsk(BaseModel):
    user_ids: list[UUID]


class Person(BaseModel):
    """Somebody as identity describes them to us."""

    user_id: UUID
    username: str = ""
    avatar_key: str | None = None


class _UsersKnown(BaseModel):
    users: list[Person]


class People:
    """Identity, as works knows it: who people are, kept for a minute, unknown while it is away."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._kept: dict[UUID, tuple[Person, float]] = {}

    async def find(self, user_ids: Sequence[UUID]) -> dict[UUID, Person]:
        """By id, as far as they are known."""
        now = time.monotonic()
        found = {user_id: kept[0] for user_id in user_ids if (kept := self._kept.get(user_id)) is not None and kept[1] > now}
        wanted = [user_id for user_id in dict.fromkeys(user_ids) if user_id not in found]
        if wanted:
            try:
                answer = await self._client.post("/internal/users/list", _UsersAsk(user_ids=wanted), _UsersKnown, deadline_seconds=1)
            except ServiceError as error:
                log.warning("people.unknown", error=str(error)[:200])
                return found
            if len(self._kept) + len(wanted) > _KEPT_MAX:
                self._kept.clear()
            fresh = {person.user_id: person for person in answer.users}
            self._kept |= {user_id: (person, now + _KEPT_SECONDS) for user_id, person in fresh.items()}
            found |= fresh
        return found
