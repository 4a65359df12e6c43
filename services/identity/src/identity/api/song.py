"""The song dialect: sign up and log in."""

from base64 import b64encode

import orjson
from aiohttp import BodyPartReader

from common.errors import (
    AccountDisabled,
    Conflict,
    EmailUnverified,
    FileTooLarge,
    FileTypeRefused,
    FileUnreadable,
    InvalidParameter,
    PayloadTooLarge,
    ServiceError,
    WrongPassword,
)
from common.ids import UserId, derived_id, new_id
from common.web import Answer, Request, Route
from common.web.body import parse_fields
from identity import commands, store
from identity.api import logins
from identity.api.avatars import PICTURE_BYTES_MAX, keep_avatar, read_avatar
from identity.api.logins import email_hash_of
from identity.api.people import avatar_url
from identity.api.tokens import open_session
from identity.deps import Deps
from identity.domain import Person, Registered, Registration
from identity.schemas.song import Login, SignUp, SignUpForm, User

FORM_BYTES_MAX = 11 * 1024 * 1024
JSON_BYTES_MAX = 16 * 1024 * 1024
_SECRET = {"Cache-Control": "no-store"}


async def sign_up(request: Request[Deps]) -> Answer:
    """Parse; know a repeated one by its key before anything slow; keep the picture; register; render."""
    wish: SignUp = request.body if request.body is not None else await _read_form(request)
    deps = request.deps
    email_hash = email_hash_of(deps, wish.email)
    user_id, request_hash = _names(request, wish, email_hash)
    done = await _find_known(deps, user_id, request_hash, email_hash)
    if done is None:
        picture = await read_avatar(request, wish.avatar)
        avatar_key = await keep_avatar(deps, picture, user_id) if picture is not None else None
        done = await deps.signups(await _complete(request, wish, user_id, email_hash, request_hash, avatar_key))
    if done.person.disabled:
        raise AccountDisabled()
    headers = {**_SECRET, "Idempotent-Replayed": "true"} if done.replayed else _SECRET
    return Answer(await _render(request, done.person, wish.email), status=201, headers=headers)


async def log_in(request: Request[Deps]) -> Answer:
    """An unknown address and a wrong password get one answer, after the same work."""
    found = await logins.log_in(request, request.body.email, request.body.password)
    return Answer(await _render(request, found.person, found.email), headers=_SECRET)


async def _complete(
    request: Request[Deps], wish: SignUp, user_id: UserId, email_hash: bytes, request_hash: bytes | None, avatar_key: str | None
) -> Registration:
    deps = request.deps
    sealed = deps.vault.seal(wish.email.encode(), owner=user_id)
    return Registration(
        user_id=user_id,
        username=wish.username,
        avatar_key=avatar_key,
        email_hash=email_hash,
        email_sealed=sealed.content,
        sealed_with=sealed.key_id,
        password_hash=await deps.passwords.hash(wish.password),
        request_hash=request_hash,
        lang=request.lang,
    )


def _names(request: Request[Deps], wish: SignUp, email_hash: bytes) -> tuple[UserId, bytes | None]:
    """The id of the account this makes, and of the request itself when it may be repeated: keyed hashes, for both are kept."""
    key = request.idempotency_key
    if key is None:
        return UserId(new_id()), None
    body = orjson.dumps(wish.model_dump(), option=orjson.OPT_SORT_KEYS)
    return UserId(derived_id("POST /users", email_hash.hex(), key)), request.deps.vault.lookup_hash("sign-up", body)


async def _find_known(deps: Deps, user_id: UserId, request_hash: bytes | None, email_hash: bytes) -> Registered | None:
    """What this sign-up was answered before, if it was; raises what it gets when the address is taken, before anything slow is done for it."""
    async with deps.db.read() as conn:
        known = (await store.list_known(conn, [email_hash])).get(email_hash)
    outcome = commands.replay(user_id, request_hash, known) if known is not None else None
    if isinstance(outcome, ServiceError):
        raise outcome
    return outcome


async def _render(request: Request[Deps], person: Person, email: str) -> User:
    deps = request.deps
    opened = await open_session(request, person)
    purse = await deps.purses.purse_of(person)
    return User.of(person, purse, email=email, avatar=avatar_url(deps, person), token=opened.token, refresh_token=opened.refresh_token)


async def _read_form(request: Request[Deps]) -> SignUp:
    """A multipart sign-up; a picture in it is taken for the data URL it could have been."""
    fields: dict[str, str] = {}
    async for part in request.parts(bytes_max=FORM_BYTES_MAX):
        if part.name == "avatar" and part.filename is not None:
            fields["avatar"] = await _read_picture(request, part)
        elif part.name in ("username", "email", "password", "avatar"):
            fields[part.name] = await request.read_text(part)
        elif part.filename is not None:
            raise InvalidParameter.of("avatar", "file-part", given=(part.name or "")[:80])
        else:
            async for _ in request.pieces(part, bytes_max=FORM_BYTES_MAX):
                pass
    return parse_fields(SignUp, fields)


async def _read_picture(request: Request[Deps], part: BodyPartReader) -> str:
    try:
        content = await request.read_part(part, bytes_max=PICTURE_BYTES_MAX)
    except PayloadTooLarge as error:
        raise FileTooLarge.of("avatar", "bytes", most=PICTURE_BYTES_MAX) from error
    # What it is, its first bytes say; whatever the form calls it.
    return "data:image/jpeg;base64," + b64encode(content).decode() if content else ""


ROUTES = (
    Route(
        "POST", "/users", sign_up, auth="none", body=SignUp, answers={201: User}, multipart=True, body_bytes_max=JSON_BYTES_MAX, deadline_seconds=60,
        refusals=(Conflict, AccountDisabled, FileTooLarge, FileTypeRefused, FileUnreadable), keyed=True,
        reads={"multipart/form-data": SignUpForm}, summary="Sign up",
    ),
    Route(
        "POST", "/login", log_in, auth="none", body=Login, answers={200: User}, deadline_seconds=30,
        refusals=(WrongPassword, EmailUnverified, AccountDisabled), summary="Log in",
    ),
)  # fmt: skip
