"""Sessions and tokens as both dialects hand them out."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from common.errors import Unauthorized
from common.ids import new_id
from common.web import Request
from identity.deps import Deps
from identity.domain import NewSession, Person
from identity.sessions import RefreshToken

USER_TOKEN_SECONDS = 7 * 24 * 3600
ADMIN_TOKEN_SECONDS = 24 * 3600
ACCESS_TOKEN_SECONDS = 600
DEVICE_LENGTH_MAX = 200


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that began now."""

    session_id: UUID
    token: str
    refresh_token: str


async def open_session(request: Request[Deps], person: Person, *, lifetime_seconds: int | None = None, device: str | None = None) -> Opened:
    """Somebody proved who they are: their session, with a bearer token and the first refresh token of its family."""
    deps, session_id, refresh_token = request.deps, new_id(), RefreshToken.new()
    seconds = lifetime_seconds or seconds_for(person)
    begun = NewSession(
        session_id=session_id,
        user_id=person.user_id,
        device=device or device_of(request),
        token_hash=refresh_token.hash,
        token_seconds=seconds,
        revoked_number=person.revoked_number,
    )
    await deps.sessions(begun)
    return Opened(session_id, sign(deps, person, session_id=session_id, seconds=seconds), refresh_token.text)


def sign(deps: Deps, person: Person, *, session_id: UUID | str, seconds: int) -> str:
    """A bearer token of a session."""
    return deps.keys.signer.sign_user_token(
        person.user_id, session_id=session_id, role=person.role, lifetime_seconds=seconds, revocation_number=person.revoked_number
    )


def seconds_for(person: Person) -> int:
    """How long the dialects' tokens live."""
    return ADMIN_TOKEN_SECONDS if person.role == "admin" else USER_TOKEN_SECONDS


def good_for(person: Person) -> timedelta:
    return timedelta(seconds=seconds_for(person))


def session_of(request: Request[Deps]) -> UUID:
    """The session that asks."""
    try:
        return UUID(request.principal.session_id or "")
    except ValueError as error:
        raise Unauthorized("the token names no session of ours") from error


def device_of(request: Request[Deps]) -> str:
    """What the client says it is."""
    said = request.http.headers.get("User-Agent", "")
    return "".join(character for character in said if character.isprintable())[:DEVICE_LENGTH_MAX]
