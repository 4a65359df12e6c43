"""Token -> Principal, and the signing of both kinds of token. Only this file and identity import pyjwt."""

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol
from uuid import UUID

import aiohttp
import jwt
import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey, generate_private_key
from jwt.algorithms import ECAlgorithm

from common.errors import Unauthorized, Unavailable
from common.ids import UserId, new_id
from common.log import get_logger
from common.revocations import IdentitysList, Revocations, following
from common.settings import ServiceSettings, SettingsError

Role = Literal["user", "admin", "service"]

ALGORITHM = "ES256"
USER_TYPE = "at+jwt"
SERVICE_TYPE = "service+jwt"
ISSUER = "darkroom"
AUDIENCE = "darkroom"
USER_TOKEN_SECONDS = 7 * 24 * 3600
SERVICE_TOKEN_SECONDS = 60

_REQUIRED_CLAIMS = ["exp", "iat", "iss", "aud", "sub", "jti"]
_TOKEN_LENGTH_MAX = 4096
_LEEWAY_SECONDS = 5
_USER_LIFETIME_SECONDS_MAX = 31 * 24 * 3600
_CACHED_TOKENS_MAX = 20_000
_FORCED_REFRESH_SECONDS = 30.0
_EMPTY_REFRESH_SECONDS = 1.0
_KEYS_FRESH_SECONDS = 600.0
_FETCH_SECONDS = 2.0
_JWKS_BYTES_MAX = 256 * 1024
_REMINT_BEFORE_SECONDS = 15

log = get_logger()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking. A service has no user id; `name` is the user's id as text, or the service's name."""

    user_id: UserId | None
    role: Role
    name: str
    session_id: str | None
    token: str
    issued_at: datetime
    expires_at: datetime
    revocation_number: int = 0
    """The newest revocation of the user when the token was signed; older ones do not touch it."""

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


class KeySource(Protocol):
    """Whoever knows public keys by key id."""

    async def key(self, kid: str) -> EllipticCurvePublicKey | None:
        """The key, or None when there is no such key; raises Unavailable when nobody could be asked yet."""
        ...


class FixedKeys:
    """Keys that are known from the start: the services' own, from the JWKS file in settings."""

    def __init__(self, keys: Mapping[str, EllipticCurvePublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def of_file(cls, path: Path) -> "FixedKeys":
        """Read a JWKS file; raises SettingsError with a sentence when it cannot be used."""
        try:
            keys = read_jwks(path.read_bytes())
        except OSError as error:
            raise SettingsError([f"DARKROOM_SERVICE_JWKS_PATH {path}: {error.strerror}"]) from error
        except ValueError as error:
            raise SettingsError([f"DARKROOM_SERVICE_JWKS_PATH {path} is not a JWKS file: {error}"]) from error
        return cls(keys)

    async def key(self, kid: str) -> EllipticCurvePublicKey | None:
        return self._keys.get(kid)


class JwksUrl:
    """Identity's public keys, fetched when first needed: single flight, a forced refresh at most every 30 s, old keys kept on failure."""

    def __init__(self, urls: Sequence[str], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._urls = tuple(urls)
        self._monotonic = monotonic
        self._keys: dict[str, EllipticCurvePublicKey] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None

    async def key(self, kid: str) -> EllipticCurvePublicKey | None:
        known = self._keys.get(kid)
        if known is not None:
            if self._is_stale() and self._may_fetch():
                self._start_fetching()
            return known
        if self._fetching is not None or self._may_fetch():
            await asyncio.wait([self._start_fetching()])
        if self._fetched_at is None:
            raise Unavailable("the keys of identity are not known yet")
        return self._keys.get(kid)

    async def close(self) -> None:
        """Stop fetching and let go of the connections."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _is_stale(self) -> bool:
        return self._fetched_at is not None and self._monotonic() - self._fetched_at > _KEYS_FRESH_SECONDS

    def _may_fetch(self) -> bool:
        if self._fetching is not None or self._tried_at is None:
            return True
        pause = _EMPTY_REFRESH_SECONDS if self._fetched_at is None else _FORCED_REFRESH_SECONDS
        return self._monotonic() - self._tried_at >= pause

    def _start_fetching(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._tried_at = self._monotonic()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch(), name="jwks")
            self._fetching.add_done_callback(self._fetched)
        return self._fetching

    def _fetched(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled() and task.exception() is not None:
            log.error("jwks.fetch_failed", cause=repr(task.exception()))

    async def _fetch(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        for url in self._urls:
            try:
                async with asyncio.timeout(_FETCH_SECONDS), self._session.get(url, allow_redirects=False) as answer:
                    if answer.status != 200:
                        raise ValueError(f"status {answer.status}")
                    keys = read_jwks(await answer.content.read(_JWKS_BYTES_MAX))
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                log.warning("jwks.unreachable", url=url, cause=type(error).__name__)
                continue
            self._keys = keys
            self._fetched_at = self._monotonic()
            return


class Authenticator:
    """Verifies tokens once and remembers them until they expire.

    `users` holds identity's keys, `services` those of the other services; a token of one kind is never checked with keys of the other.
    """

    def __init__(
        self,
        users: KeySource,
        services: KeySource | None = None,
        *,
        name: str,
        revocations: Revocations | None = None,
        now: Callable[[], float] = time.time,
        cached_max: int = _CACHED_TOKENS_MAX,
    ) -> None:
        self._users = users
        self._services = services
        self._name = name
        self.revocations = revocations
        self._now = now
        self._cached_max = cached_max
        self._cache: dict[str, tuple[Principal, float]] = {}

    def known(self, token: str) -> Principal | None:
        """The principal of a token verified before; None when it has to be verified. Raises Unauthorized when it ended since."""
        entry = self._cache.get(token)
        if entry is None:
            return None
        principal, expires = entry
        if expires <= self._now():
            del self._cache[token]
            raise Unauthorized("the token has expired")
        if self.revocations is not None and principal.user_id is not None:
            refusal = self.revocations.refusal_of(principal.user_id, principal.session_id, principal.revocation_number)
            if refusal is not None:
                raise refusal
        return principal

    async def principal_of(self, token: str) -> Principal:
        """Who holds this token; raises Unauthorized, AccountDisabled, or Unavailable while keys or revocations are not known yet."""
        known = self.known(token)
        if known is not None:
            return known
        principal = await self._verify(token)
        if self.revocations is not None and principal.user_id is not None:
            await self.revocations.wait_known()
        self._remember(token, principal)
        return self.known(token) or principal

    async def _verify(self, token: str) -> Principal:
        kind, kid = _read_header(token)
        source = self._users if kind == USER_TYPE else self._services
        key = await source.key(kid) if source is not None else None
        if key is None:
            raise Unauthorized("the token was signed with an unknown key")
        now = self._now()
        if kind == USER_TYPE:
            principal = _user_of(token, _claims(token, key, audience=AUDIENCE, lifetime_seconds_max=_USER_LIFETIME_SECONDS_MAX, now=now))
        else:
            claims = _claims(token, key, audience=self._name, lifetime_seconds_max=SERVICE_TOKEN_SECONDS, now=now)
            principal = _service_of(token, kid, claims)
        return principal

    def _remember(self, token: str, principal: Principal) -> None:
        if len(self._cache) >= self._cached_max:
            for old in list(self._cache)[: max(1, self._cached_max // 10)]:
                del self._cache[old]
        self._cache[token] = (principal, principal.expires_at.timestamp())


@asynccontextmanager
async def open_authenticator(settings: ServiceSettings, name: str) -> AsyncIterator[Authenticator]:
    """An authenticator for a service: users by identity's JWKS and its list of ended sessions, services by the file in settings."""
    urls = settings.shared.url_of("identity")
    tokens = ServiceTokens.of_settings(settings, name)
    users = JwksUrl([f"{url}/.well-known/jwks.json" for url in urls])
    ended = IdentitysList(urls, token=lambda: tokens.token_for("identity"))
    try:
        async with following(ended.read) as revocations:
            yield Authenticator(users, FixedKeys.of_file(settings.shared.service_jwks_path), name=name, revocations=revocations)
    finally:
        await users.close()
        await ended.close()


class TokenSigner:
    """Signs tokens with one private key; identity has one for users, every service one for itself."""

    def __init__(self, key: EllipticCurvePrivateKey, *, now: Callable[[], float] = time.time) -> None:
        self._key = key
        self._now = now
        self.kid = kid_of(key.public_key())

    def sign_user_token(
        self,
        user_id: UserId,
        *,
        session_id: UUID | str,
        role: Literal["user", "admin"] = "user",
        lifetime_seconds: int = USER_TOKEN_SECONDS,
        revocation_number: int = 0,
    ) -> str:
        """A user's (or an admin's) bearer token. `revocation_number` is that of the user's newest revocation, which must not touch this token."""
        now = int(self._now())
        claims: dict[str, Any] = {
            "iss": ISSUER, "aud": AUDIENCE, "sub": str(user_id), "userId": str(user_id), "sid": str(session_id), "jti": str(new_id()),
            "iat": now, "exp": now + lifetime_seconds,
        }  # fmt: skip
        if role != "user":
            claims["role"] = role
        if revocation_number:
            claims["rev"] = revocation_number
        return self._sign(claims, USER_TYPE)

    def sign_service_token(self, *, caller: str, callee: str) -> str:
        """A service's own token, good for one callee and for 60 s."""
        now = int(self._now())
        claims = {"iss": ISSUER, "aud": callee, "sub": caller, "jti": str(new_id()), "iat": now, "exp": now + SERVICE_TOKEN_SECONDS}
        return self._sign(claims, SERVICE_TYPE)

    def jwks(self) -> dict[str, Any]:
        """The public half, as a JWKS of one key."""
        return {"keys": [public_jwk(self._key.public_key())]}

    def _sign(self, claims: Mapping[str, Any], kind: str) -> str:
        return jwt.encode(dict(claims), self._key, algorithm=ALGORITHM, headers={"typ": kind, "kid": self.kid})


class ServiceTokens:
    """A service's own tokens, one per callee, minted anew shortly before they end.

    The key id of a service's key in the shared JWKS file is `<service>:<thumbprint>`, so that no service can sign as another.
    """

    def __init__(self, key: EllipticCurvePrivateKey, caller: str, *, now: Callable[[], float] = time.time) -> None:
        self._signer = TokenSigner(key, now=now)
        self._signer.kid = service_kid(caller, key.public_key())
        self._caller = caller
        self._now = now
        self._tokens: dict[str, tuple[str, float, float]] = {}

    @classmethod
    def of_settings(cls, settings: ServiceSettings, caller: str) -> "ServiceTokens":
        return cls(read_private_key(settings.key_path), caller)

    def token_for(self, callee: str) -> str:
        """A token the callee accepts for at least another 15 s."""
        token, minted_at, good_until = self._tokens.get(callee, ("", 0.0, 0.0))
        now = self._now()
        if not minted_at <= now < good_until:  # a clock that was put back makes it one from the future, which nobody takes
            token = self._signer.sign_service_token(caller=self._caller, callee=callee)
            self._tokens[callee] = (token, now, now + SERVICE_TOKEN_SECONDS - _REMINT_BEFORE_SECONDS)
        return token


def make_key() -> EllipticCurvePrivateKey:
    """A new ES256 key."""
    return generate_private_key(SECP256R1())


def private_pem(key: EllipticCurvePrivateKey) -> bytes:
    """A key as PEM, to be kept in a file only its service may read."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def read_private_key(path: Path) -> EllipticCurvePrivateKey:
    """Read a PEM file; raises SettingsError with a sentence when there is no ES256 key in it."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise SettingsError([f"the key file {path} cannot be read: {error.strerror}"]) from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SettingsError([f"the key file {path} holds no PEM key"]) from error
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise SettingsError([f"the key in {path} is not an ES256 (P-256) key"])
    return key


def public_jwk(key: EllipticCurvePublicKey, *, service: str | None = None) -> dict[str, Any]:
    """One key of a JWKS; a service's key carries its name in the key id."""
    made: dict[str, Any] = ECAlgorithm.to_jwk(key, as_dict=True)
    return {**made, "use": "sig", "alg": ALGORITHM, "kid": kid_of(key) if service is None else service_kid(service, key)}


def service_jwks(keys: Mapping[str, EllipticCurvePrivateKey]) -> bytes:
    """The JWKS file of all services' public keys, by service name."""
    return orjson.dumps({"keys": [public_jwk(key.public_key(), service=name) for name, key in keys.items()]}, option=orjson.OPT_INDENT_2)


def kid_of(key: EllipticCurvePublicKey) -> str:
    """A key id that follows from the key itself."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()[:24]


def service_kid(service: str, key: EllipticCurvePublicKey) -> str:
    """The key id of a service's key: its name, then what follows from the key."""
    return f"{service}:{kid_of(key)}"


def read_jwks(content: bytes) -> dict[str, EllipticCurvePublicKey]:
    """The ES256 keys of a JWKS by key id; raises ValueError when it is none."""
    document = orjson.loads(content)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("no list of keys")
    found: dict[str, EllipticCurvePublicKey] = {}
    for entry in document["keys"]:
        if isinstance(entry, dict) and entry.get("kty") == "EC" and entry.get("crv") == "P-256" and isinstance(entry.get("kid"), str):
            try:
                key = ECAlgorithm.from_jwk({name: entry[name] for name in ("kty", "crv", "x", "y") if name in entry})
            except jwt.InvalidKeyError as error:
                raise ValueError(f"key {entry['kid']}: {error}") from error
            if isinstance(key, EllipticCurvePublicKey):
                found[entry["kid"]] = key
    return found


def _read_header(token: str) -> tuple[str, str]:
    if len(token) > _TOKEN_LENGTH_MAX:
        raise Unauthorized("the token is too long")
    if not _is_written_our_way(token.rpartition(".")[2]):
        raise Unauthorized("the token's signature is not written the way we write it")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise Unauthorized("the token cannot be read") from error
    kind, kid = header.get("typ"), header.get("kid")
    if header.get("alg") != ALGORITHM or "crit" in header or "b64" in header:
        raise Unauthorized("the token is not signed the way we sign")
    if kind not in (USER_TYPE, SERVICE_TYPE) or not isinstance(kid, str) or len(kid) > 128:
        raise Unauthorized("the token is of another kind")
    return kind, kid


def _is_written_our_way(signature: str) -> bool:
    """Whether these are the very characters we would write: the last one has bits that no reader looks at, so the same bytes have several spellings."""
    try:
        raw = base64.urlsafe_b64decode(signature + "==")
    except (binascii.Error, ValueError):
        return False
    return base64.urlsafe_b64encode(raw).rstrip(b"=") == signature.encode()


def _claims(token: str, key: EllipticCurvePublicKey, *, audience: str, lifetime_seconds_max: int, now: float) -> dict[str, Any]:
    """The claims of a signed token whose every word was checked; times are compared here, since only whole numbers are taken for times."""
    checks: Any = {"require": _REQUIRED_CLAIMS, "verify_exp": False, "verify_iat": False, "verify_nbf": False, "strict_aud": True}
    try:
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=[ALGORITHM], audience=audience, issuer=ISSUER, options=checks)
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise Unauthorized("the token is not valid") from error
    issued, expires = claims["iat"], claims["exp"]
    if type(issued) is not int or type(expires) is not int or not 0 <= issued <= expires <= issued + lifetime_seconds_max:
        raise Unauthorized("the token's times are not valid")
    if issued > now + _LEEWAY_SECONDS or claims.get("nbf", 0) != 0:
        raise Unauthorized("the token is not valid yet")
    if expires <= now:
        raise Unauthorized("the token has expired")
    if not all(isinstance(claims[name], str) and 0 < len(claims[name]) <= 128 for name in ("sub", "jti")):
        raise Unauthorized("the token names nobody")
    return claims


def _user_of(token: str, claims: Mapping[str, Any]) -> Principal:
    role, session_id, number = claims.get("role", "user"), claims.get("sid"), claims.get("rev", 0)
    if role not in ("user", "admin") or not isinstance(session_id, str) or not session_id:
        raise Unauthorized("the token names no session")
    if type(number) is not int or number < 0:
        raise Unauthorized("the token says nothing we understand about revocations")
    try:
        user_id = UserId(UUID(claims["sub"]))
    except ValueError as error:
        raise Unauthorized("the token names nobody") from error
    return Principal(user_id, role, str(user_id), session_id, token, _moment(claims["iat"]), _moment(claims["exp"]), number)


def _service_of(token: str, kid: str, claims: Mapping[str, Any]) -> Principal:
    if kid.partition(":")[0] != claims["sub"]:
        raise Unauthorized("a service signed as another")
    return Principal(None, "service", claims["sub"], None, token, _moment(claims["iat"]), _moment(claims["exp"]))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
