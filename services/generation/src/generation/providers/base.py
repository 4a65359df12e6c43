"""What every provider promises: submit, check, cancel; and the words it answers with.

What is made for every task is not frozen, because a frozen dataclass costs several times as much to make; nobody changes it all the same.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

Kind = Literal["fitting", "photography", "travel", "song"]
PICTURE_KINDS: frozenset[Kind] = frozenset({"fitting", "photography", "travel"})

ReportStep = Callable[[int, int, str], None]
"""Called with (steps done, steps planned, what is being done now); cheap, may be called from the loop only."""


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One paid submission: of one item or of a whole batch, as the provider works."""

    attempt_id: UUID
    task_id: UUID
    kind: Kind
    items: tuple[int, ...]
    """Indexes of the items this attempt makes, each below 50."""
    photos: Sequence[bytes]
    """The input pictures, already fetched; may be empty for a song made from words only."""
    scene: str | None = None
    seed: int = 0
    prompt: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    negative_tags: tuple[str, ...] = ()
    instrumental: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provider_id: str | None = None
    """The provider's own name for the job, once known."""
    attempt_no: int = 1
    user_id: UUID | None = None
    photo_keys: tuple[str, ...] = ()
    """Where the input pictures are, for providers that fetch them by themselves."""
    custom_description: str = ""
    destination: Mapping[str, str] | None = None
    token: str = ""
    """Proves that a call back belongs to this attempt; only known while it is submitted."""
    deadline_at: datetime | None = None
    """When its task ends, whatever is made of it by then."""


@dataclass(slots=True, kw_only=True)
class Result:
    """The bytes of one delivered item."""

    index: int
    body: bytes
    content_type: Literal["image/webp", "image/jpeg", "image/png", "audio/ogg", "audio/mpeg", "audio/wav"]
    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None
    cover: bytes | None = None
    """A song's cover, WebP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What vision says of a photo; also what a song is made from."""

    title: str
    tags: tuple[str, ...]
    prompt: str
    negative_tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Submitted:
    """The provider took the job and will answer later."""

    provider_id: str


@dataclass(slots=True, kw_only=True)
class Finished:
    """The attempt ended; items without a result failed with the given reason."""

    results: tuple[Result, ...]
    failures: Mapping[int, str] = field(default_factory=dict)
    description: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    lyrics: str = ""
    is_final: bool = False
    """However often it is asked for, the answer stays this one: what is missing is missing for good."""


@dataclass(frozen=True, slots=True)
class Running:
    """Still at work; percent is 0 to 100 where the provider tells."""

    percent: int | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider says it will not deliver."""

    message: str
    is_final: bool = False
    """Trying again is pointless."""


@dataclass(frozen=True, slots=True)
class NotFound:
    """The provider does not know the job."""


class NotSent(Exception):
    """Proven not to have reached the provider: may be tried again."""


class Refused(Exception):
    """The provider answered and will not do it; trying again is pointless."""


class Lost(Exception):
    """Sent, and the answer was lost: the outcome is unknown."""


class Provider(Protocol):
    """An outside engine. `repeatable`: running it again costs nothing; `look_up`: jobs can be asked for by our attempt id;
    `batches`: one attempt makes all items of a task (else one attempt per item); `calls_back`: it is not asked how a job stands, a call back
    wakes the task, and `check` reads that call."""

    name: str
    kinds: frozenset[Kind]
    repeatable: bool
    look_up: bool
    batches: bool
    calls_back: bool

    async def submit(self, attempt: Attempt, report: ReportStep) -> Submitted | Finished:
        """Start (or do) the job. Raises NotSent, Refused or Lost."""
        ...

    async def check(self, attempt: Attempt) -> Running | Finished | Failed | NotFound:
        """Ask how the job stands. Raises NotSent when the provider cannot be reached."""
        ...

    async def cancel(self, attempt: Attempt) -> None:
        """Tell the provider that nobody waits any more. Best effort."""
        ...
