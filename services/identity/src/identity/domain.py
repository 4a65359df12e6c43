"""Who somebody is: names, addresses, states. No I/O, no clock, no ids of its own."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from email_validator import EmailNotValidError, validate_email

from common.ids import UserId
from common.revocations import Reason

EMAIL_LENGTH_MAX = 254
PASSWORD_CHARACTERS_MIN = 8
PASSWORD_BYTES_MAX = 1024
SIGNUP_CREDITS = 10
SIGNUP_POINTS = 180
SIGNUP_MEMBERSHIP = timedelta(days=1)

Role = Literal["user", "admin"]
Status = Literal["active", "disabled"]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an account."""

    user_id: UserId
    username: str
    avatar_key: str | None
    role: Role
    disabled: bool
    email_verified: bool
    created_at: datetime
    updated_at: datetime
    version: int = 1
    avatar_link: str | None = None
    revoked_number: int = 0

    @property
    def status(self) -> Status:
        return "disabled" if self.disabled else "active"


@dataclass(frozen=True, slots=True)
class Credential:
    """What proves that it is them, and where they are reached (sealed)."""

    user_id: UserId
    email_sealed: bytes
    sealed_with: str
    password_hash: str


@dataclass(frozen=True, slots=True)
class Registration:
    """A sign-up, complete: everything slow was done before it is asked for."""

    user_id: UserId
    username: str
    avatar_key: str | None
    email_hash: bytes
    email_sealed: bytes
    sealed_with: str
    password_hash: str
    request_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Registered:
    """A sign-up that succeeded, now or (replayed) before."""

    person: Person
    replayed: bool


@dataclass(frozen=True, slots=True)
class WechatLogin:
    """Somebody WeChat vouches for; the account is theirs, or made now under `user_id`."""

    user_id: UserId
    openid_hash: bytes
    openid_sealed: bytes
    sealed_with: str
    username: str
    avatar_link: str | None


@dataclass(frozen=True, slots=True)
class WechatPerson:
    """Who it was, and whether the account is new."""

    person: Person
    is_new: bool


@dataclass(frozen=True, slots=True)
class PersonChange:
    """What an operator wants of somebody; None leaves it as it is."""

    action_id: UUID
    admin_id: UserId
    user_id: UserId
    role: Role | None
    status: Status | None
    credits_adjustment: int
    reason: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """Tokens to be ended before their time: of one session, or all there are of a user."""

    user_id: UUID
    reason: Reason
    session_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class PeopleFilter:
    """Which people an operator looks at."""

    keyword: str | None = None
    role: Role | None = None
    status: Status | None = None
    user_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Purse:
    """What somebody has, as billing says."""

    credits: int
    points: int
    member_until: datetime | None
    is_member: bool


def normal_email(given: str) -> str:
    """The one spelling of an address that people share however they type it; raises ValueError for what is none."""
    if len(given) > EMAIL_LENGTH_MAX:
        raise ValueError("is too long")
    try:
        found = validate_email(given.strip(), check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise ValueError("is not an e-mail address") from error
    return found.normalized.lower()


def normal_password(given: str) -> str:
    """The same password whichever keyboard composed its accents; raises ValueError past the limits."""
    normal = unicodedata.normalize("NFC", given)
    if len(normal) < PASSWORD_CHARACTERS_MIN:
        raise ValueError(f"must have at least {PASSWORD_CHARACTERS_MIN} characters")
    if len(normal.encode()) > PASSWORD_BYTES_MAX:
        raise ValueError(f"must have at most {PASSWORD_BYTES_MAX} bytes")
    return normal


def signup_purse(person: Person) -> Purse:
    """What a sign-up gives; shown while billing is away and nothing else is known."""
    return Purse(credits=SIGNUP_CREDITS, points=SIGNUP_POINTS, member_until=person.created_at + SIGNUP_MEMBERSHIP, is_member=True)
