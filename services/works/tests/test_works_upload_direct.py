"""Uploads that a client puts into the store itself: what is looked at, what is refused, what comes of half of it."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from aiohttp import ClientSession
from yarl import URL

from common.ids import new_id
from works import upkeep

COMPLETED = {"file_name", "file_url", "file_path", "file_size", "mime_type", "file_hash"}


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def server(request: pytest.FixtureRequest) -> Any:
    """Where the store is a folder we take the bytes ourselves; a client sees no difference."""
    return request.getfixturevalue("s3") if request.param == "s3" else None


async def announce(works: Any, size: int, *, user: UUID, key: str | None = None) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    status, _, body = await works.ask("POST", "/v1/uploads", user=user, json={"size_bytes": size}, headers=headers)
    assert status == 201, body
    return body


async def put(works: Any, upload: Any, content: bytes, *, url: str | None = None, headers: Any = None) -> int:
    """What a client does that knows nothing but the answer it got."""
    address = (url or upload["url"]).replace("http://gateway", works.door.url)
    async with (
        ClientSession() as http,
        http.request(upload["method"], URL(address, encoded=True), data=content, headers=headers or upload["headers"]) as answer,
    ):
        return answer.status


async def complete(works: Any, upload: Any, *, user: UUID | None) -> tuple[int, Any, Any]:
    answer: tuple[int, Any, Any] = await works.ask("POST", f"/v1/uploads/{upload['upload_id']}/complete", user=user)
    return answer


async def test_what_was_put_is_looked_at_and_kept_like_any_upload(works: Any, pictures: Any) -> None:
    user, content = new_id(), pictures.png()
    upload = await announce(works, len(content), user=user)
    assert upload["key"] == f"incoming/{user}/{upload['upload_id']}.bin"
    assert await put(works, upload, content) == 200
    status, _, file = await complete(works, upload, user=user)
    assert (status, set(file)) == (200, COMPLETED)
    assert file["file_path"] == f"uploads/{user}/{file['file_name']}"
    assert (await works.follow(file["file_url"]))[0] == 200
    assert await works.deps.objects.stat(upload["key"]) is None


async def test_completing_twice_or_at_once_is_completing_once(works: Any, pictures: Any) -> None:
    user, content = new_id(), pictures.png()
    upload = await announce(works, len(content), user=user)
    await put(works, upload, content)
    first = await complete(works, upload, user=user)
    status, headers, body = await complete(works, upload, user=user)
    assert (status, headers["Idempotent-Replayed"], body) == (200, "true", first[2])
    other = await announce(works, len(content), user=user)
    await put(works, other, content)
    answers = await asyncio.gather(*(complete(works, other, user=user) for _ in range(5)))
    assert 200 in {status for status, _, _ in answers}
    assert {status for status, _, _ in answers} <= {200, 404}
    assert (await complete(works, other, user=user))[0] == 200
    assert await works.db.fetchval("SELECT count(*) FROM file") == 2


async def test_who_put_the_wrong_file_puts_another_by_the_same_link(works: Any, pictures: Any) -> None:
    user, content = new_id(), pictures.png()
    upload = await announce(works, len(content), user=user)
    assert await put(works, upload, bytes(len(content))) == 200
    assert (await complete(works, upload, user=user))[0] == 415
    assert await put(works, upload, content) == 200
    assert (await complete(works, upload, user=user))[0] == 200


async def test_what_is_no_picture_is_refused_when_it_is_looked_at(works: Any, pictures: Any) -> None:
    user = new_id()
    for content, expected in ((b"<!doctype html><script>alert(1)</script>", 415), (pictures.png()[:60], 400), (pictures.claimed_png(30_000, 30_000), 413)):
        upload = await announce(works, len(content), user=user)
        assert await put(works, upload, content) == 200
        assert (await complete(works, upload, user=user))[0] == expected
    assert await works.db.fetchval("SELECT count(*) FROM file") == 0
    assert list((works.folder / "spool").iterdir()) == []


async def test_other_bytes_than_announced_are_not_taken(works: Any, pictures: Any) -> None:
    content = pictures.png()
    upload = await announce(works, len(content), user=new_id())
    for wrong in (content + b"x", content[:-1], b"x" * 300_000, b""):
        assert 400 <= await put(works, upload, wrong) < 500
    assert await works.deps.objects.stat(upload["key"]) is None
    assert list((works.folder / "spool").iterdir()) == []


async def test_a_link_to_put_is_good_for_its_own_upload_only(works: Any, pictures: Any) -> None:
    user, content = new_id(), pictures.png()
    upload, other = [await announce(works, len(content), user=user) for _ in range(2)]
    url = upload["url"]
    assert 400 <= await put(works, upload, content, url=url.replace(upload["upload_id"], other["upload_id"])) < 500
    assert 400 <= await put(works, upload, content, url=url.replace(str(user), str(new_id()))) < 500
    assert 400 <= await put(works, upload, content, url=url.partition("?")[0]) < 500
    assert 400 <= await put(works, upload, content, url=url[:-1] + ("0" if url[-1] != "0" else "1")) < 500
    assert await works.deps.objects.stat(other["key"]) is None


async def test_what_nobody_looked_at_is_served_to_nobody(works: Any) -> None:
    user, content = new_id(), b"<!doctype html><script>alert(1)</script>"
    upload = await announce(works, len(content), user=user)
    await put(works, upload, content)
    query = upload["url"].partition("?")[2]
    for path in (f"/files/{upload['key']}", f"/files/{upload['key']}?{query}"):
        async with works.door.http.get(URL(works.door.url + path, encoded=True)) as answer:
            assert answer.status in (400, 404)
    address = upload["url"].replace("http://gateway", works.door.url)
    async with works.door.http.get(URL(address, encoded=True)) as answer:
        assert 400 <= answer.status < 500
        assert b"script" not in await answer.read()


async def test_nobody_completes_anothers_upload(works: Any, pictures: Any) -> None:
    owner, content = new_id(), pictures.png()
    upload = await announce(works, len(content), user=owner)
    await put(works, upload, content)
    unknown = {"upload_id": new_id()}
    for asked in (upload, unknown, {"upload_id": "x"}):
        status, headers, _ = await complete(works, asked, user=new_id())
        assert (status, headers["X-Error-Code"]) == (404, "60000")
    assert (await complete(works, upload, user=None))[0] == 401
    assert (await complete(works, upload, user=owner))[0] == 200
    assert (await complete(works, upload, user=new_id()))[0] == 404


async def test_what_was_never_put_cannot_be_completed(works: Any) -> None:
    user = new_id()
    upload = await announce(works, 100, user=user)
    assert (await complete(works, upload, user=user))[0] == 404


@pytest.mark.parametrize("size", [0, -1, 10 * 1024**2 + 1, 2**40, "x", None, 1.5])
async def test_a_size_that_cannot_be_is_refused_at_once(works: Any, size: Any) -> None:
    status, _, body = await works.ask("POST", "/v1/uploads", user=new_id(), json={"size_bytes": size})
    assert status in (400, 413), body
    assert await works.db.fetchval("SELECT count(*) FROM loose_object") == 0


async def test_the_same_key_names_the_same_upload(works: Any) -> None:
    user = new_id()
    one, again = [await announce(works, 100, user=user, key="k") for _ in range(2)]
    assert one["upload_id"] == again["upload_id"]
    assert (await announce(works, 100, user=new_id(), key="k"))["upload_id"] != one["upload_id"]


async def test_who_announces_much_and_completes_little_has_to_wait(works: Any) -> None:
    user = new_id()
    for _ in range(works.deps.storage.incoming_max):
        await announce(works, 100, user=user)
    status, headers, _ = await works.ask("POST", "/v1/uploads", user=user, json={"size_bytes": 100})
    assert (status, headers["X-Error-Code"]) == (429, "10004")
    await announce(works, 100, user=new_id())
    works.clock.move(seconds=3600)
    await upkeep.remove_loose_objects(works.deps)
    await announce(works, 100, user=user)


async def test_who_completes_what_was_announced_does_not_have_to_wait(works: Any, pictures: Any) -> None:
    user, content = new_id(), pictures.png()
    uploads = [await announce(works, len(content), user=user) for _ in range(works.deps.storage.incoming_max)]
    await put(works, uploads[0], content)
    assert (await complete(works, uploads[0], user=user))[0] == 200
    await announce(works, 100, user=user)
    assert (await works.ask("POST", "/v1/uploads", user=user, json={"size_bytes": 100}))[0] == 429


async def test_who_announces_all_at_once_is_held_to_the_same_number(works: Any) -> None:
    user, allowed = new_id(), works.deps.storage.incoming_max
    for _ in range(allowed - 4):
        await announce(works, 100, user=user)
    asks = [works.ask("POST", "/v1/uploads", user=user, json={"size_bytes": 100}) for _ in range(16)]
    assert Counter(status for status, _, _ in await asyncio.gather(*asks)) == {201: 4, 429: 12}


async def test_what_was_put_and_never_completed_goes(works: Any, pictures: Any) -> None:
    user, content = new_id(), pictures.png()
    upload = await announce(works, len(content), user=user)
    await put(works, upload, content)
    works.clock.move(seconds=3600)
    await upkeep.remove_loose_objects(works.deps)
    assert await works.deps.objects.stat(upload["key"]) is None
    assert (await complete(works, upload, user=user))[0] == 404


class TestTheFoldersOwnLinks:
    """A server's own clock decides how long its links live; see the tests of the store."""

    @pytest.fixture
    def server(self) -> Any:
        return None

    async def test_a_link_to_put_ends(self, works: Any, pictures: Any) -> None:
        content = pictures.png()
        upload = await announce(works, len(content), user=new_id())
        works.clock.move(seconds=901)
        assert await put(works, upload, content) == 404
