"""The public keys, for whoever checks a token."""

from typing import Any, Literal

import orjson

from common.web import Answer, Model, Request, Route
from identity.deps import Deps

FRESH_SECONDS = 300


class PublicKey(Model):
    """One key, as RFC 7517 writes it."""

    kty: Literal["EC"]
    crv: str
    x: str
    y: str
    kid: str
    alg: str
    use: str


class PublicKeys(Model):
    keys: list[PublicKey]


async def show_keys(request: Request[Deps]) -> Answer:
    keys: dict[str, Any] = request.deps.keys.jwks
    return Answer(orjson.dumps(keys), headers={"Content-Type": "application/json", "Cache-Control": f"public, max-age={FRESH_SECONDS}"})


ROUTES = (Route("GET", "/.well-known/jwks.json", show_keys, auth="none", answers={200: PublicKeys}, summary="The public keys of users' tokens"),)
