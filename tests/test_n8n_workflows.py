"""The workflows we hand out speak the names and headers of the code, and fail where somebody hears it."""

import re
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest

from common.ids import new_id
from generation.api.callback import BODY_BYTES_MAX, SIGNATURE_HEADER, TIMESTAMP_HEADER
from generation.providers.base import Attempt
from generation.providers.n8n import COMPLETE_PATH, FAILED_PATH, INNER_SECRET_HEADER, SECRET_HEADER, TOKEN_HEADER, WORKFLOWS, N8nProvider
from generation.schemas.callback import TaskComplete, TaskFailed
from generation.settings import GenerationSettings
from lab.simulator.behaviour import MANNERS
from lab.simulator.n8n import WORKFLOWS as SIMULATED

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy" / "n8n"

each = pytest.mark.parametrize("name", sorted(set(WORKFLOWS.values())))


def read(name: str) -> tuple[dict[str, dict[str, Any]], dict[str, list[list[str]]]]:
    """(nodes by name, where each output of a node leads)."""
    found = orjson.loads((FOLDER / f"{name}.json").read_bytes())
    leads = {one: [[to["node"] for to in output] for output in outputs["main"]] for one, outputs in found["connections"].items()}
    return {node["name"]: node for node in found["nodes"]}, leads


def settings(name: str) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((FOLDER / f"{name}.json").read_bytes())["settings"]
    return found


def sent_fields() -> set[str]:
    """What a webhook is really sent."""
    engine = N8nProvider.__new__(N8nProvider)
    engine._now, engine._callback_base, engine._model = (lambda: None), "", dict  # type: ignore[assignment,return-value]
    return set(engine.body_of(Attempt(attempt_id=new_id(), task_id=new_id(), kind="travel", items=(0,), photos=())))


def test_there_is_a_file_for_each_webhook_and_the_simulator_knows_the_same() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(WORKFLOWS.values()) == set(SIMULATED)


@each
def test_the_webhook_is_a_post_that_answers_at_once_behind_the_secret(name: str) -> None:
    nodes, _ = read(name)
    (webhook,) = [node for node in nodes.values() if node["type"].endswith(".webhook")]
    said = webhook["parameters"]
    assert (said["httpMethod"], said["path"], said["authentication"], said["responseMode"]) == ("POST", name, "headerAuth", "onReceived")
    assert "httpHeaderAuth" in webhook["credentials"]


@each
def test_every_step_that_can_fail_leads_to_the_failed_call(name: str) -> None:
    nodes, leads = read(name)
    assert {to for outputs in leads.values() for output in outputs for to in output} | {"Asked"} == set(nodes)
    for step, node in nodes.items():
        if node.get("onError") == "continueErrorOutput":
            assert leads[step][1] == ["Once"], step
        else:
            assert step in ("Asked", "Once", "Complete", "Failed"), step
    assert leads["Once"] == [["Failed"]]


@each
def test_calls_back_name_the_token_the_secret_and_the_fields_of_the_code(name: str) -> None:
    nodes, _ = read(name)
    for step, field in (("Complete", "callback_url"), ("Failed", "failed_callback_url")):
        said = nodes[step]["parameters"]
        assert said["method"] == "POST"
        assert said["specifyBody"] == "json"
        assert field in said["url"]
        (header,) = said["headerParameters"]["parameters"]
        assert header["name"] == TOKEN_HEADER
        assert "attempt_token" in header["value"]
        assert nodes[step]["credentials"] == nodes["Asked"]["credentials"]
    gathered = nodes["Gathered"]["parameters"]["jsCode"]
    assert {"task_id", "images", "ai_description"} <= set(TaskComplete.model_fields)
    assert "{ task_id: asked.task_id, images, ai_description: said }" in gathered
    assert {"task_id", "error"} <= set(TaskFailed.model_fields)
    assert "task_id" in nodes["Failed"]["parameters"]["jsonBody"]
    used = set(re.findall(r"(?:asked|body)\.([a-z_]+)", (FOLDER / f"{name}.json").read_text()))
    assert used <= sent_fields()
    assert "inline_data" in nodes["Shaped"]["parameters"]["jsCode"]


@each
def test_a_photo_is_read_wherever_n8n_keeps_its_files(name: str) -> None:
    nodes, _ = read(name)
    shaped = nodes["Shaped"]["parameters"]["jsCode"]
    assert "await this.helpers.getBinaryDataBuffer(place, 'data')" in shaped
    assert "data: bytes.toString('base64')" in shaped
    # What an item carries itself is the photo only as long as n8n keeps files in memory; else it is the word for where it is kept.
    assert "photo.data" not in shaped


@each
def test_what_was_made_is_told_before_what_failed_and_fits_in_a_call(name: str) -> None:
    nodes, leads = read(name)
    assert settings(name) == {"executionOrder": "v1", "saveDataSuccessExecution": "none"}
    for step, node in nodes.items():
        if node.get("onError") == "continueErrorOutput":
            # In this order of execution the upper branch is run to its end first, and the first call for an attempt is the one that counts.
            (made,), (failed,) = leads[step]
            assert nodes[made]["position"][1] < nodes[failed]["position"][1], step
    (room_mib,) = re.findall(r"let room = (\d+) \* 1024 \* 1024;", nodes["Gathered"]["parameters"]["jsCode"])
    assert BODY_BYTES_MAX / 2 < int(room_mib) * 1024 * 1024 <= BODY_BYTES_MAX - 1024 * 1024


def test_an_import_replaces_what_the_last_one_brought_and_finds_the_credentials_of_the_page() -> None:
    page = (ROOT / "docs" / "n8n.md").read_text()
    found = {name: orjson.loads((FOLDER / f"{name}.json").read_bytes()) for name in WORKFLOWS.values()}
    assert len({one["id"] for one in found.values()}) == len(found)
    for one in found.values():
        assert f"`n8n publish:workflow --id={one['id']}`" in page or f"`--id={one['id']}`" in page
        assert one["active"] is False
        chosen = {node["name"]: node["credentials"]["httpHeaderAuth"]["name"] for node in one["nodes"] if "credentials" in node}
        assert chosen == {"Asked": "Darkroom secret", "Complete": "Darkroom secret", "Failed": "Darkroom secret", "Model": "Model key"}
        assert all(f"**{name}**" in page for name in chosen.values())


def test_the_page_names_what_the_code_names() -> None:
    page = (ROOT / "docs" / "n8n.md").read_text()
    names = {SECRET_HEADER, INNER_SECRET_HEADER, TOKEN_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, *WORKFLOWS.values(), *MANNERS, *sent_fields()}
    settings = {f"GENERATION_{name.upper()}" for name in ("n8n_url", "n8n_secret", "callback_secret", "callback_url")}
    assert {name for name in names | settings if f"{name}`" not in page and f"/{name}" not in page} == set()
    assert {name.removeprefix("GENERATION_").lower() for name in settings} <= set(GenerationSettings.model_fields)
    assert "n8n" in get_args(GenerationSettings.model_fields["provider"].annotation)
    assert COMPLETE_PATH.startswith("/api/callback/")
    assert FAILED_PATH.startswith("/api/callback/")
