"""Files by signed link: who holds a good one is served, in the pieces asked for, and nothing of it runs."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from common.ids import new_id
from works.api.files import RangeNotSatisfiable, range_of

CONTENT = bytes(range(256)) * 4
Keep = Callable[..., Awaitable[str]]


@pytest.fixture
def keep(works: Any) -> Keep:
    """Store bytes and answer the link to them."""

    async def store(content: bytes = CONTENT, *, extension: str = "ogg", content_type: str = "audio/ogg", owner: bool = True) -> str:
        key = f"results/{new_id()}/0-{'ab' * 32}.{extension}"
        await works.deps.objects.put(key, content, content_type)
        return str(works.deps.signer.sign(key, now=works.clock.now(), owner=owner))

    return store


async def test_a_file_comes_with_everything_that_keeps_it_inert(works: Any, keep: Keep) -> None:
    status, headers, body = await works.follow(await keep())
    assert (status, body) == (200, CONTENT)
    assert headers["Content-Type"] == "audio/ogg"
    assert headers["Content-Disposition"] == f'inline; filename="0-{"ab" * 32}.ogg"'
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["ETag"] == f'"0-{"ab" * 32}"'
    assert headers["Cache-Control"] == "public, max-age=3600, immutable"


async def test_what_is_no_picture_and_no_sound_is_only_downloaded(works: Any, keep: Keep) -> None:
    _, headers, _ = await works.follow(await keep(extension="json", content_type="application/json"))
    assert headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"].startswith("attachment;")


async def test_head_says_the_same_without_the_bytes(works: Any, keep: Keep) -> None:
    url = await keep()
    _, full, _ = await works.follow(url)
    status, headers, body = await works.follow(url, method="HEAD")
    assert (status, body) == (200, b"")
    names = ("Content-Length", "Content-Type", "ETag", "Cache-Control", "Accept-Ranges", "Content-Disposition")
    assert {name: headers[name] for name in names} == {name: full[name] for name in names}


RANGES = {
    "bytes=0-0": (0, 0),
    "bytes=0-9": (0, 9),
    "bytes=1000-": (1000, 1023),
    "bytes=-24": (1000, 1023),
    "bytes=-5000": (0, 1023),
    "bytes=1023-99999": (1023, 1023),
    " bytes=5-6 ": (5, 6),
}


@pytest.mark.parametrize("asked", RANGES)
async def test_a_range_is_answered_with_that_part(works: Any, keep: Keep, asked: str) -> None:
    first, last = RANGES[asked]
    status, headers, body = await works.follow(await keep(), headers={"Range": asked})
    assert (status, body) == (206, CONTENT[first : last + 1])
    assert headers["Content-Range"] == f"bytes {first}-{last}/1024"
    assert headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize(
    "asked", ["bytes=9-5", "bytes=0-1,3-4", "bytes=-", "bytes=x-y", "items=0-5", "bytes 0-5", "bytes=0-5x", "bytes=" + "9" * 5000 + "-", "bytes=٣-٤"]
)
async def test_a_range_that_makes_no_sense_is_answered_with_the_whole(works: Any, keep: Keep, asked: str) -> None:
    status, headers, body = await works.follow(await keep(), headers={"Range": asked})
    assert (status, body) == (200, CONTENT)
    assert "Content-Range" not in headers


@pytest.mark.parametrize("asked", ["bytes=1024-", "bytes=5000-6000", "bytes=-0"])
async def test_a_range_behind_the_end_is_refused_with_the_size(works: Any, keep: Keep, asked: str) -> None:
    status, headers, body = await works.follow(await keep(), headers={"Range": asked})
    assert (status, headers["Content-Range"], headers["X-Error-Code"]) == (416, "bytes */1024", "10001")
    assert b'"code":10001' in body


def test_no_range_fits_into_nothing() -> None:
    assert range_of(None, 0) is None
    for asked in ("bytes=0-", "bytes=-5"):
        with pytest.raises(RangeNotSatisfiable):
            range_of(asked, 0)


async def test_an_empty_object_is_served(works: Any, keep: Keep) -> None:
    status, headers, body = await works.follow(await keep(b""))
    assert (status, headers["Content-Length"], body) == (200, "0", b"")


async def test_what_did_not_change_is_not_sent_again(works: Any, keep: Keep) -> None:
    url = await keep()
    etag = (await works.follow(url))[1]["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        status, headers, body = await works.follow(url, headers={"If-None-Match": known})
        assert (status, body, headers["ETag"]) == (304, b"", etag)
    assert (await works.follow(url, headers={"If-None-Match": '"other"'}))[0] == 200


async def test_a_range_holds_only_for_the_file_it_was_begun_with(works: Any, keep: Keep) -> None:
    url = await keep()
    etag = (await works.follow(url))[1]["ETag"]
    assert (await works.follow(url, headers={"Range": "bytes=0-1", "If-Range": etag}))[0] == 206
    assert (await works.follow(url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}))[0] == 200


TAMPERED: dict[str, Callable[[str], str]] = {
    "another file": lambda url: url.replace("/0-", "/1-"),
    "a longer life": lambda url: url.replace("exp=", "exp=1"),
    "a changed signature": lambda url: url[:-1] + ("A" if url[-1] != "A" else "B"),
    "no signature": lambda url: url.partition("&sig=")[0],
    "no end": lambda url: url.replace("exp=", "ex="),
    "nothing": lambda url: url.partition("?")[0],
    "an end that is no number": lambda url: url.replace("exp=", "exp=x"),
    "an end of other digits": lambda url: url.replace("exp=1", "exp=%D9%A1"),
    "a signature of other letters": lambda url: url.partition("sig=")[0] + "sig=%C3%A9%00",
    "a path that climbs": lambda url: url.replace("/results/", "/results/../results/"),
    "a path that climbs in disguise": lambda url: url.replace("/results/", "/results/%2e%2e/results/"),
    "an absolute path": lambda url: url.replace("/files/", "/files//etc/passwd?x="),
    "a NUL": lambda url: url.replace("/results/", "/results/%00/"),
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_a_link_that_was_changed_leads_nowhere(works: Any, keep: Keep, how: str) -> None:
    from yarl import URL

    path = TAMPERED[how](await keep()).partition("://gateway")[2]
    async with works.door.http.get(URL(works.door.url + path, encoded=True)) as answer:
        body = await answer.json(content_type=None)
    assert answer.status in (400, 404), body
    assert body["code"] in (10001, 10008, 60000)


@pytest.mark.parametrize(("owner", "seconds"), [(True, 3600), (False, 300)])
async def test_a_link_ends(works: Any, keep: Keep, owner: bool, seconds: int) -> None:
    url = await keep(owner=owner)
    works.clock.move(seconds=seconds - 1)
    status, headers, _ = await works.follow(url)
    assert (status, headers["Cache-Control"]) == (200, "public, max-age=1, immutable")
    works.clock.move(seconds=2)
    status, headers, body = await works.follow(url)
    assert (status, headers["X-Error-Code"]) == (403, "10003")
    assert CONTENT[:10] not in body


async def test_a_good_link_to_nothing_is_not_found(works: Any) -> None:
    url = works.deps.signer.sign(f"results/{new_id()}/0-{'cd' * 32}.webp", now=works.clock.now())
    status, headers, _ = await works.follow(url)
    assert (status, headers["X-Error-Code"]) == (404, "60000")


async def test_a_large_file_comes_whole(works: Any, keep: Keep) -> None:
    content = bytes(3 * 1024**2 + 17)
    status, headers, body = await works.follow(await keep(content))
    assert (status, len(body), headers["Content-Length"]) == (200, len(content), str(len(content)))


async def test_files_are_only_read(works: Any, keep: Keep) -> None:
    for method in ("PUT", "DELETE", "POST"):
        assert (await works.follow(await keep(), method=method))[0] == 405
