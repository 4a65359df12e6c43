"""The bench provider: refuses unless asked for, answers at once, and its files are real."""

import hashlib
import io
from uuid import uuid4

import pytest
from PIL import Image

from generation.providers.base import Attempt, Finished, Kind, NotFound
from generation.providers.instant import InstantNotAllowed, InstantProvider
from generation.providers.local import Pool
from generation.results import Checker, check_result

KINDS: tuple[Kind, ...] = ("fitting", "photography", "travel", "song")


def attempt(kind: Kind, items: tuple[int, ...] = (0,)) -> Attempt:
    return Attempt(attempt_id=uuid4(), task_id=uuid4(), kind=kind, items=items, photos=())


def test_it_does_not_start_unless_the_settings_allow_it() -> None:
    with pytest.raises(InstantNotAllowed, match="benches"):
        InstantProvider(allowed=False)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_whole_batch_is_finished_at_once(kind: Kind) -> None:
    said: list[tuple[int, int, str]] = []
    finished = await InstantProvider(allowed=True).submit(attempt(kind, (0, 3, 7)), lambda *step: said.append(step))
    assert isinstance(finished, Finished)
    assert [result.index for result in finished.results] == [0, 3, 7]
    assert said[-1][0] == said[-1][1]


@pytest.mark.parametrize("kind", KINDS)
async def test_its_files_decode_and_are_what_it_says_they_are(kind: Kind) -> None:
    provider = InstantProvider(allowed=True)
    finished = await provider.submit(attempt(kind), lambda *_: None)
    assert isinstance(finished, Finished)
    result = finished.results[0]
    checked = check_result(result.body, result.content_type, kind=kind)
    assert provider.known_results()[hashlib.sha256(result.body).hexdigest()] == checked
    assert (result.width, result.height, result.duration_seconds) == (checked.width, checked.height, checked.duration_seconds)


async def test_both_files_carry_the_ai_label() -> None:
    provider = InstantProvider(allowed=True)
    finished = await provider.submit(attempt("song"), lambda *_: None)
    assert isinstance(finished, Finished)
    song = finished.results[0]
    assert b'AIGC={"Label":"1"' in song.body
    assert song.cover is not None
    assert b"TC260:AIGC" in Image.open(io.BytesIO(song.cover)).info["xmp"]


async def test_a_checker_that_knows_its_files_starts_no_pool() -> None:
    provider = InstantProvider(allowed=True)
    pool = Pool(workers=1)
    await pool.close()  # a closed pool would refuse any work
    finished = await provider.submit(attempt("travel"), lambda *_: None)
    assert isinstance(finished, Finished)
    checked = await Checker(pool, known=provider.known_results()).check(finished.results[0].body, "image/webp", kind="travel")
    assert (checked.width, checked.height) == (8, 8)


async def test_it_knows_no_earlier_attempt() -> None:
    assert isinstance(await InstantProvider(allowed=True).check(attempt("travel")), NotFound)
