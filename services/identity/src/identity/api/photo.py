"""The photo dialect: who am I, and a fresh token."""

from datetime import timedelta

from common.errors import AccountDisabled, Unauthorized
from common.web import Answer, Request, Route
from identity import store
from identity.api.people import avatar_url, openids
from identity.api.tokens import ACCESS_TOKEN_SECONDS, good_for, seconds_for, session_of, sign
from identity.deps import Deps
from identity.domain import Person
from identity.schemas.photo import Me, MeAnswer, MeData, TokenAnswer, TokenData


async def show_me(request: Request[Deps]) -> Answer:
    deps = request.deps
    person = await _active(request)
    purse = await deps.purses.purse_of(person)
    openid = (await openids(deps, [person.user_id])).get(person.user_id, "")
    return Answer(MeAnswer(data=MeData(user=Me.of(person, purse, avatar_url=avatar_url(deps, person), openid=openid))))


async def refresh(request: Request[Deps]) -> Answer:
    """A token that lives on from now, for the same session."""
    deps, person = request.deps, await _active(request)
    if request.principal.expires_at - request.principal.issued_at <= timedelta(seconds=ACCESS_TOKEN_SECONDS):
        # Ten minutes must not become a week in the hands of who has no refresh token.
        raise Unauthorized("a token of ten minutes is followed by its refresh token's")
    session_id = session_of(request)
    now = deps.db.clock.now()
    async with deps.db.read() as conn:
        if not await store.touch_session(conn, session_id, now=now, good_until=now + good_for(person)):
            raise Unauthorized("the session has ended")
    await deps.seen(person.user_id)
    token = sign(deps, person, session_id=session_id, seconds=seconds_for(person))
    return Answer(TokenAnswer(data=TokenData(token=token)), headers={"Cache-Control": "no-store"})


async def _active(request: Request[Deps]) -> Person:
    person = await request.deps.people(request.user_id)
    if person.disabled:
        raise AccountDisabled()
    if person.revoked_number > request.principal.revocation_number:
        # The list in memory is not that new yet, and a fresh token would escape it.
        raise Unauthorized("the session has ended")
    return person


ROUTES = (
    Route("GET", "/api/auth/me", show_me, answers={200: MeAnswer}, summary="Who asks, with their credits"),
    Route("POST", "/api/auth/refresh", refresh, answers={200: TokenAnswer}, summary="A fresh token for a valid one"),
)
