"""The local provider and its pool: real work in child processes, honest progress, limits, and nothing left behind."""

import asyncio
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from PIL import Image

from generation.providers.base import Attempt, Finished, Kind, NotFound, NotSent, Refused
from generation.providers.instant import SONG_FILE
from generation.providers.local import LocalProvider, Pool, child, jobs
from generation.providers.local.child import OverLimit
from generation.providers.local.pool import PoolBroken
from generation.results import Checker, InvalidOutput, check_result


def photo(shade: tuple[int, int, int] = (190, 120, 80)) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((320, 240)).convert("RGB").save(buffer, "JPEG")
    Image.blend(Image.open(buffer).convert("RGB"), Image.new("RGB", (320, 240), shade), 0.5).save(buffer := io.BytesIO(), "JPEG")
    return buffer.getvalue()


def asked(kind: Kind = "travel", *, items: tuple[int, ...] = (0,), photos: tuple[bytes, ...] | None = None) -> Attempt:
    return Attempt(attempt_id=uuid4(), task_id=uuid4(), kind=kind, items=items, photos=(photo(),) if photos is None else photos, scene="beach-sunset", seed=3)


KILL_ONCE = """
import os, pathlib, signal
if not (mark := pathlib.Path({mark!r})).exists():
    mark.touch()
    signal.raise_signal(signal.SIGKILL)
"""
INTERRUPT = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(0.05)"


@pytest.fixture(scope="module")
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(workers=2)
    yield pool
    await pool.close()


@pytest.fixture
def provider(pool: Pool) -> LocalProvider:
    return LocalProvider(pool)


async def test_a_picture_is_made_with_progress_that_rises_to_its_plan(provider: LocalProvider) -> None:
    said: list[tuple[int, int, str]] = []
    finished = await provider.submit(asked(items=(2,)), lambda *step: said.append(step))
    assert isinstance(finished, Finished)
    assert finished.results[0].index == 2
    assert said[-1][0] == said[-1][1] == len(said) - 1
    assert [done for done, _, _ in said] == list(range(len(said)))


async def test_a_song_is_made_with_cover_title_and_words(provider: LocalProvider) -> None:
    finished = await provider.submit(asked("song"), lambda *_: None)
    assert isinstance(finished, Finished)
    assert finished.results[0].content_type == "audio/ogg"
    assert finished.results[0].cover
    assert finished.title
    assert len(finished.lyrics.splitlines()) == 4


async def test_a_song_needs_no_photo_but_a_picture_does(provider: LocalProvider) -> None:
    finished = await provider.submit(replace(asked("song", photos=()), title="Rain", tags=("jazz",), instrumental=True), lambda *_: None)
    assert isinstance(finished, Finished)
    assert finished.title == "Rain"
    with pytest.raises(Refused):
        await provider.submit(asked(photos=()), lambda *_: None)


async def test_a_bad_photo_is_refused_and_the_pool_works_on(provider: LocalProvider) -> None:
    with pytest.raises(Refused, match="decoded"):
        await provider.submit(asked(photos=(b"nonsense",)), lambda *_: None)
    assert (await provider.describe(photo())).title


async def test_one_bad_photo_of_two_fails_only_its_items(provider: LocalProvider) -> None:
    finished = await provider.submit(asked(items=(0, 1), photos=(photo(), b"nonsense")), lambda *_: None)
    assert isinstance(finished, Finished)
    assert [result.index for result in finished.results] == [0]
    assert list(finished.failures) == [1]


async def test_nothing_is_kept_so_an_earlier_attempt_is_unknown(provider: LocalProvider) -> None:
    assert isinstance(await provider.check(asked()), NotFound)


async def test_too_much_memory_is_an_error_of_that_job_only(pool: Pool) -> None:
    with pytest.raises(OverLimit, match="memory"):
        await pool.run(bytearray, 8 * 1024**3)
    assert await pool.run(abs, -3) == 3


async def test_too_much_time_is_an_error_of_that_job_only() -> None:
    pool = Pool(workers=1, cpu_seconds_max=1.0)
    try:
        worker = await pool.run(child.idle, 0)
        with pytest.raises(OverLimit, match="long"):
            await pool.run(exec, "while True: pass")
        assert await pool.run(child.idle, 0) == worker
    finally:
        await pool.close()


async def test_a_worker_killed_under_a_job_is_replaced_and_the_job_run_again(pool: Pool, tmp_path: Path) -> None:
    await pool.run(exec, KILL_ONCE.format(mark=str(tmp_path / "killed")))
    assert await pool.run(os.path.exists, str(tmp_path / "killed"))


async def test_a_job_that_kills_its_worker_every_time_is_given_up_and_the_pool_works_on(pool: Pool) -> None:
    with pytest.raises(PoolBroken):
        await pool.run(signal.raise_signal, signal.SIGKILL)
    assert await pool.run(abs, -3) == 3


async def test_workers_ignore_the_keyboard(pool: Pool) -> None:
    await pool.run(exec, INTERRUPT)


async def test_more_waiting_jobs_than_allowed_are_not_taken() -> None:
    pool = Pool(workers=1, waiting_max=2)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(2):
                group.create_task(pool.run(child.idle, 0.2))
            await asyncio.sleep(0)
            with pytest.raises(NotSent, match="too much"):
                await pool.run(child.idle, 0)
    finally:
        await pool.close()


async def test_closing_stops_a_running_job_at_its_next_step_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    pool = Pool(workers=1)
    await pool.warm()
    heard = asyncio.Event()
    song = partial(jobs.song, None, title="", tags=(), prompt="", negative_tags=(), instrumental=True, seed=1)
    job = asyncio.ensure_future(pool.run(song, report=lambda *_: heard.set()))
    async with asyncio.timeout(60):
        await heard.wait()
        await pool.close()
    with pytest.raises(NotSent):
        await job
    left = {thread for thread in set(threading.enumerate()) - before if not thread.name.startswith("asyncio_")}
    assert not left
    with pytest.raises(NotSent):
        await pool.run(child.idle, 0)


async def test_a_job_still_waiting_when_the_pool_closes_is_told_so_and_not_cancelled() -> None:
    pool = Pool(workers=1)
    await pool.warm()
    jobs_waiting = [asyncio.ensure_future(pool.run(child.idle, 0.3)) for _ in range(6)]
    await asyncio.sleep(0.05)
    await pool.close()
    ends = await asyncio.gather(*jobs_waiting, return_exceptions=True)
    assert isinstance(ends[-1], NotSent)
    assert all(isinstance(end, int | NotSent) for end in ends)


async def test_a_caller_that_goes_away_is_cancelled_and_its_place_is_free_again() -> None:
    pool = Pool(workers=1, waiting_max=1)
    try:
        await pool.warm()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.run(child.idle, 0.4)
        assert await pool.run(abs, -3) == 3
    finally:
        await pool.close()


PARENT = """
    import asyncio, sys
    from generation.providers.local import LocalProvider, Pool, child

    async def main():
        pool = Pool(workers=2)
        await LocalProvider(pool).warm()
        workers = await asyncio.gather(*(pool.run(child.idle, 0.1) for _ in range(2)))
        heavy = [name for name in ("numpy", "PIL", "soundfile") if name in sys.modules]
        print(*workers, "heavy:", *heavy, flush=True)
        await pool.run(child.idle, 60)

    if __name__ == "__main__":
        asyncio.run(main())
"""


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_die_with_a_killed_parent_which_never_imported_the_heavy_libraries(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent(PARENT))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers, _, heavy = parent.stdout.readline().partition("heavy:")
        parent.kill()
    assert heavy.strip() == ""
    pids = {int(pid) for pid in workers.split()}
    assert pids
    until = time.monotonic() + 60
    while any(map(_alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if _alive(pid)]


# results


def webp(size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (9, 99, 199)).save(buffer, "WEBP")
    return buffer.getvalue()


def test_a_good_picture_has_a_size_and_a_good_song_a_duration() -> None:
    assert (check_result(webp(), "image/webp", kind="travel").width, check_result(webp(), "image/webp", kind="travel").height) == (40, 30)
    assert check_result(SONG_FILE.read_bytes(), "audio/ogg", kind="song").duration_seconds == 1.1


def short_song() -> bytes:
    import numpy as np
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(4_000), 8_000, format="OGG", subtype="VORBIS")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "content_type", "kind"),
    [
        (b"", "image/webp", "travel"),
        (b"<html>sorry</html>", "image/webp", "travel"),
        (webp()[:40], "image/webp", "travel"),
        (webp(), "image/jpeg", "travel"),
        (webp(), "audio/ogg", "song"),
        (webp(), "text/html", "travel"),
        (webp(), "image/webp", "song"),
        (SONG_FILE.read_bytes(), "audio/mpeg", "song"),
        (SONG_FILE.read_bytes()[:200], "audio/ogg", "song"),
        (short_song(), "audio/ogg", "song"),
    ],
    ids=["empty", "html", "cut", "wrong type", "picture as song", "no type of ours", "kind", "wrong sound", "cut sound", "half a second"],
)
def test_what_is_not_what_it_claims_is_invalid_output(body: bytes, content_type: str, kind: Kind) -> None:
    with pytest.raises(InvalidOutput):
        check_result(body, content_type, kind=kind)


async def test_a_result_under_which_the_pool_broke_is_an_attempt_that_may_be_made_again(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(*_args: object, **_named: object) -> None:
        raise PoolBroken("the worker died under this job twice")

    monkeypatch.setattr(pool, "run", run)
    with pytest.raises(NotSent):
        await Checker(pool).check(webp(), "image/webp", kind="travel")


async def test_the_checker_decodes_in_the_pool_and_remembers(pool: Pool) -> None:
    checker = Checker(pool)
    first = await checker.check(webp(), "image/webp", kind="travel")
    took = []
    for _ in range(5):
        began = time.perf_counter()
        assert await checker.check(webp(), "image/webp", kind="travel") is first
        took.append(time.perf_counter() - began)
    assert min(took) < 0.005
    with pytest.raises(InvalidOutput):
        await checker.check(b"broken", "image/webp", kind="travel")
