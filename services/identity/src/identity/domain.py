"""Who somebody is: names, addresses, states. No I/O, no clock, no ids of its own."""

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from email_validator import EmailNotValidError, validate_email

from common.ids import UserId
from common.messages import Lang, wrong
from common.revocations import Reason

EMAIL_LENGTH_MAX = 254
PASSWORD_CHARACTERS_MIN = 8
PASSWORD_BYTES_MAX = 1024
SIGNUP_CREDITS = 10
SIGNUP_POINTS = 180
SIGNUP_MEMBERSHIP = timedelta(days=1)

REFRESH_IDLE = timedelta(days=14)
REFRESH_ABSOLUTE = timedelta(days=60)
REFRESH_TWINS = timedelta(seconds=10)
LINK_GOOD_FOR: dict[str, timedelta] = {"password_reset": timedelta(minutes=30), "email_verification": timedelta(days=1)}
INTENT_LEASE = timedelta(seconds=20)
"""Longer than billing may take for one question: who claims an intent next hears what became of the question before."""
LINK_AGAIN = timedelta(minutes=1)
GUESSES_FREE = 10
GUESSES_FREE_ADDRESS = 50
GUESSES_FORGOTTEN = timedelta(days=1)
GUESS_WAIT_FIRST = timedelta(minutes=1)
GUESS_WAIT_MAX = timedelta(minutes=15)
PLACE_KNOWN = timedelta(days=60)

_BREAKING = frozenset({"Cc", "Zl", "Zp"})
_TURNING = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})

LinkPurpose = Literal["password_reset", "email_verification"]
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
    lang: Lang = "zh"


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
    """What an operator wants of somebody; None leaves it as it is. `keyed` says that its id was derived from an Idempotency-Key."""

    action_id: UUID
    admin_id: UserId
    user_id: UserId
    role: Role | None
    status: Status | None
    credits_adjustment: int
    reason: str
    body_hash: bytes
    keyed: bool

    def dethrones(self, person: Person) -> bool:
        """Whether operators would take the role or the account from themselves."""
        return self.admin_id == person.user_id and ((self.role or person.role) != "admin" or (self.status or person.status) == "disabled")


@dataclass(frozen=True, slots=True)
class PersonChanged:
    """A change that was made, now or (replayed) before."""

    person: Person
    replayed: bool


@dataclass(frozen=True, slots=True)
class Intent:
    """A change with credits in it that is not made yet. Whoever claimed it asks billing, the others wait; `claim_no` counts those who asked."""

    change: PersonChange
    claim_no: int
    leased_until: datetime
    claimed: bool


@dataclass(frozen=True, slots=True)
class Revoke:
    """Tokens to be ended before their time: of one session, or all there are of a user."""

    user_id: UUID
    reason: Reason
    session_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class NewSession:
    """Somebody logged in: the first refresh token's hash, and until when something of the session is good."""

    session_id: UUID
    user_id: UserId
    device: str
    token_hash: bytes
    token_seconds: int
    revoked_number: int


@dataclass(frozen=True, slots=True)
class Session:
    """Where somebody is logged in. `number` is that of the newest refresh token, `revoked_number` of what was revoked before it began."""

    session_id: UUID
    user_id: UserId
    device: str
    number: int
    revoked_number: int
    created_at: datetime
    used_at: datetime
    refreshed_at: datetime
    good_until: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh token was shown; `successor_hash` is that of the one it turns into."""

    token_hash: bytes
    successor_hash: bytes


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Whose session goes on, and until when its new refresh token is good at most."""

    person: Person
    session: Session

    @property
    def good_until(self) -> datetime:
        return min(self.session.refreshed_at + REFRESH_IDLE, self.session.created_at + REFRESH_ABSOLUTE)


@dataclass(frozen=True, slots=True)
class EndSession:
    """Log out: of one session, or of all there are."""

    user_id: UserId
    session_id: UUID | None


RefreshFate = Literal["rotate", "repeat", "reuse", "ended", "expired"]


def fate_of(session: Session, number: int, now: datetime) -> RefreshFate:
    """What happens to a refresh token that is shown: the newest is rotated; the one before it is a twin's for ten seconds; all others were stolen."""
    if session.ended_at is not None:
        return "ended"
    if number < session.number and not (number == session.number - 1 and now - session.refreshed_at <= REFRESH_TWINS):
        return "reuse"
    if now - session.refreshed_at > REFRESH_IDLE or now - session.created_at > REFRESH_ABSOLUTE:
        return "expired"
    return "rotate" if number == session.number else "repeat"


@dataclass(frozen=True, slots=True)
class MailLink:
    """A link that is sent by mail, works once and not for long; asking again replaces it."""

    ref: UUID
    user_id: UserId
    purpose: LinkPurpose
    email_hash: bytes
    lang: Lang
    requested_at: datetime
    expires_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class LinkAsk:
    """Somebody needs a link by mail."""

    user_id: UserId
    purpose: LinkPurpose
    email_hash: bytes
    lang: Lang


@dataclass(frozen=True, slots=True)
class UseLink:
    """Somebody came with a link's token, which was checked."""

    ref: UUID


@dataclass(frozen=True, slots=True)
class SetPassword:
    """A new password, by a link."""

    ref: UUID
    password_hash: str


@dataclass(frozen=True, slots=True)
class ResetRequest:
    """Somebody says that they forgot the password of an address."""

    request_id: UUID
    email_hash: bytes
    lang: Lang


@dataclass(frozen=True, slots=True)
class Guess:
    """A password is about to be looked at: keyed hashes of the account, of the address it comes from, and of both together.

    Without an address (nobody says where it comes from) only the account counts.
    """

    account: bytes
    address: bytes | None
    place: bytes | None

    def limits(self, *, known_place: bool) -> dict[bytes, int]:
        """What counts, and how many guesses of each are free."""
        if known_place and self.place is not None:
            return {self.place: GUESSES_FREE}
        return {self.account: GUESSES_FREE, **({self.address: GUESSES_FREE_ADDRESS} if self.address is not None else {})}


def guess_wait(guesses: int, last_at: datetime, now: datetime, *, free: int) -> timedelta:
    """How long until the next guess: some are free, then each waits twice as long as the one before, a quarter of an hour at most."""
    if guesses < free or now - last_at > GUESSES_FORGOTTEN:
        return timedelta(0)
    wait: timedelta = min(GUESS_WAIT_FIRST * 2 ** min(guesses - free, 16), GUESS_WAIT_MAX)
    return max(last_at + wait - now, timedelta(0))


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
        raise wrong("string_too_long", max_length=EMAIL_LENGTH_MAX)
    try:
        found = validate_email(given.strip(), check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError as error:
        raise wrong("email") from error
    return found.normalized.lower()


def shown_name(given: str) -> str:
    """A name on one line that leaves the order of the text around it alone; empty when nothing of it would be seen."""
    name = "".join(one for one in given if unicodedata.category(one) not in _BREAKING and unicodedata.bidirectional(one) not in _TURNING).strip()
    return name if any(unicodedata.category(one)[0] not in "CZ" for one in name) else ""


def named(given: str) -> str:
    """The same for whoever must have one; raises ValueError when nothing would be seen."""
    if not (name := shown_name(given)):
        raise wrong("string_too_short", min_length=1)
    return name


def mailed_email(normal: str) -> str:
    """A normal address as mail servers take it: the domain in ASCII, unless what stands before it is not either and they must know both anyway."""
    return validate_email(normal, check_deliverability=False, globally_deliverable=False).ascii_email or normal


def normal_password(given: str) -> str:
    """The same password whichever keyboard composed its accents; raises ValueError past the limits."""
    normal = unicodedata.normalize("NFC", given)
    if len(normal) < PASSWORD_CHARACTERS_MIN:
        raise wrong("string_too_short", min_length=PASSWORD_CHARACTERS_MIN)
    if len(normal.encode()) > PASSWORD_BYTES_MAX:
        raise wrong("bytes", most=PASSWORD_BYTES_MAX)
    return normal


def signup_purse(person: Person) -> Purse:
    """What a sign-up gives; shown while billing is away and nothing else is known."""
    return Purse(credits=SIGNUP_CREDITS, points=SIGNUP_POINTS, member_until=person.created_at + SIGNUP_MEMBERSHIP, is_member=True)
