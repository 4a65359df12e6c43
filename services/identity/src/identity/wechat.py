"""WeChat's code2session: a mini-program's code becomes an openid. The session key never leaves this file."""

import hashlib
from typing import Protocol

import aiohttp
import orjson
import structlog

from common.errors import Forbidden, InvalidParameter, RateLimited, Unavailable

_REFUSED_SECONDS = 30

log = structlog.get_logger()


class CodeExchange(Protocol):
    """Whoever knows whose code it is. Raises InvalidParameter, Forbidden, RateLimited, or Unavailable when nobody could say."""

    async def openid_of(self, code: str) -> str: ...


class Weixin:
    """The real one. It answers 200 for everything, so only the body counts."""

    def __init__(self, session: aiohttp.ClientSession, *, url: str, app_id: str, app_secret: str, wait_seconds: float) -> None:
        self._session, self._url, self._app_id, self._app_secret = session, url.rstrip("/"), app_id, app_secret
        self._timeout = aiohttp.ClientTimeout(total=wait_seconds)

    async def openid_of(self, code: str) -> str:
        query = {"appid": self._app_id, "secret": self._app_secret, "js_code": code, "grant_type": "authorization_code"}
        try:
            async with self._session.get(f"{self._url}/sns/jscode2session", params=query, timeout=self._timeout, allow_redirects=False) as answer:
                said = orjson.loads(await answer.read())
        except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError) as error:
            # The address holds the secret: the error's own text must not be logged.
            log.warning("wechat.away", error=type(error).__name__)
            raise Unavailable("WeChat does not answer", retry_after_seconds=3) from None
        return _openid_in(said)


class SandboxCodes:
    """For runs without WeChat: every code is good, and the same code is always the same person."""

    async def openid_of(self, code: str) -> str:
        return "sandbox-" + hashlib.sha256(code.encode()).hexdigest()[:20]


class NoWeixin:
    """Nobody configured it."""

    async def openid_of(self, code: str) -> str:
        raise Unavailable("logging in through WeChat is not configured here", retry_after_seconds=60)


def _openid_in(said: object) -> str:
    if not isinstance(said, dict):
        raise Unavailable("WeChat gave an answer that is none", retry_after_seconds=3)
    code = said.get("errcode") or 0
    openid = said.get("openid")
    if code == 0 and isinstance(openid, str) and openid:
        return openid
    match code:
        case 40029 | 40163:
            raise InvalidParameter.of("code", "expired")
        case 45011:
            raise RateLimited("too many logins of this person", retry_after_seconds=60)
        case 40226:
            raise Forbidden("WeChat blocks this person")
        case -1 | 0:
            raise Unavailable("WeChat is busy", retry_after_seconds=1)
        case _:
            # A quota that is used up, or settings WeChat does not know: nothing the person did, and mended by operators.
            log.error("wechat.refused", errcode=code)
            raise Unavailable("WeChat does not take our questions now", retry_after_seconds=_REFUSED_SECONDS)
