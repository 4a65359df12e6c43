"""What every object store promises, asked of the folder and of a real S3 server."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from common.errors import FileNotFound
from common.ids import new_id
from common.objects import FolderObjects, ObjectStore, content_type_of, is_key, open_store


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def server(request: pytest.FixtureRequest) -> Any:
    """Once without a server, once with one."""
    return request.getfixturevalue("s3") if request.param == "s3" else None


@pytest.fixture
async def objects(server: Any, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    """One store of each kind."""
    opened = FolderObjects(tmp_path / "objects") if server is None else open_store(server.url, server.access_key, server.secret_key)
    yield opened
    await opened.close()


def key_for(body: bytes, extension: str = "webp") -> str:
    """A key as the services make them, in a folder that no other test uses."""
    return f"results/{new_id()}/0-{hashlib.sha256(body).hexdigest()}.{extension}"


async def collected(objects: ObjectStore, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in objects.open(key, start, length)])


async def test_what_was_put_is_read_whole_and_in_parts(objects: ObjectStore) -> None:
    body = os.urandom(700_000)
    key = key_for(body)
    await objects.put(key, body, "image/webp")
    assert await objects.read(key) == body
    assert await collected(objects, key) == body
    assert await collected(objects, key, 100, 50) == body[100:150]
    assert await collected(objects, key, 300_000) == body[300_000:]
    assert await collected(objects, key, 699_999, 10) == body[-1:]
    assert await collected(objects, key, 700_000) == b""
    assert await collected(objects, key, 5, 0) == b""
    info = await objects.stat(key)
    assert info is not None
    assert (info.size, info.content_type) == (700_000, "image/webp")


async def test_nothing_at_all_is_an_object_too(objects: ObjectStore) -> None:
    key = key_for(b"", "ogg")
    await objects.put(key, b"", "audio/ogg")
    assert (await objects.read(key), await collected(objects, key)) == (b"", b"")
    info = await objects.stat(key)
    assert info is not None
    assert info.size == 0


async def test_a_file_is_copied_in(objects: ObjectStore, tmp_path: Path) -> None:
    body = b"la" * 500_000
    (tmp_path / "song").write_bytes(body)
    key = key_for(body, "ogg")
    for _ in range(2):
        await objects.put_file(key, tmp_path / "song", "audio/ogg")
    assert (tmp_path / "song").exists()
    assert len(await objects.read(key)) == 1_000_000


async def test_what_is_not_there_is_said_to_be_missing(objects: ObjectStore) -> None:
    there = key_for(b"x")
    await objects.put(there, b"x", "image/webp")
    for key in (f"uploads/{new_id()}.jpg", there.rpartition("/")[0], f"{there}/more.jpg"):
        assert await objects.stat(key) is None
        with pytest.raises(FileNotFound):
            await objects.read(key)
        for start, length in ((0, None), (1, 5), (0, 0)):
            with pytest.raises(FileNotFound):
                await collected(objects, key, start, length)


async def test_putting_and_deleting_twice_are_done_once(objects: ObjectStore) -> None:
    key = key_for(b"same")
    await asyncio.gather(*[objects.put(key, b"same", "image/webp") for _ in range(20)])
    assert await objects.read(key) == b"same"
    await objects.delete(key)
    await objects.delete(key)
    assert await objects.stat(key) is None


async def test_what_was_deleted_can_be_put_again(objects: ObjectStore) -> None:
    key = key_for(b"again")
    for _ in range(2):
        await objects.put(key, b"again", "image/webp")
        assert await objects.read(key) == b"again"
        await objects.delete(key)


async def test_a_put_that_fails_leaves_nothing_behind(objects: ObjectStore, tmp_path: Path) -> None:
    key = key_for(b"absent")
    with pytest.raises(FileNotFoundError):
        await objects.put_file(key, tmp_path / "absent", "image/webp")
    assert await objects.stat(key) is None


BAD_KEYS = [
    "", "/etc/passwd", "../x.jpg", "a/../../x.jpg", "a/..", "a//b.jpg", "a/./b.jpg", ".hidden", "a/.put-1", "a\\b.jpg", "a\x00.jpg",
    "a b.jpg", "照片.jpg", "a\n.jpg", "x" * 600, "a/", "~root", "a\u202egpj.exe", "%2e%2e/x",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_key_that_could_leave_its_place_is_refused(objects: ObjectStore, key: str) -> None:
    assert not is_key(key)
    with pytest.raises(ValueError):
        await objects.put(key, b"x", "image/jpeg")
    for ask in (objects.read, objects.stat, objects.delete, lambda key: collected(objects, key)):
        with pytest.raises(ValueError):
            await ask(key)


async def test_a_type_that_the_extension_denies_is_refused(objects: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="text/html"):
        await objects.put(key_for(b"<script>"), b"<script>", "text/html")
    (tmp_path / "page").write_bytes(b"<script>")
    with pytest.raises(ValueError, match="text/html"):
        await objects.put_file(key_for(b"<script>"), tmp_path / "page", "text/html")
    assert content_type_of("a/b.unknown") == "application/octet-stream"


async def test_a_folder_lists_the_keys_right_in_it_and_nothing_of_its_neighbours(objects: ObjectStore) -> None:
    folder = f"results/{new_id()}/"
    body = os.urandom(10)
    names = [f"{folder}{place}-{hashlib.sha256(body).hexdigest()}.webp" for place in range(3)]
    for key in (*names, f"{folder}below/{names[0].rpartition('/')[2]}", f"{folder[:-1]}-other/{names[0].rpartition('/')[2]}"):
        await objects.put(key, body, "image/webp")
    assert sorted(await objects.list_keys(folder)) == names
    await objects.delete(names[0])
    assert sorted(await objects.list_keys(folder)) == names[1:]
    assert await objects.list_keys(f"results/{new_id()}/") == []
    for wrong in ("../", "/", "a/../b/"):
        with pytest.raises(ValueError, match="may not name"):
            await objects.list_keys(wrong)
