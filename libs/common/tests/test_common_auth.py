"""Tokens: what is believed, what is refused, and how seldom identity is asked for keys."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import orjson
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from common.auth import (
    Authenticator,
    FixedKeys,
    JwksUrl,
    ServiceTokens,
    TokenSigner,
    make_key,
    private_pem,
    read_jwks,
    read_private_key,
    service_jwks,
    service_kid,
)
from common.errors import Unauthorized, Unavailable
from common.ids import UserId
from common.settings import SettingsError
from common.testing.doors import Passes

USER = UserId(uuid4())


class Time:
    """A clock for both kinds of time, moved by hand."""

    def __init__(self) -> None:
        self.at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now() -> Time:
    return Time()


@pytest.fixture
def key() -> ec.EllipticCurvePrivateKey:
    return make_key()


@pytest.fixture
def signer(key: ec.EllipticCurvePrivateKey, now: Time) -> TokenSigner:
    return TokenSigner(key, now=now)


@pytest.fixture
def authenticator(signer: TokenSigner, now: Time) -> Authenticator:
    return Authenticator(FixedKeys(read_jwks(orjson.dumps(signer.jwks()))), name="works", now=now)


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_a_users_token_says_who_asks(authenticator: Authenticator, signer: TokenSigner, now: Time) -> None:
    token = signer.sign_user_token(USER, session_id="s-1")
    principal = await authenticator.principal_of(token)
    assert (principal.user_id, principal.role, principal.name, principal.session_id) == (USER, "user", str(USER), "s-1")
    assert principal.expires_at.timestamp() == now.at + 7 * 24 * 3600
    assert not principal.is_admin
    assert "openid" not in jwt.decode(token, options={"verify_signature": False})
    assert jwt.decode(token, options={"verify_signature": False})["userId"] == str(USER)


async def test_an_admins_token_has_its_role(authenticator: Authenticator, signer: TokenSigner) -> None:
    assert (await authenticator.principal_of(signer.sign_user_token(USER, session_id="s", role="admin", lifetime_seconds=86400))).is_admin


async def test_a_known_token_is_not_verified_again_and_ends_on_time(authenticator: Authenticator, signer: TokenSigner, now: Time) -> None:
    token = signer.sign_user_token(USER, session_id="s", lifetime_seconds=60)
    assert authenticator.known(token) is None
    first = await authenticator.principal_of(token)
    assert authenticator.known(token) is first
    now.at += 61
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await authenticator.principal_of(token)


def claims(now: float, **changes: Any) -> dict[str, Any]:
    made = {"iss": "darkroom", "aud": "darkroom", "sub": str(USER), "sid": "s", "jti": "j", "iat": int(now), "exp": int(now) + 60, **changes}
    return {name: value for name, value in made.items() if value is not None}


FAULTY_CLAIMS: dict[str, Callable[[float], dict[str, Any]]] = {
    "no exp": lambda now: claims(now, exp=None),
    "exp past": lambda now: claims(now, exp=int(now) - 1, iat=int(now) - 100),
    "exp now": lambda now: claims(now, exp=int(now)),
    "exp 10^30": lambda now: claims(now, exp=10**30),
    "exp in a hundred years": lambda now: claims(now, exp=int(now) + 100 * 365 * 86400),
    "exp as text": lambda now: claims(now, exp=str(int(now) + 60)),
    "exp as fraction": lambda now: claims(now, exp=now + 60.5),
    "exp true": lambda now: claims(now, exp=True),
    "exp list": lambda now: claims(now, exp=[int(now) + 60]),
    "exp negative": lambda now: claims(now, exp=-1, iat=-2),
    "no iat": lambda now: claims(now, iat=None),
    "iat ahead": lambda now: claims(now, iat=int(now) + 3600, exp=int(now) + 7200),
    "iat as text": lambda now: claims(now, iat="1"),
    "nbf ahead": lambda now: claims(now, nbf=int(now) + 3600),
    "other iss": lambda now: claims(now, iss="someone"),
    "no iss": lambda now: claims(now, iss=None),
    "iss list": lambda now: claims(now, iss=["darkroom"]),
    "other aud": lambda now: claims(now, aud="works"),
    "aud list": lambda now: claims(now, aud=["darkroom", "other"]),
    "no aud": lambda now: claims(now, aud=None),
    "no sub": lambda now: claims(now, sub=None),
    "sub no id": lambda now: claims(now, sub="root"),
    "sub number": lambda now: claims(now, sub=7),
    "no sid": lambda now: claims(now, sid=None),
    "no jti": lambda now: claims(now, jti=None),
    "unknown role": lambda now: claims(now, role="service"),
    "role list": lambda now: claims(now, role=["admin"]),
}


@pytest.mark.parametrize("name", FAULTY_CLAIMS)
async def test_a_signed_token_with_faulty_claims_is_refused(
    authenticator: Authenticator, signer: TokenSigner, key: ec.EllipticCurvePrivateKey, now: Time, name: str
) -> None:
    header = encoded({"alg": "ES256", "typ": "at+jwt", "kid": signer.kid})
    body = encoded(FAULTY_CLAIMS[name](now.at))
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256, ec.SECP256R1).sign(f"{header}.{body}".encode(), key)
    with pytest.raises(Unauthorized):
        await authenticator.principal_of(f"{header}.{body}.{encoded(signature)}")


async def test_the_same_claims_without_a_fault_are_believed(
    authenticator: Authenticator, signer: TokenSigner, key: ec.EllipticCurvePrivateKey, now: Time
) -> None:
    token = jwt.encode(claims(now.at), key, "ES256", {"typ": "at+jwt", "kid": signer.kid})
    assert (await authenticator.principal_of(token)).user_id == USER


FAULTY_HEADERS: dict[str, dict[str, Any]] = {
    "other typ": {"typ": "JWT"},
    "refresh token": {"typ": "rt+jwt"},
    "service token": {"typ": "service+jwt"},
    "no typ": {"typ": None},
    "unknown kid": {"kid": "nobody"},
    "no kid": {"kid": None},
    "kid as list": {"kid": ["a"]},
    "kid path": {"kid": "../../etc/passwd"},
    "crit": {"crit": ["exp"]},
    "b64": {"b64": False},
}


@pytest.mark.parametrize("name", FAULTY_HEADERS)
async def test_a_token_with_a_faulty_header_is_refused(
    authenticator: Authenticator, signer: TokenSigner, key: ec.EllipticCurvePrivateKey, now: Time, name: str
) -> None:
    header = {"alg": "ES256", "typ": "at+jwt", "kid": signer.kid, **FAULTY_HEADERS[name]}
    signed = f"{encoded({n: v for n, v in header.items() if v is not None})}.{encoded(claims(now.at))}"
    signature = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256, ec.SECP256R1).sign(signed.encode(), key)
    with pytest.raises(Unauthorized):
        await authenticator.principal_of(f"{signed}.{encoded(signature)}")


async def test_tokens_of_other_algorithms_are_refused(authenticator: Authenticator, signer: TokenSigner, key: ec.EllipticCurvePrivateKey, now: Time) -> None:
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    body = encoded(claims(now.at))
    forged = []
    for algorithm in ("none", "None", "NONE", "nOnE"):
        forged.append(f"{encoded({'alg': algorithm, 'typ': 'at+jwt', 'kid': signer.kid})}.{body}.")
    for secret in (public, public.strip(), orjson.dumps(signer.jwks())):
        signed = f"{encoded({'alg': 'HS256', 'typ': 'at+jwt', 'kid': signer.kid})}.{body}"
        forged.append(f"{signed}.{encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}")
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged.append(jwt.encode(claims(now.at), stranger, "RS256", {"typ": "at+jwt", "kid": signer.kid}))
    forged.append(jwt.encode(claims(now.at), make_key(), "ES256", {"typ": "at+jwt", "kid": signer.kid, "jwk": signer.jwks()["keys"][0]}))
    good = signer.sign_user_token(USER, session_id="s")
    head, middle, tail = good.split(".")
    promoted = encoded(claims(now.at, role="admin"))
    forged += [f"{head}.{middle}.", f"{head}.{middle}", f"{head}.{promoted}.{tail}", f"{head}.{middle}.{'A' * 86}", good[:-4] + "AAAA"]
    for token in forged:
        with pytest.raises(Unauthorized):
            await authenticator.principal_of(token)


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "\x00", "é.é.é", "A" * 10_000, "e30.e30.e30", "." * 5000, encoded(b"[" * 3000) + ".e30.e30"])
async def test_rubbish_is_refused(authenticator: Authenticator, token: str) -> None:
    with pytest.raises(Unauthorized):
        await authenticator.principal_of(token)


async def test_the_memory_of_tokens_is_bounded(signer: TokenSigner, now: Time) -> None:
    authenticator = Authenticator(FixedKeys(read_jwks(orjson.dumps(signer.jwks()))), name="works", now=now, cached_max=10)
    tokens = [signer.sign_user_token(UserId(uuid4()), session_id="s") for _ in range(25)]
    for token in tokens:
        await authenticator.principal_of(token)
    assert len(authenticator._cache) <= 10
    assert authenticator.known(tokens[-1]) is not None
    assert (await authenticator.principal_of(tokens[0])).role == "user"


class Identity:
    """A JWKS endpoint that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.content = b'{"keys":[]}'
        self.status = 200
        self.wait_seconds = 0.0
        self.url = ""

    async def show(self, _request: web.Request) -> web.Response:
        self.asked += 1
        await asyncio.sleep(self.wait_seconds)
        return web.Response(body=self.content, status=self.status, content_type="application/json")


@pytest.fixture
async def identity() -> AsyncIterator[Identity]:
    service = Identity()
    application = web.Application()
    application.router.add_get("/.well-known/jwks.json", service.show)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.url = f"http://127.0.0.1:{runner.addresses[0][1]}/.well-known/jwks.json"
    yield service
    await runner.cleanup()


@pytest.fixture
async def keys(identity: Identity, now: Time) -> AsyncIterator[JwksUrl]:
    source = JwksUrl([identity.url], monotonic=now)
    yield source
    await source.close()


async def test_a_thousand_unknown_keys_cost_identity_one_question(identity: Identity, keys: JwksUrl, signer: TokenSigner, now: Time) -> None:
    identity.content = orjson.dumps(signer.jwks())
    assert await keys.key(signer.kid) is not None
    assert identity.asked == 1
    now.at += 31
    for number in range(500):
        assert await keys.key(f"unknown-{number}") is None
    await asyncio.gather(*[keys.key(f"other-{number}") for number in range(500)])
    assert identity.asked == 2
    now.at += 31
    assert await keys.key("unknown") is None
    assert identity.asked == 3


async def test_callers_at_the_same_time_share_one_question(identity: Identity, keys: JwksUrl, signer: TokenSigner) -> None:
    identity.content, identity.wait_seconds = orjson.dumps(signer.jwks()), 0.1
    found = await asyncio.gather(*[keys.key(signer.kid) for _ in range(100)])
    assert all(one is not None for one in found)
    assert identity.asked == 1


async def test_a_caller_that_goes_away_does_not_end_the_question_of_the_others(identity: Identity, keys: JwksUrl, signer: TokenSigner) -> None:
    identity.content, identity.wait_seconds = orjson.dumps(signer.jwks()), 0.2
    first = asyncio.ensure_future(keys.key(signer.kid))
    await asyncio.sleep(0.05)
    second = asyncio.ensure_future(keys.key(signer.kid))
    await asyncio.sleep(0.01)
    first.cancel()
    assert await second is not None


async def test_before_any_key_is_known_the_answer_is_unavailable_not_unauthorized(identity: Identity, keys: JwksUrl, signer: TokenSigner, now: Time) -> None:
    identity.status = 503
    authenticator = Authenticator(keys, name="works", now=now)
    token = signer.sign_user_token(USER, session_id="s")
    with pytest.raises(Unavailable):
        await authenticator.principal_of(token)
    identity.status, identity.content = 200, orjson.dumps(signer.jwks())
    now.at += 1.1
    assert (await authenticator.principal_of(token)).user_id == USER


async def test_old_keys_are_kept_while_identity_is_away(identity: Identity, keys: JwksUrl, signer: TokenSigner, now: Time) -> None:
    identity.content = orjson.dumps(signer.jwks())
    assert await keys.key(signer.kid) is not None
    for identity.status, identity.content in ((500, b""), (200, b"no json"), (200, b'{"keys":1}')):
        now.at += 700
        assert await keys.key(signer.kid) is not None
        await asyncio.sleep(0.05)
        assert await keys.key("unknown") is None
        assert await keys.key(signer.kid) is not None


async def test_a_key_that_identity_withdrew_is_forgotten_in_time(identity: Identity, keys: JwksUrl, signer: TokenSigner, now: Time) -> None:
    identity.content = orjson.dumps(signer.jwks())
    assert await keys.key(signer.kid) is not None
    identity.content = orjson.dumps(TokenSigner(make_key()).jwks())
    now.at += 601
    await keys.key(signer.kid)
    await asyncio.sleep(0.05)
    assert await keys.key(signer.kid) is None


async def test_another_address_is_asked_when_the_first_is_away(identity: Identity, signer: TokenSigner) -> None:
    identity.content = orjson.dumps(signer.jwks())
    source = JwksUrl(["http://127.0.0.1:1/.well-known/jwks.json", identity.url])
    assert await source.key(signer.kid) is not None
    await source.close()


async def test_a_services_token_is_good_for_its_callee_and_one_minute(now: Time) -> None:
    own = make_key()
    tokens = ServiceTokens(own, "generation", now=now)
    services = FixedKeys(read_jwks(service_jwks({"generation": own})))
    billing = Authenticator(FixedKeys({}), services, name="billing", now=now)
    works = Authenticator(FixedKeys({}), services, name="works", now=now)
    token = tokens.token_for("billing")
    principal = await billing.principal_of(token)
    assert (principal.role, principal.name, principal.user_id) == ("service", "generation", None)
    with pytest.raises(Unauthorized):
        await works.principal_of(token)
    assert tokens.token_for("billing") is token
    now.at += 46
    assert tokens.token_for("billing") != token
    assert (await billing.principal_of(token)).name == "generation"
    now.at += 15
    with pytest.raises(Unauthorized):
        await billing.principal_of(token)


async def test_services_go_on_talking_when_the_clock_is_put_back(now: Time) -> None:
    own = make_key()
    tokens = ServiceTokens(own, "generation", now=now)
    billing = Authenticator(FixedKeys({}), FixedKeys(read_jwks(service_jwks({"generation": own}))), name="billing", now=now)
    tokens.token_for("billing")
    now.at -= 3600
    assert (await billing.principal_of(tokens.token_for("billing"))).name == "generation"


async def test_no_service_can_sign_as_another_and_no_kind_of_key_for_the_other_kind(now: Time) -> None:
    theirs, users = make_key(), make_key()
    services = FixedKeys(read_jwks(service_jwks({"notify": theirs})))
    signer = TokenSigner(users, now=now)
    billing = Authenticator(FixedKeys({signer.kid: users.public_key()}), services, name="billing", now=now)
    posing = TokenSigner(theirs, now=now)
    posing.kid = service_kid("notify", theirs.public_key())
    with pytest.raises(Unauthorized):
        await billing.principal_of(posing.sign_service_token(caller="generation", callee="billing"))
    with pytest.raises(Unauthorized):
        await billing.principal_of(posing.sign_user_token(USER, session_id="s"))
    with pytest.raises(Unauthorized):
        await billing.principal_of(signer.sign_service_token(caller="generation", callee="billing"))
    long_lived = {"iss": "darkroom", "aud": "billing", "sub": "notify", "jti": "j", "iat": int(now.at), "exp": int(now.at) + 3600}
    with pytest.raises(Unauthorized):
        await billing.principal_of(jwt.encode(long_lived, theirs, "ES256", {"typ": "service+jwt", "kid": posing.kid}))


def test_keys_are_read_back_and_other_files_are_a_sentence(tmp_path: Path) -> None:
    own = make_key()
    (tmp_path / "key.pem").write_bytes(private_pem(own))
    assert read_private_key(tmp_path / "key.pem").private_numbers() == own.private_numbers()
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    rsa_pem = other.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    wrong_curve = ec.generate_private_key(ec.SECP384R1())
    for name, content in (("empty", b""), ("rsa", rsa_pem), ("curve", private_pem(wrong_curve))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SettingsError, match=name):
            read_private_key(tmp_path / name)
    with pytest.raises(SettingsError, match="absent"):
        read_private_key(tmp_path / "absent")
    (tmp_path / "jwks").write_bytes(b"[]")
    for name in ("jwks", "absent"):
        with pytest.raises(SettingsError, match="JWKS"):
            FixedKeys.of_file(tmp_path / name)


def test_a_jwks_with_broken_and_strange_keys_is_refused_or_read_in_part() -> None:
    good = TokenSigner(make_key()).jwks()["keys"][0]
    strange = [{"kty": "RSA", "kid": "a"}, {"kty": "EC", "crv": "P-521", "kid": "b"}, 7, {**good, "kid": 9}]
    assert list(read_jwks(orjson.dumps({"keys": [good, *strange]}))) == [good["kid"]]
    for broken in (b"{}", b"[]", b"x", orjson.dumps({"keys": [{**good, "x": "AAAA"}]}), orjson.dumps({"keys": [{"kty": "EC", "crv": "P-256", "kid": "k"}]})):
        with pytest.raises(ValueError):
            read_jwks(broken)


async def test_real_time_tokens_of_the_test_passes_are_believed() -> None:
    passes = Passes()
    authenticator = passes.authenticator("billing")
    assert (await authenticator.principal_of(passes.user(USER))).expires_at.timestamp() > time.time()
    assert (await authenticator.principal_of(passes.service("generation", "billing"))).name == "generation"
