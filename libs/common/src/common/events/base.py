"""What a fact is: something that happened, immutable, told to other teams."""

from datetime import datetime
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

SELDOM = 1
"""Partitions of what happens so seldom that one replica hears it all: every fetch names every partition it reads, at both ends."""

Service = Literal["identity", "works", "generation", "billing", "notify"]


class Fact(BaseModel):
    """One thing that happened. `sequence` is the version of its subject: +1 per fact, the only rule of order."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    topic: ClassVar[str]
    version: ClassVar[int] = 1
    owner: ClassVar[Service]
    groups: ClassVar[tuple[Service, ...]] = ()
    broadcast: ClassVar[tuple[Service, ...]] = ()
    audience: ClassVar[Literal["internal", "partner"]] = "partner"
    personal_data: ClassVar[bool] = False
    outboxed: ClassVar[bool] = True
    retention_hours: ClassVar[int] = 7 * 24
    partitions: ClassVar[int] = 6
    example: ClassVar[dict[str, Any]]

    sequence: int = Field(ge=1, description="version of the subject, +1 per fact")

    @property
    def subject(self) -> str:
        """What it is about: `<noun>/<id>`."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """The partition key."""
        return self.subject.partition("/")[2]


FactT = TypeVar("FactT", bound=Fact, covariant=True)


class Event(NamedTuple, Generic[FactT]):
    """A fact in its envelope, as a hearer gets it."""

    event_id: UUID
    fact: FactT
    time: datetime
    correlation_id: str | None = None
    traceparent: str | None = None
