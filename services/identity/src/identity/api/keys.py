"""The public keys, for whoever checks a token."""

from typing import Any

import orjson

from common.web import Answer, Request, Route
from identity.deps import Deps

FRESH_SECONDS = 300


async def show_keys(request: Request[Deps]) -> Answer:
    keys: dict[str, Any] = request.deps.keys.jwks
    return Answer(orjson.dumps(keys), headers={"Content-Type": "application/json", "Cache-Control": f"public, max-age={FRESH_SECONDS}"})


ROUTES = (Route("GET", "/.well-known/jwks.json", show_keys, auth="none", summary="The public keys of users' tokens"),)
