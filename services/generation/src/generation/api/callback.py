"""Calls back of workflows: proven, kept as they came, and answered; a worker applies them."""

import hashlib
import hmac
from typing import Literal
from uuid import UUID

from aiohttp import web

from common.errors import Unauthorized
from common.log import get_logger
from common.web import Answer, Request, Route
from common.web.body import parse_body, read_body
from common.web.photo import Ok
from generation import commands
from generation.deps import Deps
from generation.domain import Callback
from generation.providers.n8n import COMPLETE_PATH, FAILED_PATH, INNER_SECRET_HEADER, SECRET_HEADER, TOKEN_HEADER
from generation.schemas import callback as shapes

log = get_logger()

BODY_BYTES_MAX = 40 * 1024 * 1024
DEADLINE_SECONDS = 60.0
TIMESTAMP_HEADER = "X-Darkroom-Timestamp"
SIGNATURE_HEADER = "X-Darkroom-Signature"
TIMESTAMP_LENGTH_MAX = 12


async def complete(request: Request[Deps]) -> Answer:
    """A workflow is done."""
    return await _take(request, "complete", shapes.TaskComplete)


async def fail(request: Request[Deps]) -> Answer:
    """A workflow gave up."""
    return await _take(request, "failed", shapes.TaskFailed)


async def _take(request: Request[Deps], says: Literal["complete", "failed"], shape: type[shapes.TaskComplete] | type[shapes.TaskFailed]) -> Answer:
    deps, http = request.deps, request.http
    signed = _knows_secret(deps, http)
    if not signed and not _may_be_signed(deps, http):
        raise Unauthorized("neither the secret nor a signature was sent")
    raw = await read_body(http, BODY_BYTES_MAX)
    if not signed and not _is_signed(deps, http, raw):
        raise Unauthorized("the signature is not valid")
    said = parse_body(shape, raw)
    token = http.headers.get(TOKEN_HEADER) or said.attempt_token
    try:
        task_id = UUID(said.task_id)
    except ValueError:
        raise Unauthorized("no such attempt") from None
    ask = Callback(task_id, hashlib.sha256(_bytes(token)).digest(), says, hashlib.sha256(raw).digest(), raw)
    async with deps.db.transaction() as tx:
        (outcome,) = await commands.take_callbacks(tx, [ask])
    if isinstance(outcome, Unauthorized):
        raise outcome
    log.info("callback.kept", task_id=str(task_id), says=says, state=outcome)
    if outcome == "taken":
        deps.workers.wake(songs=False)
    return Answer(Ok[None](message="taken" if outcome == "taken" else "recorded and ignored"))


def _knows_secret(deps: Deps, http: web.Request) -> bool:
    """Plain workflow nodes cannot sign: they name the secret we share."""
    secret = deps.settings.n8n_secret.get_secret_value()
    given = http.headers.get(SECRET_HEADER) or http.headers.get(INNER_SECRET_HEADER) or ""
    return bool(secret) and hmac.compare_digest(_bytes(given), secret.encode())


def _may_be_signed(deps: Deps, http: web.Request) -> bool:
    """Whether it is worth reading the body: there is a signature, and it is not old."""
    at = http.headers.get(TIMESTAMP_HEADER, "")
    if not at.isascii() or not at.isdigit() or len(at) > TIMESTAMP_LENGTH_MAX or not deps.settings.callback_secret.get_secret_value():
        return False
    return abs(deps.db.clock.now().timestamp() - int(at)) <= deps.settings.callback_window_seconds and SIGNATURE_HEADER in http.headers


def _is_signed(deps: Deps, http: web.Request, raw: bytes) -> bool:
    made = sign_callback(deps.settings.callback_secret.get_secret_value(), http.headers[TIMESTAMP_HEADER], raw)
    given = http.headers[SIGNATURE_HEADER].strip().lower().removeprefix("sha256=")
    return hmac.compare_digest(_bytes(given), made.encode())


def _bytes(said: str) -> bytes:
    """Of a header, which may hold bytes that are no text: such a one is wrong, not a fault of ours."""
    return said.encode("utf-8", "replace")


def sign_callback(secret: str, timestamp: str, raw: bytes) -> str:
    """HMAC-SHA256 over the timestamp, a dot and the body, in hex."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + raw, hashlib.sha256).hexdigest()


ROUTES = (
    Route("POST", COMPLETE_PATH, complete, auth="none", answers={200: Ok[None]}, body_bytes_max=BODY_BYTES_MAX, deadline_seconds=DEADLINE_SECONDS,
          refusals=(Unauthorized,), reads={"application/json": shapes.TaskComplete}, summary="A workflow is done", limits="callback"),
    Route("POST", FAILED_PATH, fail, auth="none", answers={200: Ok[None]}, body_bytes_max=BODY_BYTES_MAX, deadline_seconds=DEADLINE_SECONDS,
          refusals=(Unauthorized,), reads={"application/json": shapes.TaskFailed}, summary="A workflow gave up", limits="callback"),
)  # fmt: skip
