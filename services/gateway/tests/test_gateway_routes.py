"""The route table holds every public route of every service, and nothing internal."""

import importlib

import pytest

from common.web import Route
from gateway.app import UPSTREAMS
from gateway.routes import RouteTable


def _routes_of(service: str) -> list[Route]:
    api = importlib.import_module(f"{service}.api")
    found: list[Route] = list(getattr(api, "ROUTES", None) or getattr(api, "routes", None) or ())
    assert found
    return found


@pytest.mark.parametrize("service", UPSTREAMS)
def test_every_public_route_of_a_service_is_in_the_table(service: str) -> None:
    table = RouteTable()
    for route in _routes_of(service):
        row = table.find(route.path.replace("{", "").replace("}", ""))
        if route.path.startswith("/internal"):
            assert row is None, route.path
            continue
        assert row is not None, route.path
        assert (row.service, route.method in row.methods) == (service, True), route.path
        assert row.body_bytes_max >= route.body_bytes_max or not route.body, route.path
        assert row.auth != "user" or route.auth in ("user", "admin"), route.path
        assert row.deadline_seconds > route.deadline_seconds or route.raw, route.path
