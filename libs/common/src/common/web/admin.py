"""The second listener of every service: is it alive, is it ready, and its numbers. Never behind the gateway."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from common.metrics import CONTENT_TYPE, Metrics


def build_admin(*, metrics: Metrics, alive: Callable[[], bool], ready: Callable[[], Awaitable[bool]]) -> web.Application:
    """`/healthz` (the loop answers, consumers progress), `/readyz` (own database writable, not draining), `/metrics`."""

    async def show_health(_request: web.Request) -> web.Response:
        return _verdict(alive())

    async def show_readiness(_request: web.Request) -> web.Response:
        return _verdict(await ready())

    async def show_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"Content-Type": CONTENT_TYPE, "Server": "darkroom"})

    application = web.Application()
    application.router.add_get("/healthz", show_health)
    application.router.add_get("/readyz", show_readiness)
    application.router.add_get("/metrics", show_metrics)
    return application


def _verdict(good: bool) -> web.Response:
    headers = {"Server": "darkroom"} if good else {"Server": "darkroom", "Retry-After": "1"}
    return web.Response(status=200 if good else 503, text="ok\n" if good else "no\n", headers=headers)
