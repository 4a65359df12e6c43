"""Composition root: opens the lines to the services and both paths; the only reader of settings."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from common.bus import Bus
from common.metrics import Metrics
from common.service import Service, every
from gateway.composed import Composed
from gateway.front import Hall
from gateway.health import Health
from gateway.lines import Pool
from gateway.routes import ROUTES, RouteTable
from gateway.settings import GatewaySettings
from gateway.streamed import Streamed
from gateway.upstreams import Address, Replicas, open_replicas

UPSTREAMS = ("identity", "works", "generation", "billing", "notify")
SWEEP_SECONDS = 0.25
DRAIN_LOOK_SECONDS = 0.05
CUT_SECONDS = 0.1  # not 0, which aiohttp takes for "no limit"


@asynccontextmanager
async def open_service(settings: GatewaySettings, bus: Bus) -> AsyncIterator[Service]:
    """The gateway, ready to run."""
    async with opened_hall(settings, Metrics("gateway")) as (hall, metrics, careful):
        yield Service(
            name="gateway",
            settings=settings,
            deps=None,
            bus=bus,
            metrics=metrics,
            front=lambda _server: hall.open_front,
            loops=[lambda draining: keep_lines(hall.pools, draining), every(SWEEP_SECONDS, lambda: _sweep(hall))],
            on_drain=[lambda: drain(hall, careful)],
        )


@asynccontextmanager
async def opened_hall(settings: GatewaySettings, metrics: Metrics) -> AsyncIterator[tuple[Hall, Metrics, Streamed]]:
    """Both paths, without listener and loops."""
    table = RouteTable(ROUTES)
    urls = {name: settings.shared.url_of(name) for name in UPSTREAMS}
    replicas = open_replicas(urls, now=asyncio.get_running_loop().time, pause_seconds=settings.away_pause_seconds)
    async with (
        Health(_ready_urls(settings, urls)) as health,
        Composed(replicas, connect_seconds=settings.connect_seconds) as composed,
        Streamed(
            table,
            replicas,
            health.answer,
            composed,
            connect_seconds=settings.connect_seconds,
            progress_seconds=settings.progress_seconds,
            idle_seconds=settings.head_seconds,
        ) as careful,
    ):
        hall = Hall(
            table,
            replicas,
            _open_pools(settings, replicas),
            careful.server,
            metrics.requests,
            head_seconds=settings.head_seconds,
            progress_seconds=settings.progress_seconds,
            idle_seconds=settings.idle_seconds,
            connections_max=settings.connections_max,
        )
        yield hall, metrics, careful


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
