"""What generation has open while it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from common.config import Config
from common.db import Database
from common.events.tasks import Kind
from common.lane import Lane
from common.objects import UrlSigner
from common.revocations import Revocations
from generation.domain import Claim, Create, Created, OwnedWork, Person, QueueNumbers, Scene, Seats, View
from generation.settings import GenerationSettings


class Workers(Protocol):
    """The workers of this process, as the rest of it knows them."""

    def created(self, task_ids: Sequence[UUID]) -> None:
        """These tasks were created in this process."""

    def heard_of(self, task_ids: Sequence[UUID], *, songs: bool) -> None:
        """Tasks were created somewhere."""

    def wake(self, *, songs: bool) -> None:
        """There may be something to claim."""

    def reserve(self, count: int) -> Seats | None:
        """Room for tasks that may begin at once, if there is any and nobody waits longer."""
        ...

    def seat(self, seats: Seats, claims: Sequence[Claim]) -> None:
        """Give reserved room back, some of it filled."""

    def drop(self, task_ids: Sequence[UUID]) -> None:
        """Stop making these tasks: they have ended."""

    def percent_of(self, task_id: UUID) -> int | None:
        """How far a task is, where it is made in this process."""
        ...


class Scenes(Protocol):
    """Scenes, a few seconds old at most."""

    async def list(self) -> Sequence[Scene]:
        """All, in the order shown."""
        ...

    async def find(self, scene_id: str) -> Scene | None:
        """One by its id."""
        ...

    def forget(self) -> None:
        """They are other ones now."""


class Photos(Protocol):
    """Takes pictures that came inside a request."""

    async def keep(self, user_id: UUID, url: str, *, field: str) -> str:
        """Have a data URL's picture kept; answers its key. Raises InvalidParameter, FileTooLarge, FileTypeRefused, FileUnreadable or Unavailable."""
        ...

    async def keep_cover(self, key: str) -> str:
        """A scene's own copy of what lies under a key; answers the copy's. Raises FileNotFound."""
        ...


class Queue(Protocol):
    """The queue's statistics, a moment old at most."""

    async def numbers(self) -> dict[Kind, QueueNumbers]:
        """Per kind."""
        ...


class People(Protocol):
    """Who people are, a minute old at most."""

    def kept(self, user_id: UUID) -> Person | None:
        """Somebody who was asked for a moment ago."""
        ...

    async def find(self, user_ids: Sequence[UUID]) -> Mapping[UUID, Person]:
        """By id, as far as they are known."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """Handed to the edge: routes and consumers."""

    settings: GenerationSettings
    db: Database
    signer: UrlSigner
    scenes: Scenes
    photos: Photos
    queue: Queue
    workers: Workers
    create: Lane[Create, Created]
    view: Lane[UUID, View | None]
    find_work: Lane[UUID, OwnedWork | None]
    people: People
    find_person: Lane[UUID, Person | None]
    config: Config
    revocations: Revocations | None = None
