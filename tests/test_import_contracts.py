"""The import contracts break the build when they should: a breach of each kind is planted in a copy."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BREACHES = {
    "a service imports another": ("services/works/src/works/domain", "import billing.settings"),
    "common imports a service": ("libs/common/src/common/ids", "import billing.settings"),
    "a service imports the suite": ("services/billing/src/billing/commands", "import suite.home"),
    "a store looks up at commands": ("services/notify/src/notify/store", "import notify.commands"),
    "a command calls the network": ("services/notify/src/notify/commands", "import common.client"),
    "a service imports aiokafka": ("services/notify/src/notify/consumers", "import aiokafka"),
    "a service imports boto3": ("services/works/src/works/settings", "import boto3"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contracts")
    for member in ("libs", "services", "suite", "lab"):
        shutil.copytree(ROOT / member, folder / member, ignore=shutil.ignore_patterns("node_modules", "__pycache__", "tests", "results"))
    shutil.copy(ROOT / ".importlinter", folder)
    return folder


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    sources = [*(str(path) for path in sorted(folder.glob("services/*/src"))), *(str(folder / member / "src") for member in ("libs/common", "suite", "lab"))]
    code = f"import sys; sys.path[:0] = {sources!r}; from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run([sys.executable, "-c", code, "--no-cache"], cwd=folder, capture_output=True, text=True, check=False)


def test_the_house_keeps_its_contracts(copy: Path) -> None:
    found = lint(copy)
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-2000:]


@pytest.mark.parametrize("breach", BREACHES)
def test_a_planted_breach_breaks_the_build(copy: Path, breach: str) -> None:
    stem, line = BREACHES[breach]
    path = (copy / stem).with_suffix(".py")
    if not path.exists():
        path = copy / stem / "__init__.py"
    kept = path.read_text()
    path.write_text(f"{kept}\n{line}\n")
    try:
        found = lint(copy)
    finally:
        path.write_text(kept)
    assert found.returncode == 1, found.stdout[-3000:] + found.stderr[-2000:]
    assert "BROKEN" in found.stdout
