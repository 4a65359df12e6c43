"""Operators: their login, the list of people, and what they may change."""

import asyncio
import hashlib
from datetime import datetime, timedelta

import orjson

from common.errors import AccountDisabled, Conflict, InvalidParameter, UserNotFound, WrongPassword
from common.ids import UserId, derived_id, new_id
from common.web import Answer, Request, Route
from common.web.photo import Page
from identity import adjustments, store
from identity.api.logins import guessing
from identity.api.people import avatar_url, openids
from identity.api.tokens import open_session
from identity.deps import Deps
from identity.domain import PeopleFilter, Person, PersonChange
from identity.schemas.admin import Overview, OverviewUsers
from identity.schemas.photo import AdminAnswer, AdminData, AdminLogin, AdminShown, UserAnswer, UserChange, UserData, UserRow, UsersAnswer, UsersData, UsersQuery

ACTIVE = timedelta(days=7)


async def log_in(request: Request[Deps]) -> Answer:
    """An unknown name and a wrong password get one answer, after the same work."""
    deps, wish = request.deps, request.body
    name = wish.username.lower()
    async with guessing(request, b"admin" + name.encode()):
        async with deps.db.read() as conn:
            found = await store.find_admin(conn, name)
        if not await deps.passwords.check(found[1] if found is not None else None, wish.password) or found is None:
            raise WrongPassword()
    person, _ = found
    if person.disabled:
        raise AccountDisabled()
    await deps.seen(person.user_id)
    shown = AdminShown(admin_id=str(person.user_id), username=person.username, nickname=person.username)
    opened = await open_session(request, person)
    return Answer(AdminAnswer(data=AdminData(token=opened.token, admin=shown)))


async def list_users(request: Request[Deps]) -> Answer:
    """A page of people, with what each has."""
    deps, query = request.deps, request.query
    wanted = PeopleFilter(query.keyword, query.role, query.status, query.user_id)
    async with deps.db.read() as conn:
        people, total = await store.list_filtered(conn, wanted, limit=query.pageSize, offset=query.offset)
    return Answer(UsersAnswer(data=UsersData(users=await _rows(deps, people), pagination=Page.of(query, total))))


async def change_user(request: Request[Deps]) -> Answer:
    """Role, state and credits change together or not at all; both parts are named by the request, so a repeated one changes nothing twice."""
    deps, wish = request.deps, request.body
    user_id = UserId(request.id("user_id", UserNotFound))
    admin_id = UserId(request.user_id)
    key = request.idempotency_key
    action_id = derived_id("PUT /api/admin/users", admin_id, user_id, key) if key is not None else new_id()
    if wish.credits_adjustment and not wish.adjustment_reason:
        raise InvalidParameter.of("adjustment_reason", "reason-needed")
    change = PersonChange(
        action_id=action_id,
        admin_id=admin_id,
        user_id=user_id,
        role=wish.role,
        status=wish.status,
        credits_adjustment=wish.credits_adjustment or 0,
        reason=wish.adjustment_reason or "",
        body_hash=hashlib.sha256(orjson.dumps(wish.model_dump(), option=orjson.OPT_SORT_KEYS)).digest(),
        keyed=key is not None,
    )
    done = await adjustments.change_person(deps, change)
    [row] = await _rows(deps, [done.person])
    return Answer(UserAnswer(data=UserData(user=row)), headers={"Idempotent-Replayed": "true"} if done.replayed else {})


async def show_overview(request: Request[Deps]) -> Answer:
    """How many people there are."""
    now: datetime = request.deps.db.clock.now()
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    async with request.deps.db.read() as conn:
        total, new, active = await store.count_people(conn, today=today, active_since=now - ACTIVE)
    return Answer(Overview(users=OverviewUsers(total_users=total, today_new_users=new, active_users=active)))


async def _rows(deps: Deps, people: list[Person]) -> list[UserRow]:
    known = await openids(deps, [person.user_id for person in people])
    purses = await asyncio.gather(*(deps.purses.purse_of(person) for person in people))
    return [
        UserRow(
            user_id=str(person.user_id),
            openid=_shortened(known.get(person.user_id, "")),
            nickname=person.username,
            avatar_url=avatar_url(deps, person),
            role=person.role,
            status=person.status,
            credits=purse.credits,
            email_verified=person.email_verified,
            created_at=person.created_at,
            updated_at=person.updated_at,
        )
        for person, purse in zip(people, purses, strict=True)
    ]


def _shortened(openid: str) -> str:
    return f"{openid[:4]}…{openid[-4:]}" if len(openid) > 8 else openid


ROUTES = (
    Route(
        "POST",
        "/api/auth/admin/login",
        log_in,
        auth="none",
        body=AdminLogin,
        answers={200: AdminAnswer},
        refusals=(WrongPassword, AccountDisabled),
        summary="An operator's token",
    ),
    Route("GET", "/api/admin/users", list_users, auth="admin", query=UsersQuery, answers={200: UsersAnswer}, summary="Everybody"),
    Route(
        "PUT",
        "/api/admin/users/{user_id}",
        change_user,
        auth="admin",
        body=UserChange,
        answers={200: UserAnswer},
        refusals=(UserNotFound, Conflict),
        keyed=True,
        summary="Role, state and credits",
    ),
    Route("GET", "/internal/admin/overview", show_overview, auth="admin", answers={200: Overview}, summary="How many people there are"),
)
