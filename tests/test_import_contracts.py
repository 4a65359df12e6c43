"""The import contracts break the build when they should: breaches of each are planted in a copy, and each must be named."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("gateway", "identity", "works", "generation", "billing", "notify")
INSIDE = ("commands", "queries", "store", "domain")
"""The rooms whose statements run inside a transaction. The gateway has none of them, and notify no queries."""
NETWORK = {
    "identity": ("clients", "wechat"),
    "works": ("clients",),
    "generation": ("clients", "fetching", "providers"),
    "billing": ("clients", "providers", "checkout"),
    "notify": ("clients", "mailers", "postman"),
}
ROOMS = ("__main__", "app", "api", "consumers", "worker", "upkeep", "lanes", *INSIDE)
BESIDE = {("api", "consumers"), ("consumers", "worker"), ("worker", "upkeep"), ("commands", "queries")}
"""Rooms of one height; they do not import each other either."""


def file_of(folder: Path, module: str) -> Path:
    """Where a module of any member lies; it need not be there."""
    top = module.partition(".")[0]
    member = {"common": "libs/common", "suite": "suite", "lab": "lab"}.get(top, f"services/{top}")
    stem = folder / member / "src" / module.replace(".", "/")
    return stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")


def rooms_of(service: str, rooms: tuple[str, ...]) -> list[str]:
    return [f"{service}.{room}" for room in rooms if file_of(ROOT, f"{service}.{room}").exists()]


def uphill(service: str) -> Iterator[tuple[str, str]]:
    """Each room looks up at the one above it, and at the one beside it."""
    for upper, lower in pairwise(rooms_of(service, ROOMS)):
        yield lower, upper
        if (upper.partition(".")[2], lower.partition(".")[2]) in BESIDE:
            yield upper, lower


def outside(library: str, *, but: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """A library that only one file may import, imported by everybody else."""
    return [(f"{name}.settings", library) for name in ("common", *SERVICES) if name not in but]


BREACHES: dict[str, list[tuple[str, str]]] = {
    "independent": [(f"{one}.settings", f"{other}.settings") for one, other in pairwise((*SERVICES, SERVICES[0]))],
    "common": [("common.ids", f"{name}.{room}") for name, room in (*((service, "settings") for service in SERVICES), ("suite", "home"), ("lab", "rig"))],
    "services": [(f"{service}.settings", module) for service in SERVICES for module in ("suite.home", "lab.rig")],
    "suite": [("suite.home", "lab.rig")],
    "rooms": [breach for service in NETWORK for breach in uphill(service)],
    "network": [
        (room, module)
        for service, own in NETWORK.items()
        for room in rooms_of(service, INSIDE)
        for module in ("common.client", "common.bus.kafka", "aiohttp", *(f"{service}.{name}" for name in own))
    ],
    "kafka": outside("aiokafka"),
    "s3": outside("boto3"),
    "tokens": [*outside("jwt", but=("identity",)), ("works.domain", "jwt")],
}
"""For each contract who imports what: of every service, and of every room that it is about."""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for member in ("libs", "services", "suite", "lab"):
        shutil.copytree(ROOT / member, tmp_path / member, ignore=shutil.ignore_patterns("node_modules", "__pycache__", "tests", "results"))
    shutil.copy(ROOT / ".importlinter", tmp_path)
    return tmp_path


def lint(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    sources = [*(str(path) for path in sorted(folder.glob("services/*/src"))), *(str(folder / member / "src") for member in ("libs/common", "suite", "lab"))]
    code = f"import sys; sys.path[:0] = {sources!r}; from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run([sys.executable, "-c", code, "--no-cache", *options], cwd=folder, capture_output=True, text=True, check=False)


def test_the_house_keeps_its_contracts(copy: Path) -> None:
    found = lint(copy)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-2000:]
    assert f"Contracts: {len(BREACHES)} kept" in found.stdout


@pytest.mark.parametrize("contract", BREACHES)
def test_every_planted_breach_breaks_the_build(copy: Path, contract: str) -> None:
    for importer, imported in BREACHES[contract]:
        with file_of(copy, importer).open("a") as file:
            file.write(f"\nimport {imported}\n")
    found = lint(copy, "--contract", contract)
    assert found.returncode == 1, found.stdout[-3000:] + found.stderr[-2000:]
    said = " ".join(found.stdout.split())
    assert [f"{importer} -> {imported}" for importer, imported in BREACHES[contract] if f"{importer} -> {imported} " not in said] == []
