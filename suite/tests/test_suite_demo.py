"""The demo: it ends well on a fresh folder, leaves what it promises, and notices when something is not true."""

import hashlib
import io
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image

from suite.demo.checks import check_audit, check_books, check_frames, check_hash, check_pictures, check_song
from suite.demo.listener import Listener
from suite.demo.photo import draw_photo
from suite.demo.show import judge
from suite.demo.story import Story
from suite.demo.visitor import Visitor

DEMO_SECONDS_MAX = 400


@pytest.fixture(scope="module")
def photo() -> bytes:
    return draw_photo()


def _picture(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), (shade, shade, shade)).save(out, "WEBP")
    return out.getvalue()


def _song(seconds: float, *, left: float, right: float) -> bytes:
    times = np.arange(int(seconds * 8000)) / 8000
    out = io.BytesIO()
    soundfile.write(out, np.stack([left * np.sin(times * 900), right * np.sin(times * 1100)], axis=1), 8000, format="OGG", subtype="VORBIS")
    return out.getvalue()


def _heard(*frames: dict[str, object]) -> Listener:
    listener = Listener(lambda frame: None, first_seq=0)
    for frame in frames:
        listener.take(frame)
    return listener


@pytest.fixture(scope="module")
def ran() -> Iterator[tuple[subprocess.CompletedProcess[str], Path]]:
    """The demo, once, in a folder where nothing was."""
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as name:
        command = [sys.executable, "-m", "suite", "demo"]
        yield subprocess.run(command, cwd=name, capture_output=True, text=True, timeout=DEMO_SECONDS_MAX, check=False), Path(name)
        subprocess.run([sys.executable, "-m", "suite", "reset", "--yes"], cwd=name, capture_output=True, check=True)


def test_the_demo_ends_well_where_nothing_ran_before(ran: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, _ = ran
    assert done.returncode == 0, done.stdout + done.stderr
    assert "checks hold" in done.stdout
    assert "NOT TRUE" not in done.stderr


def test_a_demo_that_is_terminated_ends_quietly_and_leaves_nothing_running(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="darkroom-test-") as name, (tmp_path / "console.txt").open("wb") as console:
        demo = subprocess.Popen([sys.executable, "-u", "-m", "suite", "demo"], cwd=name, stdout=console, stderr=subprocess.STDOUT)
        try:
            until = time.monotonic() + 60
            while "Starting six services" not in (tmp_path / "console.txt").read_text():
                assert time.monotonic() < until
                time.sleep(0.05)
            demo.send_signal(signal.SIGTERM)
            assert demo.wait(timeout=60) == 128 + signal.SIGTERM
        finally:
            demo.kill()
            demo.wait()
        assert "fault" not in (tmp_path / "console.txt").read_text().lower()
        assert not (Path(name) / ".darkroom/logs/faults.log").exists()
        assert not (Path(name) / ".darkroom/pg/data/postmaster.pid").exists()
        subprocess.run([sys.executable, "-m", "suite", "reset", "--yes"], cwd=name, capture_output=True, check=True)


def test_the_demo_leaves_photo_pictures_sheet_and_song(ran: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, folder = ran
    names = {path.name for path in (folder / "demo-output").iterdir()}
    assert {"input-photo.jpg", "picture-1.webp", "picture-2.webp", "picture-3.webp", "picture-4.webp", "contact-sheet.webp"} <= names
    assert len([name for name in names if name.startswith("song.")]) == 1


async def test_the_demo_asks_in_the_language_of_its_console() -> None:
    asked: list[str | None] = []

    async def hear(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Accept-Language"))
        if request.path != "/ws":
            return web.json_response({"data": {"works": []}, "results": []})
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        return ws

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", hear)
    async with TestServer(application) as server, Visitor(str(server.make_url("")).rstrip("/")) as visitor:
        await visitor.points_history()
        async with visitor.open_socket():
            pass
    assert asked == ["en", "en"]


def test_the_demos_photo_is_always_the_same_and_fits_an_upload(photo: bytes) -> None:
    assert draw_photo() == photo
    with Image.open(io.BytesIO(photo)) as image:
        assert (image.format, image.size) == ("JPEG", (1344, 896))
    assert len(photo) < 1024 * 1024


def test_a_file_with_other_bytes_than_promised_is_noticed() -> None:
    name = hashlib.sha256(b"right").hexdigest()
    assert check_hash("x", b"right", f"http://h/files/results/t/0-{name}.webp?sig=1").holds
    assert not check_hash("x", b"wrong", f"http://h/files/results/t/0-{name}.webp?sig=1").holds
    assert not check_hash("x", b"right", "http://h/files/without-a-hash.webp").holds


def test_pictures_that_are_alike_or_missing_are_noticed() -> None:
    assert all(check.holds for check in check_pictures([_picture(0), _picture(90), _picture(200)], 3))
    assert [check.holds for check in check_pictures([_picture(100), _picture(103)], 2)] == [True, False]
    assert [check.holds for check in check_pictures([_picture(0), _picture(90)], 3)] == [False, True]


def test_a_song_that_is_short_silent_or_the_same_on_both_sides_is_noticed() -> None:
    assert all(check.holds for check in check_song(_song(16, left=0.4, right=0.3)))
    assert [check.holds for check in check_song(_song(5, left=0.4, right=0.3))] == [False, True]
    assert [check.holds for check in check_song(_song(16, left=0, right=0))] == [True, False]


def test_frames_that_are_missing_doubled_or_out_of_order_are_noticed() -> None:
    def frames(*, progress: tuple[int, ...] = (10, 50), seqs: tuple[int, ...] = (1, 2, 3)) -> Listener:
        heard = [{"type": "task_progress", "task_id": task, "progress": percent} for task in "ps" for percent in progress]
        heard += [{"type": "task_complete", "task_id": task, "seq": seq} for task, seq in zip("ps", seqs, strict=False)]
        heard += [{"type": "work_created", "work_id": "p", "seq": seqs[2]}]
        heard += [{"type": "credits_changed", "asset": asset, "kind": kind} for asset in ("credit", "point") for kind in ("held", "captured")]
        return _heard(*heard)

    tasks = {"pictures": "p", "song": "s"}
    assert all(check.holds for check in check_frames(frames(), tasks))
    assert not all(check.holds for check in check_frames(frames(progress=()), tasks))
    assert not all(check.holds for check in check_frames(frames(progress=(50, 10)), tasks))
    assert not all(check.holds for check in check_frames(frames(seqs=(1, 2, 4)), tasks))
    assert not all(check.holds for check in check_frames(frames(seqs=(1, 2, 2)), tasks))


def test_records_that_do_not_add_up_are_noticed() -> None:
    records = [{"amount": -4, "after": 6}, {"amount": 10, "after": 10}]
    assert check_books(records, available=6, name="credits", amount="amount", after="after").holds
    assert not check_books(records, available=7, name="credits", amount="amount", after="after").holds
    assert not check_books(records[:1], available=6, name="credits", amount="amount", after="after").holds


def test_an_audit_with_one_disagreement_or_without_questions_is_noticed() -> None:
    assert check_audit({"sound": True, "disagreements": {"a": 0, "b": 0}}).holds
    assert not check_audit({"sound": False, "disagreements": {"a": 0, "b": 1}}).holds
    assert not check_audit({"sound": True, "disagreements": {}}).holds


def test_one_check_that_does_not_hold_ends_the_demo_with_a_failure() -> None:
    story = Story(checks=check_pictures([_picture(100), _picture(103)], 2))
    with pytest.raises(typer.Exit) as ended:
        judge(story, Path("demo-output"), 1.0)
    assert ended.value.exit_code == 1
