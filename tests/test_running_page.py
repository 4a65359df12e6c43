"""docs/running.md: what a real installation has to say is on the page, and its commands are those there are."""

import re
import runpy
import sys
from importlib import import_module
from pathlib import Path

import pytest

from common.settings import PORTS, ServiceSettings, SettingsError, load

PAGE = (Path(__file__).parents[1] / "docs" / "running.md").read_text()


@pytest.mark.parametrize("name", PORTS)
def test_what_a_service_cannot_start_without_is_on_the_page(name: str) -> None:
    settings: type[ServiceSettings] = getattr(import_module(f"{name}.settings"), f"{name.capitalize()}Settings")
    with pytest.raises(SettingsError) as found:
        load(settings, {})
    missing = [fault.removesuffix(" is missing") for fault in found.value.faults]
    assert f"{name.upper()}_KEY_PATH" in missing
    assert [one for one in missing if one not in PAGE and one.replace(f"{name.upper()}_", "..._", 1) not in PAGE] == []
    assert f"{name} {PORTS[name]}" in PAGE


def test_every_variable_on_the_page_is_one_a_service_reads() -> None:
    read = {"IDENTITY", "WORKS", "GENERATION", "BILLING", "NOTIFY", "GATEWAY", "DARKROOM"}
    source = "".join(path.read_text() for place in ("libs/common/src", "services") for path in Path(__file__).parents[1].joinpath(place).rglob("settings.py"))
    for variable in re.findall(r"`(?:[^`\s]*\b)?([A-Z]+_[A-Z_]+|\.\.\._[A-Z_]+)", PAGE):
        first, _, rest = variable.partition("_")
        assert first in {*read, "..."}, variable
        assert rest.lower() in source or variable in source, variable


@pytest.mark.parametrize(("said", "begins"), [(["admin", "create"], "identity cannot start:"), (["admin"], "usage: "), (["serve", "now"], "usage: ")])
def test_the_first_operator_is_made_by_the_command_the_usage_names(
    said: list[str], begins: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["identity", *said])
    monkeypatch.delenv("IDENTITY_KEY_PATH", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("identity", run_name="__main__")
    assert ended.value.code == 2
    said_by_it = capsys.readouterr().err
    assert said_by_it.startswith(begins), said_by_it
    if begins == "usage: ":
        assert "admin create" in said_by_it
    assert "python -m identity admin create" in PAGE
