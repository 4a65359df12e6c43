"""The photo dialect: who am I, and a fresh token."""

from common.errors import AccountDisabled
from common.web import Answer, Request, Route
from identity.api.tokens import token_for
from identity.deps import Deps
from identity.domain import Person
from identity.schemas.photo import Me, MeAnswer, MeData, TokenAnswer, TokenData


async def show_me(request: Request[Deps]) -> Answer:
    deps = request.deps
    person = await _active(request)
    purse = await deps.purses.purse_of(person)
    avatar = deps.links.sign(person.avatar_key, now=deps.db.clock.now()) if person.avatar_key else None
    return Answer(MeAnswer(data=MeData(user=Me.of(person, purse, avatar_url=avatar))))


async def refresh(request: Request[Deps]) -> Answer:
    """A token that lives on from now, for the same session."""
    person = await _active(request)
    return Answer(TokenAnswer(data=TokenData(token=token_for(request.deps, person, session_id=request.principal.session_id))))


async def _active(request: Request[Deps]) -> Person:
    person = await request.deps.people(request.user_id)
    if person.disabled:
        raise AccountDisabled()
    return person


ROUTES = (
    Route("GET", "/api/auth/me", show_me, answers={200: MeAnswer}, summary="Who asks, with their credits"),
    Route("POST", "/api/auth/refresh", refresh, answers={200: TokenAnswer}, summary="A fresh token for a valid one"),
)
