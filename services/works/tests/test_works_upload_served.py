"""Files by way of an S3 store, and small pictures: who is sent where, for how long, with what."""

import asyncio
import hashlib
import io
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from yarl import URL

from common.ids import new_id
from common.objects import thumbnail_key

CONTENT = bytes(range(256)) * 4
Keep = Callable[..., Awaitable[str]]


@pytest.fixture
def keep(works: Any) -> Keep:
    """Store bytes and answer the link to them."""

    async def store(content: bytes = CONTENT, *, extension: str = "ogg", content_type: str = "audio/ogg", owner: bool = True) -> str:
        key = f"results/{new_id()}/0-{hashlib.sha256(content).hexdigest()}.{extension}"
        await works.deps.objects.put(key, content, content_type)
        return str(works.deps.signer.sign(key, now=works.clock.now(), owner=owner))

    return store


async def shown(works: Any, pictures: Any, *, size: tuple[int, int] = (1200, 900), name: str = "JPEG") -> tuple[str, str]:
    """A stored picture: its key and the link to its small one."""
    status, _, body = await works.upload(pictures.encoded(pictures.plain(size, colour="gradient"), name), user=new_id())
    assert status == 200
    key = body["data"]["file_path"]
    small = thumbnail_key(key)
    assert small is not None
    return key, works.deps.signer.sign(small, now=works.clock.now())


@pytest.mark.s3
class TestByWayOfS3:
    """The store serves; we say who may go there."""

    @pytest.fixture
    def server(self, s3: Any) -> Any:
        return s3

    async def test_a_good_link_leads_to_the_store_with_everything_forced(self, works: Any, keep: Keep, server: Any) -> None:
        url = await keep()
        status, headers, body = await works.follow(url, allow_redirects=False)
        assert (status, body) == (302, b"")
        assert headers["Location"].startswith(f"{server.endpoint}/darkroom/results/")
        status, headers, body = await works.follow(url)
        assert (status, body, headers["Content-Type"]) == (200, CONTENT, "audio/ogg")
        assert headers["Content-Disposition"] == f'inline; filename="0-{hashlib.sha256(CONTENT).hexdigest()}.ogg"'
        assert headers["Cache-Control"] == "public, max-age=3600, immutable"

    async def test_what_is_no_picture_and_no_sound_is_only_downloaded(self, works: Any, keep: Keep) -> None:
        _, headers, _ = await works.follow(await keep(extension="json", content_type="application/json"))
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Disposition"].startswith("attachment;")

    async def test_a_range_is_had_from_the_store(self, works: Any, keep: Keep) -> None:
        status, headers, body = await works.follow(await keep(), headers={"Range": "bytes=1000-"})
        assert (status in (200, 206), body, headers["Content-Range"]) == (True, CONTENT[1000:], "bytes 1000-1023/1024")

    async def test_the_way_to_the_store_ends_before_our_link_and_within_five_minutes(self, works: Any, keep: Keep) -> None:
        for owner, moved in ((True, 0), (True, 3200), (False, 0), (False, 200)):
            url = await keep(owner=owner)
            works.clock.move(seconds=moved)
            left_seconds = int(parse_qs(urlsplit(url).query)["exp"][0]) - int(works.clock.now().timestamp())
            _, headers, _ = await works.follow(url, allow_redirects=False)
            seconds = int(parse_qs(urlsplit(headers["Location"]).query)["X-Amz-Expires"][0])
            assert seconds == min(300, left_seconds)
            assert headers["Cache-Control"] == f"public, max-age={seconds // 2}"
            works.clock.move(seconds=3600)

    async def test_a_link_that_ended_or_was_changed_leads_nowhere(self, works: Any, keep: Keep) -> None:
        url = await keep()
        for changed in (url.replace("/0-", "/1-"), url.replace("exp=", "exp=1"), url[:-1] + ("A" if url[-1] != "A" else "B"), url.partition("?")[0]):
            path = changed.partition("://gateway")[2]
            async with works.door.http.get(URL(works.door.url + path, encoded=True), allow_redirects=False) as answer:
                assert (answer.status, "Location" in answer.headers) == (404, False)
        works.clock.move(seconds=3601)
        status, headers, _ = await works.follow(url, allow_redirects=False)
        assert (status, headers["X-Error-Code"]) == (403, "10003")

    async def test_the_way_to_one_file_is_not_the_way_to_another(self, works: Any, keep: Keep) -> None:
        mine, theirs = await keep(), await keep(b"somebody else's")
        _, headers, _ = await works.follow(mine, allow_redirects=False)
        there = urlsplit(headers["Location"])
        other = theirs.partition("/files/")[2].partition("?")[0]
        async with works.door.http.get(URL(f"{there.scheme}://{there.netloc}/darkroom/{other}?{there.query}", encoded=True)) as answer:
            assert answer.status == 403
            assert b"somebody" not in await answer.read()

    async def test_nothing_is_said_of_what_is_not_there(self, works: Any) -> None:
        url = works.deps.signer.sign(f"results/{new_id()}/0-{'cd' * 32}.webp", now=works.clock.now())
        status, headers, _ = await works.follow(url, allow_redirects=False)
        assert (status, headers["X-Error-Code"]) == (404, "60000")

    async def test_a_head_and_what_did_not_change_are_answered_here(self, works: Any, keep: Keep) -> None:
        url = await keep()
        status, headers, _ = await works.follow(url, method="HEAD")
        assert (status, headers["Content-Length"], headers["Content-Type"]) == (200, "1024", "audio/ogg")
        status, _, _ = await works.follow(url, headers={"If-None-Match": headers["ETag"]}, allow_redirects=False)
        assert status == 304

    async def test_a_store_that_is_away_is_said_to_be_away(self, works: Any, keep: Keep, pictures: Any, server: Any) -> None:
        url = await keep()
        await server.kill()
        try:
            status, headers, _ = await works.follow(url)
            assert (status, headers["X-Error-Code"], int(headers["Retry-After"]) > 0) == (503, "10007", True)
            status, headers, _ = await works.upload(pictures.png(), user=new_id())
            assert (status, headers["X-Error-Code"]) == (503, "10007")
            assert await works.db.fetchval("SELECT count(*) FROM file") == 0
        finally:
            await server.start()
        assert (await works.follow(url))[0] == 200


class TestSmallPictures:
    """Made once, when somebody first looks."""

    @pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
    def server(self, request: pytest.FixtureRequest) -> Any:
        return request.getfixturevalue("s3") if request.param == "s3" else None

    @pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
    async def test_a_small_picture_is_a_webp_of_400_pixels_a_side(self, works: Any, pictures: Any, name: str) -> None:
        _, url = await shown(works, pictures, name=name)
        status, headers, body = await works.follow(url)
        picture = Image.open(io.BytesIO(body))
        assert (status, headers["Content-Type"], picture.format, picture.size) == (200, "image/webp", "WEBP", (400, 300))

    async def test_a_link_that_the_version_before_gave_out_still_leads_to_one(self, works: Any, pictures: Any) -> None:
        key, _ = await shown(works, pictures, name="WEBP")
        assert key.endswith(".webp")
        folder, _, name = key.rpartition("/")
        status, headers, body = await works.follow(works.deps.signer.sign(f"{folder}/thumb-{name}.webp", now=works.clock.now()))
        assert (status, headers["Content-Type"], Image.open(io.BytesIO(body)).size) == (200, "image/webp", (400, 300))

    async def test_what_is_small_already_keeps_its_size(self, works: Any, pictures: Any) -> None:
        _, url = await shown(works, pictures, size=(64, 48))
        assert Image.open(io.BytesIO((await works.follow(url))[2])).size == (64, 48)

    async def test_many_who_look_at_once_cost_one_picture(self, works: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        _, url = await shown(works, pictures)
        made: list[Any] = []
        pool = works.deps.intake._pool
        shrink = type(pool).shrink

        async def count(self: Any, *args: Any, **options: Any) -> None:
            made.append(args)
            await shrink(self, *args, **options)

        monkeypatch.setattr(type(pool), "shrink", count)
        answers = await asyncio.gather(*(works.follow(url) for _ in range(20)))
        assert {status for status, _, _ in answers} == {200}
        assert len({body for _, _, body in answers}) == 1
        assert len(made) == 1
        await works.follow(url)
        assert len(made) == 1
        assert works.deps.thumbnails._turns == {}
        assert list((works.folder / "spool").iterdir()) == []

    async def test_nothing_is_made_of_what_is_not_there_or_without_a_signature(self, works: Any, pictures: Any) -> None:
        for name in ("webp", "webp.webp"):
            missing = works.deps.signer.sign(f"results/{new_id()}/thumb-0-{'cd' * 32}.{name}", now=works.clock.now())
            assert (await works.follow(missing))[0] == 404
        key, url = await shown(works, pictures)
        assert (await works.follow(url.partition("?")[0]))[0] == 404
        small = thumbnail_key(key)
        assert small is not None
        assert await works.deps.objects.stat(small) is None
        assert thumbnail_key(small) is None
        assert thumbnail_key("results/x/0-ab.ogg") is None
        song = works.deps.signer.sign("results/x/thumb-0-ab.ogg.webp", now=works.clock.now())
        assert (await works.follow(song))[0] == 404

    async def test_a_works_row_carries_the_link(self, works: Any, pictures: Any) -> None:
        user = new_id()
        _, _, upload = await works.upload(pictures.jpeg(size=(1000, 1000)), user=user)
        await works.ask("POST", "/works", user=user, json={"title": "x", "image": upload["data"]["file_url"]})
        _, _, body = await works.ask("GET", "/api/works?type=photo&status=created", user=user)
        work = body["data"]["works"][0]
        assert Image.open(io.BytesIO((await works.follow(work["thumbnail_url"]))[2])).size == (400, 400)
