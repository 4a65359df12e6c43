"""The S3 store against a server that checks signatures: what its links are good for, and what happens when the server is away."""

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from common.errors import FileNotFound, Unavailable
from common.ids import new_id
from common.objects import S3Objects, S3Place, Shown
from common.objects.s3 import ObjectDamaged

pytestmark = pytest.mark.s3

BODY = b"a picture, as far as a store knows"
SHOWN = Shown("image/webp", 'inline; filename="ours.webp"', "public, max-age=60, immutable")


@pytest.fixture
def place(s3: Any) -> S3Place:
    return S3Place.of(s3.url, s3.access_key, s3.secret_key)


@pytest.fixture
async def objects(place: S3Place) -> AsyncIterator[S3Objects]:
    async with S3Objects(place) as opened:
        yield opened


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def kept(objects: S3Objects, body: bytes = BODY) -> str:
    """The key of bytes that are in the store."""
    key = f"results/{new_id()}/0-{hashlib.sha256(body).hexdigest()}.webp"
    await objects.put(key, body, "image/webp")
    return key


async def fetched(http: aiohttp.ClientSession, url: str, method: str = "GET", **options: Any) -> tuple[int, Any, bytes]:
    async with http.request(method, URL(url, encoded=True), **options) as answer:
        return answer.status, answer.headers, await answer.read()


async def link(objects: S3Objects, key: str, *, seconds: int = 60) -> str:
    url = await objects.link_to_read(key, SHOWN, seconds=seconds)
    assert url is not None
    return url


async def test_a_link_gives_the_bytes_with_the_headers_we_force(objects: S3Objects, http: aiohttp.ClientSession) -> None:
    status, headers, body = await fetched(http, await link(objects, await kept(objects)))
    assert (status, body) == (200, BODY)
    assert (headers["Content-Type"], headers["Content-Disposition"], headers["Cache-Control"]) == ("image/webp", SHOWN.disposition, SHOWN.cache_control)


async def test_a_part_is_had_by_the_same_link(objects: S3Objects, http: aiohttp.ClientSession) -> None:
    status, headers, body = await fetched(http, await link(objects, await kept(objects)), headers={"Range": "bytes=2-8"})
    # The server under test calls a part 200 where others say 206; what it sends is the part.
    assert (status in (200, 206), body, headers["Content-Range"]) == (True, BODY[2:9], f"bytes 2-8/{len(BODY)}")


async def test_a_link_that_was_changed_is_refused_by_the_server(objects: S3Objects, http: aiohttp.ClientSession) -> None:
    key, other = await kept(objects), await kept(objects, b"somebody else's")
    url = await link(objects, key)
    changed = {
        "another object": url.replace(key, other),
        "a longer life": url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        "another type": url.replace("image%2Fwebp", "text%2Fhtml"),
        "another name": url.replace("ours.webp", "page.html"),
        "another signature": url[:-1] + ("0" if url[-1] != "0" else "1"),
        "no signature": url.partition("&X-Amz-Signature")[0],
        "nothing": url.partition("?")[0],
    }
    for how, tampered in changed.items():
        assert tampered != url, how
        status, _, body = await fetched(http, tampered)
        assert 400 <= status < 404, how
        assert BODY not in body
        assert b"somebody else" not in body
    for method in ("PUT", "DELETE"):
        assert (await fetched(http, url, method, data=b"x"))[0] == 403
    assert await objects.read(key) == BODY


async def test_a_link_that_ended_is_refused_by_the_server(objects: S3Objects, http: aiohttp.ClientSession) -> None:
    url = await link(objects, await kept(objects), seconds=1)
    await asyncio.sleep(2.1)
    status, _, body = await fetched(http, url)
    assert status in (400, 403)
    assert BODY not in body


async def test_a_link_signed_with_another_key_is_refused_by_the_server(objects: S3Objects, place: S3Place, http: aiohttp.ClientSession) -> None:
    key = await kept(objects)
    for wrong in (replace(place, secret_key="another" + place.secret_key), replace(place, access_key="nobody")):
        async with S3Objects(wrong) as forger:
            status, _, body = await fetched(http, await link(forger, key))
            assert status == 403
            assert BODY not in body
            for ask in (forger.read(key), forger.put(key, BODY, "image/webp"), forger.delete(key), forger.stat(key)):
                with pytest.raises(Unavailable):
                    await ask


async def test_a_client_puts_exactly_what_it_announced(objects: S3Objects, http: aiohttp.ClientSession) -> None:
    key = f"incoming/{new_id()}.bin"
    given = await objects.link_to_write(key, "application/octet-stream", 5, seconds=60)
    assert given is not None
    for data, headers in ((b"longer than that", given.headers), (b"les", given.headers), (b"hello", {"Content-Type": "text/html"})):
        status, _, _ = await fetched(http, given.url, "PUT", data=data, headers=headers)
        assert status == 403
        assert await objects.stat(key) is None
    assert (await fetched(http, given.url.replace(key, key.replace("incoming", "results")), "PUT", data=b"hello", headers=given.headers))[0] == 403
    assert (await fetched(http, given.url))[0] == 403
    assert (await fetched(http, given.url, "PUT", data=b"hello", headers=given.headers))[0] == 200
    assert await objects.read(key) == b"hello"


async def test_links_lead_where_clients_reach_the_store(place: S3Place) -> None:
    async with S3Objects(replace(place, public="https://files.example")) as objects:
        assert urlsplit(await link(objects, "results/a/0-b.webp")).netloc == "files.example"
        with pytest.raises(FileNotFound):
            await objects.read(f"results/{new_id()}.webp")


async def test_bytes_that_are_not_what_the_key_says_go_neither_in_nor_out(objects: S3Objects, s3: Any) -> None:
    key = await kept(objects)
    with pytest.raises(ValueError, match="not what it says"):
        await objects.put(key, b"others", "image/webp")
    (s3.data / "darkroom" / key).write_bytes(BODY[:-1] + b"?")
    with pytest.raises(ObjectDamaged):
        await objects.read(key)


async def test_a_server_that_is_away_is_said_to_be_away_and_comes_back(objects: S3Objects, s3: Any) -> None:
    key = await kept(objects)
    await s3.kill()
    try:
        for ask in (objects.read(key), objects.put(key, BODY, "image/webp"), objects.stat(key), objects.delete(key)):
            with pytest.raises(Unavailable):
                await ask
        assert await objects.link_to_read(key, SHOWN, seconds=60) is not None
    finally:
        await s3.start()
    assert await objects.read(key) == BODY


async def test_a_server_that_does_not_answer_is_not_waited_for_long(place: S3Place, s3: Any) -> None:
    async with S3Objects(place, answer_seconds=0.2) as objects:
        key = await kept(objects)
        s3.pause()
        try:
            started = time.monotonic()
            with pytest.raises(Unavailable):
                await objects.read(key)
            assert time.monotonic() - started < 5
        finally:
            s3.resume()


async def test_the_loop_goes_on_and_threads_stay_few_while_the_store_works(place: S3Place) -> None:
    async with S3Objects(place, threads=4) as objects:
        await asyncio.gather(*(kept(objects, b"%d" % number) for number in range(100)))
        assert sum(thread.name.startswith("objects_") for thread in threading.enumerate()) <= 4
