"""What neither dialect has a path for: operators' notices."""

import hashlib
from uuid import UUID

import orjson

from common.errors import InvalidParameter, NotFound, ServiceError, UserNotFound
from common.ids import derived_id, new_id
from common.web import Answer, Request, Route
from notify import commands, store
from notify.deps import Deps
from notify.domain import Announcement
from notify.schemas.v1 import NewNotice, NoticeSaid

DATA_BYTES_MAX = 8 * 1024


async def say(request: Request[Deps]) -> Answer:
    """Keep the notice; a loop brings it into every feed it is for."""
    deps, wish = request.deps, request.body
    if len(orjson.dumps(wish.data)) > DATA_BYTES_MAX:
        raise InvalidParameter.of("data", "bytes", most=DATA_BYTES_MAX)
    audience = _audience_of(wish)
    if audience is not None and deps.identity is not None and (unknown := await deps.identity.unknown_among(audience)):
        raise UserNotFound(data={"user_ids": sorted(map(str, unknown))[:20]})
    key = request.idempotency_key
    by = request.user_id
    said = Announcement(
        derived_id("POST /v1/admin/notices", by, key) if key is not None else new_id(),
        wish.title,
        wish.content,
        wish.data,
        audience,
        # Who is meant is said by the users alone, so that what was kept before `audience` was a field is still the same.
        hashlib.sha256(orjson.dumps(wish.model_dump(mode="json", exclude={"audience"}), option=orjson.OPT_SORT_KEYS)).digest(),
        by,
        deps.db.clock.now(),
    )
    async with deps.db.transaction() as tx:
        [outcome] = await commands.announce(tx, [said])
        tx.after_commit(deps.announced.set)
    if isinstance(outcome, ServiceError):
        raise outcome
    headers = {"Location": f"/v1/admin/notices/{outcome.announcement_id}"}
    if outcome is not said:
        headers["Idempotent-Replayed"] = "true"
    return Answer(_render(outcome), status=201, headers=headers)


async def show(request: Request[Deps]) -> Answer:
    """How far a notice got."""
    async with request.deps.db.read() as conn:
        found = await store.find_announcement(conn, request.id("notice_id", NotFound))
    if found is None:
        raise NotFound()
    return Answer(_render(found))


def _audience_of(wish: NewNotice) -> tuple[UUID, ...] | None:
    """Whom it is for; None means everybody, which has to be said: nobody named is a slip, and what was sent cannot be taken back."""
    if wish.audience is None and not wish.named:
        raise InvalidParameter.of("audience", "audience-all")
    if wish.audience is not None and wish.named:
        raise InvalidParameter.of("audience", "audience-alone")
    return wish.named or None


def _render(one: Announcement) -> NoticeSaid:
    audience = "all" if one.user_ids is None else len(one.user_ids)
    return NoticeSaid(notice_id=one.announcement_id, audience=audience, reached=one.reached, done=one.done, created_at=one.created_at)


ROUTES = (
    Route(
        "POST",
        "/v1/admin/notices",
        say,
        auth="admin",
        body=NewNotice,
        answers={201: NoticeSaid},
        refusals=(UserNotFound,),
        keyed=True,
        example={"title": "Tonight", "content": "We move house at ten.", "data": {"link": "https://example.com/news"}, "audience": "all"},
        summary="Tell one, some or all users something",
    ),
    Route("GET", "/v1/admin/notices/{notice_id}", show, auth="admin", answers={200: NoticeSaid}, summary="How far a notice got"),
)
