"""Composition root: opens the lines to the services and both paths; the only reader of settings."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from common.auth import Authenticator, JwksUrl
from common.bus import Bus
from common.metrics import Metrics
from common.service import Loop, Service, every
from gateway.callers import Addresses, Users
from gateway.composed import Composed
from gateway.cors import Cors
from gateway.counts import SharedCounts, SharedNames, Store
from gateway.document import Document
from gateway.front import Hall
from gateway.gate import Gate
from gateway.health import Health
from gateway.limits import Budget, Limits
from gateway.lines import Pool
from gateway.own import Act, Own, OwnAnswer, OwnAsk
from gateway.pages import show_front, show_page
from gateway.routes import ROUTES, RouteTable
from gateway.settings import GatewaySettings, listed, rate
from gateway.signing import NONCE_SECONDS, ClientKey, Signing
from gateway.streamed import Streamed
from gateway.upstreams import Address, Replicas, open_replicas

UPSTREAMS = ("identity", "works", "generation", "billing", "notify")
SWEEP_SECONDS = 0.25
DRAIN_LOOK_SECONDS = 0.05
CUT_SECONDS = 0.1  # not 0, which aiohttp takes for "no limit"


@dataclass(frozen=True, slots=True)
class Opened:
    """Both paths, without a listener, and the loops that keep them going."""

    hall: Hall
    careful: Streamed
    loops: Sequence[Loop]


@asynccontextmanager
async def open_service(settings: GatewaySettings, bus: Bus) -> AsyncIterator[Service]:
    """The gateway, ready to run."""
    metrics = Metrics("gateway")
    async with opened(settings, metrics) as parts:
        yield Service(
            name="gateway",
            settings=settings,
            deps=None,
            bus=bus,
            metrics=metrics,
            front=lambda _server: parts.hall.open_front,
            loops=[*parts.loops, every(SWEEP_SECONDS, lambda: _sweep(parts.hall))],
            on_drain=[lambda: drain(parts.hall, parts.careful)],
        )


@asynccontextmanager
async def opened(settings: GatewaySettings, metrics: Metrics) -> AsyncIterator[Opened]:
    """Everything but the listener."""
    urls = {name: settings.shared.url_of(name) for name in UPSTREAMS}
    replicas = open_replicas(urls, now=asyncio.get_running_loop().time, pause_seconds=settings.away_pause_seconds)
    async with AsyncExitStack() as stack:
        gate, loops = await _open_gate(settings, metrics, stack)
        health = await stack.enter_async_context(Health(_ready_urls(settings, urls)))
        composed = await stack.enter_async_context(Composed(replicas, connect_seconds=settings.connect_seconds))
        document = await stack.enter_async_context(Document(replicas, gate.table, connect_seconds=settings.connect_seconds))
        careful = await stack.enter_async_context(
            Streamed(
                gate,
                replicas,
                Own(_acts(health, composed, document)),
                connect_seconds=settings.connect_seconds,
                progress_seconds=settings.progress_seconds,
                idle_seconds=settings.head_seconds,
            )
        )
        hall = Hall(
            gate,
            replicas,
            _open_pools(settings, replicas),
            careful.server,
            metrics.requests,
            head_seconds=settings.head_seconds,
            progress_seconds=settings.progress_seconds,
            idle_seconds=settings.idle_seconds,
            connections_max=settings.connections_max,
        )
        yield Opened(hall, careful, [lambda draining: keep_lines(hall.pools, draining), *loops])


def _acts(health: Health, composed: Composed, document: Document) -> dict[str, Act]:
    """Who answers the rows of the service `gateway`."""

    async def show_health(_ask: OwnAsk) -> OwnAnswer:
        return OwnAnswer(await health.answer())

    return {
        "/health": show_health,
        "/api/health": show_health,
        "/openapi.json": document.show,
        "/": show_front,
        "/docs": show_page,
        "/docs/*": show_page,
        "/api/admin/stats/overview": composed.show_overview,
        "/api/admin/config": composed.show_configs,
        "/api/admin/config/*": composed.change_config,
    }


async def _open_gate(settings: GatewaySettings, metrics: Metrics, stack: AsyncExitStack) -> tuple[Gate, list[Loop]]:
    """The rules, and the loops behind them."""
    store = None
    if settings.store_url is not None:
        up = metrics.gauge("limits_store_up", "Whether the store shared by the gateways answers")
        store = Store(settings.store_url, wait_seconds=settings.limits_wait_seconds, pause_seconds=settings.limits_pause_seconds, up=up)
        await stack.enter_async_context(store)
    keys = JwksUrl([f"{url}/.well-known/jwks.json" for url in settings.shared.url_of("identity")])
    stack.push_async_callback(keys.close)
    users = Users(Authenticator(keys, name="gateway"))
    names = SharedNames(store, seconds=NONCE_SECONDS) if store is not None else None
    shared = SharedCounts(store) if store is not None and settings.counts else None
    gate = Gate(
        table=RouteTable(ROUTES),
        cors=Cors(() if settings.cors_origins.strip() == "*" else listed(settings.cors_origins)),
        addresses=Addresses(listed(settings.trusted_proxies)),
        users=users,
        signing=Signing(_client_keys(settings), required=settings.signing_required, names=names, now=time.time),
        limits=_open_limits(settings) if settings.counts else None,
        shared=shared,
    )
    loops: list[Loop] = [one.run for one in (users if settings.counts else None, store, shared, names) if one is not None]
    return gate, loops


def _open_limits(settings: GatewaySettings) -> Limits:
    address = Budget.of("address", "address", rate(settings.address_limit))
    user = Budget.of("user", "user", rate(settings.user_limit))
    return Limits(
        {
            "default": [address, user],
            "login": [address, Budget.of("login", "address", rate(settings.login_limit))],
            "create": [address, user, Budget.of("create", "user", rate(settings.create_limit))],
            "upload": [address, user, Budget.of("upload", "user", rate(settings.upload_limit))],
            "callback": [Budget.of("callback", "address", rate(settings.callback_limit))],
            "payment": [Budget.of("payment", "address", rate(settings.payment_limit))],
            "file": [Budget.of("file", "address", rate(settings.file_limit))],
        },
        now=time.monotonic,
        address_at_once_max=settings.address_at_once_max,
        user_at_once_max=settings.user_at_once_max,
    )


def _client_keys(settings: GatewaySettings) -> dict[str, ClientKey]:
    return {
        key_id: ClientKey(one.secret.get_secret_value().encode(), frozenset(str(user) for user in one.users)) for key_id, one in settings.signing_keys.items()
    }


async def keep_lines(pools: Mapping[Address, Pool], draining: asyncio.Event) -> None:
    """Make connections as they are wanted and close those nobody uses, until draining."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pool.run(), name=f"lines to {pool.address.service}") for pool in pools.values()]
        await draining.wait()
        for task in tasks:
            task.cancel()
    for pool in pools.values():
        pool.close_idle(all_of_them=True)


async def drain(hall: Hall, careful: Streamed) -> None:
    """Answer what was asked, say goodbye to the sockets, let nobody ask again; whoever calls this bounds it in time."""
    hall.drain()
    careful.server.pre_shutdown()
    try:
        while hall.fronts or hall.tunnels or careful.server.connections:
            hall.sweep()
            await asyncio.sleep(DRAIN_LOOK_SECONDS)
    finally:
        for tunnel in list(hall.tunnels):
            tunnel.cut()
        for front in list(hall.fronts):
            front.cut()
        await careful.server.shutdown(CUT_SECONDS)


async def _sweep(hall: Hall) -> None:
    hall.sweep()
    for pool in hall.pools.values():
        pool.close_idle()


def _open_pools(settings: GatewaySettings, replicas: Mapping[str, Replicas]) -> dict[Address, Pool]:
    return {
        address: Pool(
            address,
            connect_seconds=settings.connect_seconds,
            idle_seconds=settings.upstream_idle_seconds,
            connections_max=settings.upstream_connections_max,
            waiting_max=settings.waiting_max,
        )
        for one in replicas.values()
        for address in one.addresses
    }


def _ready_urls(settings: GatewaySettings, urls: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name: settings.ready_urls.get(name) or [_ready_url(url, settings.ready_port_offset) for url in addresses] for name, addresses in urls.items()}


def _ready_url(url: str, port_offset: int) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"http://{host}:{(parts.port or 80) + port_offset}/readyz"
