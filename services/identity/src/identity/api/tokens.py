"""Tokens as both dialects hand them out."""

from common.ids import new_id
from identity.deps import Deps
from identity.domain import Person

USER_TOKEN_SECONDS = 7 * 24 * 3600
ADMIN_TOKEN_SECONDS = 24 * 3600


def token_for(deps: Deps, person: Person, *, session_id: str | None = None) -> str:
    """A bearer token; without a session id it begins a session."""
    lifetime_seconds = ADMIN_TOKEN_SECONDS if person.role == "admin" else USER_TOKEN_SECONDS
    return deps.keys.signer.sign_user_token(
        person.user_id,
        session_id=session_id or new_id(),
        role=person.role,
        lifetime_seconds=lifetime_seconds,
        revocation_number=person.revoked_number,
    )
