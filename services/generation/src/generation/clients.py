"""The services generation asks: billing for holds, works for photos and flags, identity for names.

Their models are ours; a contract test binds them to the callees'.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
import structlog
from pydantic import BaseModel, Field

from common.client import ServiceClient
from common.errors import DeductFailed, IdempotencyKeyReused, InsufficientCredits, Internal, ServiceError
from common.events.tasks import Kind
from common.ids import new_id
from generation.domain import OwnedWork, Person

log = structlog.get_logger()

PHOTO_SECONDS = 30.0
"""Decoding a large picture takes seconds, and others may be before it."""

_REFUSALS: Mapping[int, type[ServiceError]] = {kind.code: kind for kind in (InsufficientCredits, IdempotencyKeyReused, DeductFailed)}


@dataclass(slots=True, kw_only=True)
class HoldAsk:
    """Credits for one task. No model, because one is asked for every task and nothing of ours needs to be checked."""

    task_id: UUID
    user_id: UUID
    kind: Kind
    items: int
    body_hash: str
    expires_in_seconds: int


class Held(BaseModel):
    """The credits are held, from the moment of asking on: an open hold that is asked for again is renewed."""

    task_id: UUID
    held: Literal[True]
    amount: int
    member: bool = False
    """Whether the user is a member now."""


class NotHeld(BaseModel):
    """They are not, and why."""

    task_id: UUID
    held: Literal[False]
    code: int
    data: dict[str, Any] | None = None

    def refusal(self) -> ServiceError:
        """As the caller of a route hears it."""
        kind = _REFUSALS.get(self.code)
        if kind is None:
            return Internal(f"billing refused a hold with {self.code}")
        return kind(data=self.data)


class HoldOutcomes(BaseModel):
    outcomes: list[Annotated[Held | NotHeld, Field(discriminator="held")]]


class Billing:
    """Billing, as generation knows it."""

    def __init__(self, client: ServiceClient, *, call_seconds: float) -> None:
        self._client = client
        self._call_seconds = call_seconds

    async def place_holds(self, asks: Sequence[HoldAsk]) -> list[Held | NotHeld]:
        """Hold credits for tasks, or renew what is held; one outcome per ask, in their order. Safe to repeat. Raises Unavailable."""
        body = orjson.dumps({"holds": list(asks)}, default=str)
        answer = await self._client.post("/internal/holds", body, HoldOutcomes, deadline_seconds=self._call_seconds, repeatable=True)
        if [outcome.task_id for outcome in answer.outcomes] != [ask.task_id for ask in asks]:
            raise Internal("billing answered other holds than were asked for")
        return answer.outcomes


class WorkIds(BaseModel):
    work_ids: list[UUID]


class KeptWork(BaseModel):
    """What works says of a work."""

    work_id: UUID
    user_id: UUID
    image_key: str | None = None
    title: str | None = None
    is_favorite: bool = False
    is_public: bool = False
    is_deleted: bool = False


class KeptWorks(BaseModel):
    works: list[KeptWork]


class PhotoToKeep(BaseModel):
    """A data URL's picture, which nothing but a task will name. `field` is how our client called it."""

    file_id: UUID
    user_id: UUID
    content: str
    field: str
    fleeting: Literal[True] = True


class KeptPhoto(BaseModel):
    key: str


class UserIds(BaseModel):
    user_ids: list[UUID]


class KnownUser(BaseModel):
    user_id: UUID
    username: str
    avatar_key: str | None = None
    avatar_link: str | None = None


class KnownUsers(BaseModel):
    users: list[KnownUser]


class Identity:
    """Identity, as generation knows it: who people are, kept for a minute, unknown while it is away."""

    def __init__(self, client: ServiceClient, *, kept_seconds: float = 60, kept_max: int = 10_000) -> None:
        self._client = client
        self._kept_seconds = kept_seconds
        self._kept_max = kept_max
        self._people: dict[UUID, tuple[Person, float]] = {}

    def kept(self, user_id: UUID) -> Person | None:
        """Somebody who was asked for a moment ago."""
        person, until = self._people.get(user_id, (None, 0.0))
        return person if until >= time.monotonic() else None

    async def find(self, user_ids: Sequence[UUID]) -> dict[UUID, Person]:
        """By id, as far as they are known."""
        found = {user_id: person for user_id in dict.fromkeys(user_ids) if (person := self.kept(user_id)) is not None}
        wanted = [user_id for user_id in dict.fromkeys(user_ids) if user_id not in found]
        if wanted:
            try:
                answer = await self._client.post("/internal/users/list", UserIds(user_ids=wanted), KnownUsers, deadline_seconds=1)
            except ServiceError as error:
                log.warning("people.unknown", error=str(error)[:200])
                return found
            fresh = {user.user_id: Person(user.username, user.avatar_key, user.avatar_link) for user in answer.users}
            if len(self._people) + len(fresh) > self._kept_max:
                self._people.clear()
            until = time.monotonic() + self._kept_seconds
            self._people |= {user_id: (person, until) for user_id, person in fresh.items()}
            found |= fresh
        return found


class Works:
    """Works, as generation knows it."""

    def __init__(self, client: ServiceClient, *, call_seconds: float) -> None:
        self._client = client
        self._call_seconds = call_seconds

    async def list_works(self, work_ids: Sequence[UUID]) -> dict[UUID, OwnedWork]:
        """Those of these works that exist, or did. Raises Unavailable."""
        asked = WorkIds(work_ids=list(work_ids))
        answer = await self._client.post("/internal/works/list", asked, KeptWorks, deadline_seconds=self._call_seconds, repeatable=True)
        return {
            work.work_id: OwnedWork(
                work_id=work.work_id, user_id=work.user_id, image_key=work.image_key, title=work.title or "", is_favorite=work.is_favorite,
                is_public=work.is_public, is_deleted=work.is_deleted,
            )
            for work in answer.works
        }  # fmt: skip


class Pictures:
    """Works, as it keeps pictures. With a client of its own: a breaker that slow pictures open must not keep quick questions from being asked."""

    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def keep(self, user_id: UUID, url: str, *, field: str) -> str:
        """The key under which a data URL's picture is kept for a while. Safe to repeat. Raises what an upload raises, or Unavailable."""
        ask = PhotoToKeep(file_id=new_id(), user_id=user_id, content=url, field=field)
        return (await self._client.post("/internal/pictures", ask, KeptPhoto, deadline_seconds=PHOTO_SECONDS, repeatable=True)).key
