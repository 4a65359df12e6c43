"""The processes that decode strangers' pictures: bounded, replaceable, and gone when we are."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.errors import FileTooLarge, FileUnreadable, Overloaded, Unavailable
from works.pictures.pool import CleanPicture, PictureLimits, PicturePool

LIMITS = PictureLimits()


class Bench:
    """A pool and a folder to work in."""

    def __init__(self, folder: Path, limits: PictureLimits = LIMITS, *, processes: int = 1, waiting_max: int = 64) -> None:
        self.folder = folder
        self.pool = PicturePool(limits, processes=processes, waiting_max=waiting_max)

    async def clean(self, content: bytes, picture_format: str = "PNG", *, name: str = "one") -> CleanPicture:
        source = self.folder / f"{name}.in"
        source.write_bytes(content)
        return await self.pool.clean(source, self.folder / f"{name}.out", picture_format=picture_format)

    def pids(self) -> list[int]:
        return [child._process.pid for child in self.pool._idle]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    await made.pool.close()


async def until(condition: Any, *, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def proc(pid: int, what: str) -> bytes:
    return Path(f"/proc/{pid}/{what}").read_bytes()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


async def test_no_process_starts_before_the_first_picture_and_the_next_reuses_it(bench: Bench, pictures: Any) -> None:
    assert bench.pids() == []
    await bench.clean(pictures.png())
    first = bench.pids()
    await bench.clean(pictures.jpeg(), "JPEG")
    assert bench.pids() == first


async def test_pillow_is_only_loaded_in_the_children() -> None:
    code = "import sys, works.app; print('PIL' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.strip() == b"False"


async def test_a_child_sees_no_environment_of_ours(bench: Bench, pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKS_DATABASE_URL", "postgresql://secret")
    await bench.clean(pictures.png())
    assert b"secret" not in proc(bench.pids()[0], "environ")


async def test_a_child_that_was_killed_while_idle_is_replaced_for_the_next_picture(bench: Bench, pictures: Any) -> None:
    await bench.clean(pictures.png())
    (killed,) = bench.pids()
    os.kill(killed, signal.SIGKILL)
    await until(lambda: not runs(killed))
    with pytest.raises(Unavailable):
        await bench.clean(pictures.png())
    assert (await bench.clean(pictures.png())).width == 64


async def test_an_idle_child_leaves_and_nobody_notices(tmp_path: Path, pictures: Any) -> None:
    bench = Bench(tmp_path, replace(LIMITS, idle_seconds=0.2))
    await bench.clean(pictures.png())
    (gone,) = bench.pids()
    await until(lambda: not runs(gone))
    assert (await bench.clean(pictures.png())).width == 64
    await bench.pool.close()


async def test_a_child_is_replaced_after_its_share_of_pictures(tmp_path: Path, pictures: Any) -> None:
    bench = Bench(tmp_path, replace(LIMITS, jobs_per_process_max=2))
    await bench.clean(pictures.png())
    assert len(bench.pids()) == 1
    await bench.clean(pictures.png())
    assert bench.pids() == []
    await bench.pool.close()


async def test_a_picture_over_its_cpu_seconds_is_refused_and_its_neighbour_is_not(tmp_path: Path, pictures: Any) -> None:
    bench = Bench(tmp_path, replace(LIMITS, cpu_seconds_max=0), processes=2)
    # Nothing fits into no CPU second, except what fits into the rest of the one begun at the start.
    slow = pictures.encoded(Image.new("RGBA", (8000, 5000), (9, 9, 9, 9)), compress_level=1)
    with pytest.raises(FileUnreadable, match="too much to decode"):
        await bench.clean(slow)
    assert (await bench.clean(pictures.png(), name="other")).width == 64
    await bench.pool.close()


async def test_a_picture_that_needs_too_much_memory_is_refused_and_the_child_lives_on(tmp_path: Path, pictures: Any) -> None:
    bench = Bench(tmp_path, replace(LIMITS, memory_bytes_max=128 * 1024**2))
    with pytest.raises(FileUnreadable, match="takes too much"):
        await bench.clean(pictures.claimed_png(6000, 6000))
    pids = bench.pids()
    await bench.clean(pictures.png())
    assert bench.pids() == pids
    await bench.pool.close()


async def test_a_caller_who_leaves_frees_the_place_and_ends_the_work(tmp_path: Path, pictures: Any) -> None:
    bench = Bench(tmp_path)
    slow = pictures.encoded(pictures.plain((6000, 5000), colour="gradient"), "JPEG", quality=95, progressive=True)
    asked = asyncio.create_task(bench.clean(slow, "JPEG"))
    await asyncio.sleep(0.3)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert bench.pids() == []
    assert (await bench.clean(pictures.png(), name="next")).width == 64
    await bench.pool.close()


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "WEBP"])
async def test_a_full_disk_is_not_the_pictures_fault(bench: Bench, pictures: Any, picture_format: str) -> None:
    source = bench.folder / "one.in"
    source.write_bytes(pictures.encoded(pictures.plain(), picture_format))
    with pytest.raises(Unavailable):
        await bench.pool.clean(source, Path("/dev/full"), picture_format=picture_format)
    with pytest.raises(Unavailable):
        await bench.pool.shrink(source, Path("/dev/full"), picture_format=picture_format, side_px=16)


async def test_who_would_wait_behind_too_many_is_told_at_once(tmp_path: Path, pictures: Any) -> None:
    bench = Bench(tmp_path, waiting_max=2)
    answers = await asyncio.gather(*(bench.clean(pictures.png(), name=str(number)) for number in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [CleanPicture, CleanPicture, Overloaded, Overloaded, Overloaded]
    await bench.pool.close()


async def test_who_waits_too_long_is_asked_to_come_again(tmp_path: Path, pictures: Any) -> None:
    bench = Bench(tmp_path, replace(LIMITS, wait_seconds=0.01))
    with pytest.raises(Unavailable):
        await bench.clean(pictures.png())
    await bench.pool.close()


async def test_children_die_with_a_parent_that_is_killed(tmp_path: Path, pictures: Any) -> None:
    source = tmp_path / "slow.in"
    source.write_bytes(pictures.encoded(pictures.plain((6000, 5000), colour="gradient"), "JPEG", quality=95, progressive=True))
    (tmp_path / "fast.in").write_bytes(pictures.png())
    parent = f"""
import asyncio, os, pathlib
from works.pictures.pool import PicturePool, PictureLimits
async def main():
    pool = PicturePool(PictureLimits(), processes=2)
    folder = pathlib.Path({str(tmp_path)!r})
    await pool.clean(folder / "fast.in", folder / "fast.out", picture_format="PNG")
    print(pool._idle[0]._process.pid, flush=True)
    while True:
        await pool.clean(folder / "slow.in", folder / "slow.out", picture_format="JPEG")
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    child = int(await process.stdout.readline())
    await asyncio.sleep(0.3)  # it is in the middle of the slow one now
    assert runs(child)
    process.kill()
    await process.wait()
    await until(lambda: not runs(child), seconds=60)


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (12_001, 10), (10, 12_001), (8000, 5001)])
async def test_a_picture_with_too_many_pixels_is_refused_unseen(bench: Bench, pictures: Any, width: int, height: int) -> None:
    with pytest.raises(FileTooLarge):
        await bench.clean(pictures.claimed_png(width, height, rows=3))
