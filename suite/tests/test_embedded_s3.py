"""The S3 server beside the suite: what it keeps, how it ends, and a whole suite whose objects lie in it."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.objects import open_store
from lab.invariants import check_when_settled, places_of
from suite.embedded.parts import EmbeddedError, command_of, is_alive
from suite.embedded.s3 import EmbeddedS3

pytestmark = pytest.mark.s3


def store_of(server: EmbeddedS3) -> Any:
    return open_store(server.url, server.access_key, server.secret_key)


async def test_what_was_answered_survives_a_kill_and_a_stop(tmp_path: Path) -> None:
    server = EmbeddedS3(tmp_path / "s3")
    await server.start()
    objects = store_of(server)
    port = server.port
    await objects.put("uploads/a/x.jpg", b"kept", "image/jpeg")
    for end in (server.kill, server.stop):
        await end()
        assert server.pid is None
        await server.start()
        assert server.port == port
        assert await objects.read("uploads/a/x.jpg") == b"kept"
    await objects.close()
    await server.stop()


async def test_its_keys_are_not_on_its_command_line(s3: EmbeddedS3) -> None:
    assert s3.pid is not None
    shown = command_of(s3.pid)
    assert "serve s3" in shown
    assert s3.access_key not in shown
    assert s3.secret_key not in shown


async def test_it_dies_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    script = (
        "import asyncio, pathlib, sys\nfrom suite.embedded.s3 import EmbeddedS3\n"
        "async def main():\n    server = EmbeddedS3(pathlib.Path(sys.argv[1])); await server.start(); print(server.pid, flush=True); await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(tmp_path / "s3"), stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    pid = int(await child.stdout.readline())
    assert is_alive(pid)
    child.kill()
    await child.wait()
    async with asyncio.timeout(60):
        while is_alive(pid):
            await asyncio.sleep(0.02)


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(EmbeddedError, match="is taken by another program"):
            await EmbeddedS3(tmp_path / "s3", other.getsockname()[1]).start()


def ask(url: str, body: object = None, *, token: str) -> Any:
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())["data"]


def fetch(url: str) -> tuple[str, bytes]:
    """Where a link led in the end, and what was there."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.url, answer.read()


def run(folder: str, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "suite", *words], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout


@pytest.fixture
def started() -> Iterator[tuple[Path, dict[str, str]]]:
    """A suite whose objects lie in an S3 server: its folder and what it says of itself."""
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as folder:
        home, command = Path(folder), [sys.executable, "-u", "-m", "suite", "up", "--any-ports", "--s3"]
        with (home / "console.txt").open("w") as console:
            process = subprocess.Popen(command, cwd=folder, stdout=console, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + 120
            while "Ctrl-C stops it" not in (home / "console.txt").read_text():
                assert process.poll() is None, (home / "console.txt").read_text()
                assert time.monotonic() < until
                time.sleep(0.1)
            assert "memory bus, S3" in (home / "console.txt").read_text()
            yield home / ".darkroom", dict(line.split("=", 1) for line in run(folder, "status", "-o", "env").splitlines())
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
            run(folder, "reset", "--yes")


async def test_a_whole_suite_keeps_its_objects_there(started: tuple[Path, dict[str, str]]) -> None:
    home, environment = started
    await asyncio.to_thread(_make_a_picture, environment, home)
    assert await check_when_settled(places_of(environment), seconds_max=20) == []


def _make_a_picture(environment: dict[str, str], home: Path) -> None:
    """Upload, ask, wait, look: at a picture and its small one."""
    url, token = environment["DARKROOM_URL"], environment["DARKROOM_DEMO_TOKEN"]
    photo = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
    upload = ask(f"{url}/api/upload/base64", {"base64": photo}, token=token)
    task = ask(f"{url}/api/tasks/create", {"type": "travel", "images": [upload["fileUrl"]]}, token=token)
    work: Any = None
    until = time.monotonic() + 60
    while work is None:
        assert time.monotonic() < until
        time.sleep(0.2)
        work = ask(f"{url}/api/tasks/{task['task_id']}", token=token)["work"]
    there, picture = fetch(work["images"][0]["url"])
    assert there.startswith("http://127.0.0.1:")
    assert "X-Amz-Signature" in there
    assert (home / "s3" / "data" / "darkroom" / "results" / task["task_id"]).is_dir()
    row: Any = None
    while row is None:
        assert time.monotonic() < until
        row = next((one for one in ask(f"{url}/api/works", token=token)["works"] if one["work_id"] == task["task_id"]), None)
    assert 0 < len(fetch(row["thumbnail_url"])[1]) < len(picture)
