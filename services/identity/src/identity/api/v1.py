"""Sessions: logging in for ten minutes at a time, refreshing, listing, logging out."""

from uuid import UUID

from common.errors import AccountDisabled, EmailUnverified, NotFound, ServiceError, Unauthorized, WrongPassword
from common.web import Answer, Request, Route
from identity import commands, store
from identity.api.logins import log_in
from identity.api.tokens import ACCESS_TOKEN_SECONDS, open_session, session_of, sign
from identity.deps import Deps
from identity.domain import REFRESH_IDLE, EndSession, Refresh
from identity.schemas.v1 import RefreshWish, SessionList, SessionRow, SessionTokens, SessionWish
from identity.sessions import RefreshToken

SESSIONS_SHOWN_MAX = 100
_SECRET = {"Cache-Control": "no-store"}


async def begin(request: Request[Deps]) -> Answer:
    """A session for who knows the password."""
    wish: SessionWish = request.body
    found = await log_in(request, wish.email, wish.password)
    opened = await open_session(request, found.person, lifetime_seconds=ACCESS_TOKEN_SECONDS, device=wish.device)
    tokens = SessionTokens(
        session_id=opened.session_id,
        user_id=found.person.user_id,
        access_token=opened.token,
        expires_in=ACCESS_TOKEN_SECONDS,
        refresh_token=opened.refresh_token,
        refresh_good_until=request.deps.db.clock.now() + REFRESH_IDLE,
    )
    return Answer(tokens, status=201, headers={**_SECRET, "Location": f"/v1/sessions/{opened.session_id}"})


async def refresh(request: Request[Deps]) -> Answer:
    """The next pair of tokens. Tabs that ask with one token at once get the same refresh token."""
    deps = request.deps
    shown = RefreshToken.read(request.body.refresh_token)
    following = shown.successor(deps.vault)
    done = await deps.refreshes(Refresh(shown.hash, following.hash))
    await deps.seen(done.person.user_id)
    tokens = SessionTokens(
        session_id=done.session.session_id,
        user_id=done.person.user_id,
        access_token=sign(deps, done.person, session_id=done.session.session_id, seconds=ACCESS_TOKEN_SECONDS),
        expires_in=ACCESS_TOKEN_SECONDS,
        refresh_token=following.text,
        refresh_good_until=done.good_until,
    )
    return Answer(tokens, headers=_SECRET)


async def show_all(request: Request[Deps]) -> Answer:
    """Where the asker is logged in."""
    deps, current = request.deps, request.principal.session_id
    async with deps.db.read() as conn:
        sessions = await store.list_sessions(conn, request.user_id, now=deps.db.clock.now(), limit=SESSIONS_SHOWN_MAX)
    rows = [
        SessionRow(session_id=one.session_id, device=one.device, created_at=one.created_at, used_at=one.used_at, current=str(one.session_id) == current)
        for one in sessions
    ]
    return Answer(SessionList(sessions=rows))


async def end_one(request: Request[Deps]) -> Answer:
    """Log out somewhere; `current` is the session that asks."""
    if request.params["session_id"] == "current":
        return await _end(request, session_of(request))
    return await _end(request, request.id("session_id", NotFound))


async def end_all(request: Request[Deps]) -> Answer:
    """Log out everywhere, here too."""
    return await _end(request, None)


async def _end(request: Request[Deps], session_id: UUID | None) -> Answer:
    deps = request.deps
    async with deps.db.transaction() as tx:
        [outcome] = await commands.end_sessions(tx, [EndSession(request.user_id, session_id)])
        tx.after_commit(deps.revocations.hint)
    if isinstance(outcome, ServiceError):
        raise outcome
    return Answer(None, status=204)


ROUTES = (
    Route(
        "POST",
        "/v1/sessions",
        begin,
        auth="none",
        body=SessionWish,
        answers={201: SessionTokens},
        deadline_seconds=30,
        refusals=(WrongPassword, EmailUnverified, AccountDisabled),
        summary="Log in",
    ),
    Route(
        "POST",
        "/v1/sessions/refresh",
        refresh,
        auth="none",
        body=RefreshWish,
        answers={200: SessionTokens},
        refusals=(Unauthorized, AccountDisabled),
        summary="The next pair of tokens",
    ),
    Route("GET", "/v1/sessions", show_all, answers={200: SessionList}, summary="Where I am logged in"),
    Route("DELETE", "/v1/sessions", end_all, answers={204: None}, summary="Log out everywhere"),
    Route("DELETE", "/v1/sessions/{session_id}", end_one, answers={204: None}, refusals=(NotFound,), summary="Log out of one session, or of `current`"),
)
