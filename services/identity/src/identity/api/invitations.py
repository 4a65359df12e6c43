"""The page behind a one-time link, where the first operator chooses a name and a password."""

from functools import cache
from pathlib import Path

from common.errors import Conflict, Unauthorized
from common.ids import UserId, new_id
from common.web import HTML, SCRIPT, STYLE, Answer, Request, Route
from identity import store
from identity.deps import Deps
from identity.invite import token_hash
from identity.schemas.admin import AdminMade, Invited

PAGES = Path(__file__).parents[1] / "pages"
_HEADERS = {"Content-Security-Policy": "default-src 'self'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


@cache
def _page(name: str) -> bytes:
    return (PAGES / name).read_bytes()


def _shown(name: str, content_type: str) -> Answer:
    return Answer(_page(name), headers={**_HEADERS, "Content-Type": content_type})


async def show_page(_request: Request[Deps]) -> Answer:
    return _shown("invitation.html", "text/html; charset=utf-8")


async def show_script(_request: Request[Deps]) -> Answer:
    return _shown("invitation.js", "text/javascript; charset=utf-8")


async def show_style(_request: Request[Deps]) -> Answer:
    return _shown("page.css", "text/css; charset=utf-8")


async def accept(request: Request[Deps]) -> Answer:
    """Use the link up and open the account, both or neither."""
    deps, wish = request.deps, request.body
    password_hash = await deps.passwords.hash(wish.password)
    async with deps.db.transaction() as tx:
        if not await store.use_invitation(tx.conn, token_hash(wish.token), tx.now):
            raise Unauthorized("the link was used already, is too old or was never given")
        if not await store.insert_admin(tx.conn, UserId(new_id()), wish.username, password_hash, tx.now):
            raise Conflict("the name is taken")
    return Answer(AdminMade(username=wish.username, made=True), status=201)


ROUTES = (
    Route("GET", "/v1/admin-invitations", show_page, auth="none", answers={200: HTML}, summary="The page of a one-time link"),
    Route("GET", "/v1/admin-invitations/page.js", show_script, auth="none", answers={200: SCRIPT}, summary="Its script"),
    Route("GET", "/v1/admin-invitations/page.css", show_style, auth="none", answers={200: STYLE}, summary="Its style"),
    Route(
        "POST",
        "/v1/admin-invitations",
        accept,
        auth="none",
        body=Invited,
        answers={201: AdminMade},
        refusals=(Unauthorized, Conflict),
        summary="Become an operator with a one-time link",
    ),
)
