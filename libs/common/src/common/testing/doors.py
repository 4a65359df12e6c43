"""A service's HTTP edge in a test: real sockets, real tokens, an environment that satisfies the settings."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import aiohttp
import orjson
from aiohttp import web

from common.auth import Authenticator, FixedKeys, ServiceTokens, TokenSigner, make_key, private_pem, public_jwk, read_jwks, service_jwks
from common.ids import UserId, new_id
from common.metrics import Metrics
from common.settings import PORTS, ServiceSettings, load
from common.testing.patience import patient_environment
from common.web import Answer, Request, Route, WebRunner, build_application

SettingsT = TypeVar("SettingsT", bound=ServiceSettings)

SECRET = "kPq7-vT2m_Zr9wXe4-LsH8dBn6_Jy3Gf5cA1uQoV0iR"


@dataclass
class Passes:
    """The keys of identity and of all services, and tokens signed with them."""

    signer: TokenSigner = field(default_factory=lambda: TokenSigner(make_key()))
    service_keys: Mapping[str, Any] = field(default_factory=lambda: {name: make_key() for name in PORTS})

    def user(self, user_id: UserId | None = None, *, role: Literal["user", "admin"] = "user") -> str:
        """A user's token, of a new user unless told."""
        return self.signer.sign_user_token(user_id or UserId(new_id()), session_id=new_id(), role=role)

    def service(self, caller: str, callee: str) -> str:
        return ServiceTokens(self.service_keys[caller], caller).token_for(callee)

    def authenticator(self, name: str) -> Authenticator:
        """An authenticator for a service, with all keys known."""
        return Authenticator(FixedKeys(read_jwks(orjson.dumps(self.signer.jwks()))), FixedKeys(read_jwks(service_jwks(self.service_keys))), name=name)

    def environment(self, service: str, folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """An environment for a service, with key files written into the folder."""
        key_path, jwks_path = folder / f"{service}.pem", folder / "services.json"
        key_path.write_bytes(private_pem(self.service_keys[service]))
        jwks_path.write_bytes(service_jwks(self.service_keys))
        return {
            "DARKROOM_OBJECTS_URL": f"file://{folder / 'objects'}",
            "DARKROOM_FILES_SECRET": SECRET,
            "DARKROOM_SERVICE_JWKS_PATH": str(jwks_path),
            f"{service.upper()}_KEY_PATH": str(key_path),
            f"{service.upper()}_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
            f"{service.upper()}_ENVELOPE_SECRET": SECRET,
            f"{service.upper()}_LOOKUP_SECRET": SECRET[::-1],
            **patient_environment(service),
            **(more or {}),
        }

    def settings(self, settings_type: type[SettingsT], service: str, folder: Path, more: Mapping[str, str] | None = None) -> SettingsT:
        """A service's settings from such an environment."""
        return load(settings_type, self.environment(service, folder, more))

    def jwks_of(self, *services: str) -> bytes:
        """A JWKS file of some services only."""
        return orjson.dumps({"keys": [public_jwk(self.service_keys[name].public_key(), service=name) for name in services]})


@dataclass
class Door:
    """An open edge."""

    port: int
    http: aiohttp.ClientSession
    passes: Passes

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def send_raw(self, data: bytes, *, seconds: float = 5) -> bytes:
        """Bytes in, whatever comes back until the other side closes or the time is over."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            return await _read_all(reader, seconds)
        finally:
            writer.close()


@asynccontextmanager
async def open_door(
    routes: Sequence[Route],
    deps: object = None,
    *,
    name: str = "works",
    passes: Passes | None = None,
    metrics: Metrics | None = None,
    port: int = 0,
    **runner_options: float,
) -> AsyncIterator[Door]:
    """Serve routes on a free port."""
    passes = passes or Passes()
    runner = WebRunner(
        build_application(routes, deps, name=name, authenticator=passes.authenticator(name), metrics=metrics), shutdown_timeout=1, **_only(runner_options)
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        async with aiohttp.ClientSession() as http:
            yield Door(runner.addresses[0][1], http, passes)
    finally:
        await runner.cleanup()


@asynccontextmanager
async def open_identity(passes: Passes) -> AsyncIterator[Door]:
    """Serve what every service asks identity for before it is ready: its keys, and a list of ended sessions that is empty."""

    async def keys(_request: Request[Any]) -> Answer:
        return Answer(orjson.dumps(passes.signer.jwks()))

    async def revocations(_request: Request[Any]) -> Answer:
        return Answer(orjson.dumps({"revocations": [], "head": 0}))

    told = [Route("GET", "/.well-known/jwks.json", keys, auth="none"), Route("GET", "/internal/revocations", revocations, auth="none")]
    async with open_door(told, name="identity", passes=passes) as door:
        yield door


def _only(options: Mapping[str, float]) -> dict[str, Any]:
    return dict(options)


async def _read_all(reader: asyncio.StreamReader, seconds: float) -> bytes:
    found = b""
    try:
        async with asyncio.timeout(seconds):
            while piece := await reader.read(65536):
                found += piece
    except (TimeoutError, ConnectionResetError):
        pass
    return found
