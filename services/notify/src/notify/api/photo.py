"""The photo dialect's socket: first frame authenticates, then the feed, hints and pings."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from aiohttp import WSMsgType, web
from pydantic import Field, ValidationError

from common.auth import Principal
from common.errors import AccountDisabled, Forbidden, InvalidParameter, RateLimited, ServiceError, Unauthorized
from common.ids import new_id
from common.messages import Lang, text
from common.web import Model, Request, Whole
from common.web.body import check_json
from common.web.dialects import language_of
from notify import store
from notify.deps import Deps
from notify.domain import resumable
from notify.schemas import frames
from notify.sockets import BAD_TOKEN, DISABLED, Connection

BAD_FRAME, NO_AUTH, TOO_MANY_SOCKETS, TOO_MANY_FRAMES = 4501, 4502, 4504, 4013


class Resume(Model):
    """Where a client was: no epoch means the present one."""

    epoch: UUID | None = None
    seq: Whole = Field(ge=0, le=2**62)


class AuthFrame(Model):
    """The first frame."""

    type: Literal["auth"]
    token: str = Field(min_length=1, max_length=4096)
    resume: Resume | None = None


class AckFrame(Model):
    """Moves the read mark."""

    type: Literal["ack"]
    seq: Whole = Field(ge=0, le=2**62)


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """Say why, by a slug of `common.messages`, then close with this code."""

    code: int
    slug: str


async def open_socket(request: Request[Deps]) -> web.StreamResponse:
    """Upgrade, authenticate, serve until either side leaves."""
    deps = request.deps
    _check_origin(deps, request.http)
    if "token" in request.http.query:
        raise InvalidParameter.of("token", "token-in-address")
    lang = language_of(request.http.headers.get("Accept-Language"), "photo")
    ws = web.WebSocketResponse(compress=False, autoping=False, max_msg_size=deps.settings.frame_bytes_max, timeout=2.0)
    if not ws.can_prepare(request.http).ok:
        raise InvalidParameter("this address answers WebSocket requests only")
    await ws.prepare(request.http)
    connection: Connection | None = None
    try:
        connection = await _authenticate(deps, request.http, ws, lang)
        await _serve(deps, connection)
    except Refused as refused:
        await _refuse(ws, refused.code, text(refused.slug, lang))
    except ConnectionResetError:
        pass  # left before saying who it was
    finally:
        if connection is not None:
            deps.hub.remove(connection)
    return ws


def _check_origin(deps: Deps, http: web.Request) -> None:
    origin = http.headers.get("Origin")
    if origin is None:
        return
    public = urlsplit(deps.settings.shared.public_url)
    allowed = {f"{public.scheme}://{public.netloc}", *(one.strip() for one in deps.settings.origins.split(",") if one.strip())}
    if origin not in allowed:
        raise Forbidden("this origin may not open a socket")


async def _authenticate(deps: Deps, http: web.Request, ws: web.WebSocketResponse, lang: Lang) -> Connection:
    try:
        async with asyncio.timeout(deps.settings.auth_seconds):
            frame = await _first_frame(ws, frames_max=deps.settings.frames_per_second_max)
    except TimeoutError:
        raise Refused(NO_AUTH, "auth-frame-missing") from None
    principal = await _principal(deps, frame.token)
    assert principal.user_id is not None
    if deps.hub.is_full(principal.user_id):
        raise Refused(TOO_MANY_SOCKETS, "too-many-sockets")
    if http.transport is None:
        raise ConnectionResetError
    connection = Connection(
        deps.hub,
        principal.user_id,
        ws,
        http.transport,
        expires_at=principal.expires_at.timestamp(),
        session_id=principal.session_id,
        revocation_number=principal.revocation_number,
        lang=lang,
    )
    deps.hub.add(connection)  # registered first, then read: nothing stored in between is missed
    try:
        await _principal(deps, frame.token)  # again: what ended between the first look and the registration is found by nobody else
        await _welcome(deps, connection, frame.resume)
    except BaseException:
        deps.hub.remove(connection)
        raise
    return connection


async def _first_frame(ws: web.WebSocketResponse, *, frames_max: int) -> AuthFrame:
    for _ in range(frames_max):
        message = await ws.receive()
        if message.type == WSMsgType.TEXT:
            payload = _parse(message.data)
            if payload.get("type") == "ping":
                await ws.send_str(frames.render_pong(_now_ms()).decode())
                continue
            try:
                return AuthFrame.model_validate(payload)
            except ValidationError:
                raise Refused(BAD_FRAME, "auth-frame-broken") from None
        if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
            raise ConnectionResetError
        if message.type == WSMsgType.BINARY:
            raise Refused(BAD_FRAME, "frame-not-text")
    raise Refused(TOO_MANY_FRAMES, RateLimited.slug)


async def _principal(deps: Deps, token: str) -> Principal:
    try:
        principal = await deps.authenticator.principal_of(token)
    except AccountDisabled as error:
        raise Refused(DISABLED, error.slug) from None
    except ServiceError as error:
        raise Refused(4000 if error.retryable else BAD_TOKEN, error.slug) from None
    if principal.user_id is None:
        raise Refused(BAD_TOKEN, Unauthorized.slug)
    return principal


async def _welcome(deps: Deps, connection: Connection, resume: Resume | None) -> None:
    head, oldest = await store.get_head(deps.db, connection.user_id)
    recovered = resume is not None and resumable(head, oldest, epoch=resume.epoch, seq=resume.seq)
    connection.sent = resume.seq if resume is not None and recovered else head.seq
    connection.welcome(
        frames.render_auth_success(
            text("authenticated", connection.lang),
            session=new_id(),
            epoch=head.epoch,
            seq=head.seq,
            recovered=recovered or resume is None,
            missed=head.seq - connection.sent,
        )
    )


async def _serve(deps: Deps, connection: Connection) -> None:
    window, count = time.monotonic(), 0
    async for message in connection.ws:
        connection.heard_at = time.monotonic()
        if connection.heard_at - window > 1:
            window, count = connection.heard_at, 0
        count += 1
        if count > deps.settings.frames_per_second_max:
            raise Refused(TOO_MANY_FRAMES, RateLimited.slug)
        if message.type == WSMsgType.TEXT:
            await _hear(deps, connection, _parse(message.data))
        elif message.type == WSMsgType.PING:
            await connection.ws.pong(message.data)
        elif message.type == WSMsgType.BINARY:
            raise Refused(BAD_FRAME, "frame-not-text")


async def _hear(deps: Deps, connection: Connection, payload: dict[str, Any]) -> None:
    match payload.get("type"):
        case "ping":
            connection.say(frames.render_pong(_now_ms()))
        case "ack":
            try:
                mark = AckFrame.model_validate(payload)
            except ValidationError:
                raise Refused(BAD_FRAME, "ack-frame-broken") from None
            await store.save_read_mark(deps.db, connection.user_id, mark.seq)
        case _:
            raise Refused(BAD_FRAME, "frame-unknown")


def _parse(text: str) -> dict[str, Any]:
    try:
        raw = text.encode()
        check_json(raw)
    except (InvalidParameter, UnicodeEncodeError):
        raise Refused(BAD_FRAME, "frame-broken") from None
    payload = orjson.loads(raw)
    if not isinstance(payload, dict):
        raise Refused(BAD_FRAME, "frame-broken")
    return payload


async def _refuse(ws: web.WebSocketResponse, code: int, sentence: str) -> None:
    if ws.closed:
        return
    try:
        await ws.send_str(frames.render_error(sentence).decode())
        await ws.close(code=code, message=sentence.encode())
    except ConnectionError:
        return


def _now_ms() -> int:
    return int(time.time() * 1000)
