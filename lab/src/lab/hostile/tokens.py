"""Tokens that are almost right: signed with identity's own key where only the claims are wrong, otherwise forged."""

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

import asyncpg
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from common.auth import AUDIENCE, ISSUER, SERVICE_TYPE, USER_TYPE, kid_of, make_key, public_jwk
from common.ids import new_id
from common.vault import Sealed, Vault
from identity.store import list_signing_keys
from suite.home import ENVELOPE, LOOKUP, Home

_HOUR_SECONDS = 3600


async def stolen_key(home: Home, database_url: str) -> EllipticCurvePrivateKey:
    """The key that identity signs with, as somebody with every secret would get it."""
    conn = await asyncpg.connect(database_url)
    try:
        stored = (await list_signing_keys(conn))[-1]
    finally:
        await conn.close()
    vault = Vault("identity", key_id=stored.sealed_with, secret=home.secret(ENVELOPE), old_secrets={}, lookup_secret=home.secret(LOOKUP))
    key = load_pem_private_key(vault.open(Sealed(stored.private_sealed, stored.sealed_with), owner=stored.key_id), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


class Forger:
    """Makes tokens for one user."""

    def __init__(self, key: EllipticCurvePrivateKey, user_id: str, *, collector_url: str) -> None:
        self._key = key
        self._user_id = user_id
        self._collector_url = collector_url
        self.kid = kid_of(key.public_key())

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Those of a good token, changed; None takes one away."""
        now = int(time.time())
        good = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": self._user_id,
            "userId": self._user_id,
            "sid": str(new_id()),
            "jti": str(new_id()),
            "iat": now,
            "exp": now + _HOUR_SECONDS,
        }
        return {name: value for name, value in {**good, **changes}.items() if value is not None}

    def token(self, *, key: EllipticCurvePrivateKey | None = None, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """Well signed, whatever it says."""
        said = {"typ": USER_TYPE, "kid": self.kid, "alg": "ES256", **(header or {})}
        head, payload = (_encoded(orjson.dumps({name: value for name, value in part.items() if value is not None})) for part in (said, self.claims(**changes)))
        signature = jwt.get_algorithm_by_name("ES256").sign(f"{head}.{payload}".encode(), key or self._key)
        return f"{head}.{payload}.{_encoded(signature)}"

    def unknown_kid(self, number: int) -> str:
        """Signed with a key of one's own, under a key id nobody has."""
        return self.token(header={"kid": f"{number:024x}"})

    def bad(self) -> dict[str, str]:
        """What is refused everywhere with 401, by what is wrong with it."""
        now, good, own = int(time.time()), self.token(), make_key()
        head, payload, signature = good.split(".")
        public = self._key.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {
            **{f"alg {name}": self._unsigned(name) for name in ("none", "None", "NONE", "nOnE", "")},
            "alg none, signature kept": f"{self._unsigned('none')}{signature}",
            "HS256 with the public key": self._symmetric("HS256", pem),
            "HS256 with the public key, stripped": self._symmetric("HS256", pem.strip()),
            "HS256 with nothing": self._symmetric("HS256", b""),
            "ES256 said, HS256 signed": self._symmetric("ES256", pem),
            "alg is a list": self.token(header={"alg": ["ES256"]}),
            "alg missing": self.token(header={"alg": None}),
            "ES384 said": self.token(header={"alg": "ES384"}),
            "no exp": self.token(exp=None),
            "exp as text": self.token(exp=str(now + 60)),
            "exp 10^30": self._literal("exp", b"1" + b"0" * 30),
            "exp 1e400": self._literal("exp", b"1e400"),
            "exp NaN": self._literal("exp", b"NaN"),
            "exp float": self.token(exp=now + 60.5),
            "exp true": self.token(exp=True),
            "exp list": self.token(exp=[now + 60]),
            "exp far away": self.token(exp=now + 400 * 24 * _HOUR_SECONDS),
            "exp past": self.token(iat=now - 7200, exp=now - 1),
            "exp negative": self.token(exp=-1),
            "exp 5000 digits": self._literal("exp", b"9" * 3000),
            "iat tomorrow": self.token(iat=now + 24 * _HOUR_SECONDS, exp=now + 25 * _HOUR_SECONDS),
            "no iat": self.token(iat=None),
            "nbf tomorrow": self.token(nbf=now + _HOUR_SECONDS),
            "nbf text": self.token(nbf="x"),
            "aud other": self.token(aud="billing"),
            "aud list": self.token(aud=[AUDIENCE, "x"]),
            "no aud": self.token(aud=None),
            "iss other": self.token(iss="https://evil.example"),
            "no iss": self.token(iss=None),
            "iss list": self.token(iss=[ISSUER]),
            "sub nobody": self.token(sub="nobody"),
            "sub number": self.token(sub=1),
            "no sub": self.token(sub=None),
            "sub object": self.token(sub={"a": 1}),
            "sub NUL": self.token(sub="\x00"),
            "no sid": self.token(sid=None),
            "no jti": self.token(jti=None),
            "jti number": self.token(jti=1),
            "role root": self.token(role="root"),
            "role service": self.token(role="service"),
            "role list": self.token(role=["admin"]),
            "typ JWT": self.token(header={"typ": "JWT"}),
            "no typ": self.token(header={"typ": None}),
            "typ refresh": self.token(header={"typ": "rt+jwt"}),
            "typ service, identity's key": self.token(header={"typ": SERVICE_TYPE}),
            "no kid": self.token(header={"kid": None}),
            "kid number": self.token(header={"kid": 1}),
            "kid path": self.token(header={"kid": "../../../../dev/null"}),
            "kid long": self.token(header={"kid": "x" * 1000}),
            "kid of another's key": self.token(key=own),
            "crit": self.token(header={"crit": ["exp"]}),
            "b64 false": self.token(header={"b64": False}),
            "own key in the header": self.token(key=own, header={"jwk": public_jwk(own.public_key())}),
            "own key by jku": self.token(key=own, header={"jku": self._collector_url, "kid": "elsewhere"}),
            "own key by x5u": self.token(key=own, header={"x5u": self._collector_url, "kid": self._collector_url}),
            "signature cut": f"{head}.{payload}.{signature[:-4]}",
            "no signature": f"{head}.{payload}.",
            "signature of zeros": f"{head}.{payload}.{_encoded(bytes(64))}",
            "signature as DER": f"{head}.{payload}.{_encoded(b'0' * 70)}",
            "payload of another": f"{head}.{_encoded(orjson.dumps(self.claims(role='admin')))}.{signature}",
            "four parts": f"{good}.x",
            "five parts": "a.b.c.d.e",
            "two parts": f"{head}.{payload}",
            "a word": "x",
            "dots": "..",
            "10 kB": "a" * 10_000,
            "payload is a list": f"{head}.{_encoded(b'[]')}.{signature}",
            "head is a list": f"{_encoded(b'[]')}.{payload}.{signature}",
            "head is no JSON": f"{_encoded(b'x')}.{payload}.{signature}",
            "head is deep": f"{_encoded(b'[' * 2000)}.{payload}.{signature}",
            "head is no UTF-8": f"{_encoded(bytes([255]) * 8)}.{payload}.{signature}",
            "no ASCII": "é.é.é",
            "with blanks": good.replace(".", " . "),
        }

    def _unsigned(self, algorithm: str) -> str:
        head = _encoded(orjson.dumps({"typ": USER_TYPE, "kid": self.kid, "alg": algorithm}))
        return f"{head}.{_encoded(orjson.dumps(self.claims()))}."

    def _symmetric(self, algorithm: str, secret: bytes) -> str:
        text = f"{_encoded(orjson.dumps({'typ': USER_TYPE, 'kid': self.kid, 'alg': algorithm}))}.{_encoded(orjson.dumps(self.claims()))}"
        return f"{text}.{_encoded(hmac.digest(secret, text.encode(), hashlib.sha256))}"

    def _literal(self, name: str, literal: bytes) -> str:
        """A claim as no JSON library would write it."""
        payload = orjson.dumps(self.claims(**{name: "@@"})).replace(b'"@@"', literal)
        text = f"{_encoded(orjson.dumps({'typ': USER_TYPE, 'kid': self.kid, 'alg': 'ES256'}))}.{_encoded(payload)}"
        return f"{text}.{_encoded(jwt.get_algorithm_by_name('ES256').sign(text.encode(), self._key))}"


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
