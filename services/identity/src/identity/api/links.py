"""Links sent by mail: asking for a new password, and the two pages that links lead to."""

from functools import cache
from pathlib import Path
from uuid import UUID

from common.errors import ServiceError, Unauthorized, UserNotFound
from common.ids import UserId, new_id
from common.vault import Sealed
from common.web import HTML, SCRIPT, STYLE, Answer, Model, Request, Route
from identity import commands, link_tokens, store
from identity.api.logins import email_hash_of
from identity.deps import Deps
from identity.domain import LinkPurpose, MailLink, ResetRequest, SetPassword, UseLink, mailed_email, normal_email
from identity.schemas.song import ResetWish
from identity.schemas.v1 import Address, AddressAsk, Done, NewPassword, Verification

PAGES = Path(__file__).parents[1] / "pages"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_OVER = "the link was used already, is too old or was never sent"
_KINDS = {"html": HTML, "js": SCRIPT, "css": STYLE}


class Nothing(Model):
    """{}"""


async def request_reset(request: Request[Deps]) -> Answer:
    """One row for everybody; whether somebody has the address is found out aside, so neither the answer nor its time tells."""
    deps = request.deps
    try:
        email = normal_email(request.body.email)
    except ValueError:
        email = request.body.email
    wish = ResetRequest(new_id(), email_hash_of(deps, email), request.lang)
    async with deps.db.transaction() as tx:
        await store.insert_reset_request(tx.conn, wish, tx.now)
        tx.after_commit(deps.reset_asked.set)
    return Answer(Nothing())


async def set_password(request: Request[Deps]) -> Answer:
    """A new password for who has the link; every session before it is over."""
    deps, wish = request.deps, request.body
    ref = await _good_ref(deps, wish.token, "password_reset")
    password_hash = await deps.passwords.hash(wish.password)
    async with deps.db.transaction() as tx:
        [outcome] = await commands.set_passwords(tx, [SetPassword(ref, password_hash)])
        tx.after_commit(deps.revocations.hint)
    if isinstance(outcome, ServiceError):
        raise outcome
    return Answer(Done())


async def verify(request: Request[Deps]) -> Answer:
    """The address is theirs."""
    deps = request.deps
    ref = await _good_ref(deps, request.body.token, "email_verification")
    async with deps.db.transaction() as tx:
        [outcome] = await commands.verify_addresses(tx, [UseLink(ref)])
    if isinstance(outcome, ServiceError):
        raise outcome
    return Answer(Done())


async def show_address(request: Request[Deps]) -> Answer:
    """For notify, when it writes: where a message goes and what its link is. A link that is no good any more is not sent."""
    deps, ask = request.deps, request.body
    user_id = UserId(ask.user_id)
    async with deps.db.read() as conn:
        found = await store.find_address(conn, user_id)
        link = await _find_link(request, ask) if ask.template in link_tokens.PATHS else None
        lang = link.lang if link is not None else await store.find_lang(conn, user_id)
    if found is None or (ask.template in link_tokens.PATHS and link is None):
        raise UserNotFound()
    person, credential = found
    address = Address(
        email=mailed_email(deps.vault.open(Sealed(credential.email_sealed, credential.sealed_with), owner=user_id).decode()),
        name=person.username,
        link=f"{deps.public_url}{link_tokens.PATHS[link.purpose]}#{link_tokens.token_of(deps.vault, link)}" if link is not None else None,
        lang="en" if lang == "en" else "zh",
    )
    return Answer(address, headers={"Cache-Control": "no-store"})


async def _find_link(request: Request[Deps], ask: AddressAsk) -> MailLink | None:
    try:
        ref = UUID(ask.ref)
    except ValueError:
        return None
    deps = request.deps
    async with deps.db.read() as conn:
        link = await store.find_link(conn, ref, "password_reset" if ask.template == "password_reset" else "email_verification")
    if link is None or link.user_id != ask.user_id or link.used_at is not None or link.expires_at <= deps.db.clock.now():
        return None
    return link


async def _good_ref(deps: Deps, token: str, purpose: LinkPurpose) -> UUID:
    """Looked at before any slow work is done; used up only in the transaction."""
    ref = link_tokens.ref_of(deps.vault, token, purpose)
    if ref is None:
        raise Unauthorized(_OVER)
    async with deps.db.read() as conn:
        link = await store.find_link(conn, ref, purpose)
    if link is None or link.used_at is not None or link.expires_at <= deps.db.clock.now():
        raise Unauthorized(_OVER)
    return ref


@cache
def _file(name: str) -> bytes:
    return (PAGES / name).read_bytes()


def _shows(path: str, name: str, summary: str) -> Route:
    media = _KINDS[name.rpartition(".")[2]]

    async def show(_request: Request[Deps]) -> Answer:
        return Answer(_file(name), headers={**_HEADERS, "Content-Type": f"{media.kinds[0]}; charset=utf-8"})

    return Route("GET", path, show, auth="none", answers={200: media}, summary=summary)


def _page(path: str, name: str) -> tuple[Route, ...]:
    return (
        _shows(path, f"{name}.html", "The page of a link sent by mail"),
        _shows(f"{path}/page.js", f"{name}.js", "Its script"),
        _shows(f"{path}/page.css", "page.css", "Its style"),
    )


ROUTES = (
    Route("POST", "/requestPasswordReset", request_reset, auth="none", body=ResetWish, answers={200: Nothing}, summary="A link by mail for a new password"),
    *_page("/v1/password-resets", "password-reset"),
    Route(
        "POST",
        "/v1/password-resets",
        set_password,
        auth="none",
        body=NewPassword,
        answers={200: Done},
        deadline_seconds=30,
        refusals=(Unauthorized,),
        summary="A new password",
    ),
    *_page("/v1/email-verifications", "email-verification"),
    Route(
        "POST", "/v1/email-verifications", verify, auth="none", body=Verification, answers={200: Done}, refusals=(Unauthorized,), summary="The address is mine"
    ),
    Route("POST", "/internal/deliveries/address", show_address, auth="service", body=AddressAsk, answers={200: Address}, summary="Where a message goes"),
)
