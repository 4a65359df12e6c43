"""Objects in a folder, and the links to them."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from common.errors import FileNotFound, Forbidden
from common.objects import FolderObjects, UrlSigner, content_type_of, is_key, open_objects
from common.settings import ServiceSettings, SettingsError, service_config
from common.testing.doors import SECRET, Passes

KEY = "results/01890000-0000-7000-8000-000000000001/0-" + "ab" * 32 + ".webp"
NOW = datetime(2026, 3, 4, 5, 7, 1, tzinfo=UTC)


@pytest.fixture
async def objects(tmp_path: Path) -> AsyncIterator[FolderObjects]:
    async with FolderObjects(tmp_path / "objects") as opened:
        yield opened


async def collected(objects: FolderObjects, key: str, start: int = 0, length: int | None = None) -> bytes:
    return b"".join([piece async for piece in objects.open(key, start, length)])


async def test_what_was_put_is_read_whole_and_in_parts(objects: FolderObjects) -> None:
    body = os.urandom(700_000)
    await objects.put(KEY, body, "image/webp")
    assert await objects.read(KEY) == body
    assert await collected(objects, KEY) == body
    assert await collected(objects, KEY, 100, 50) == body[100:150]
    assert await collected(objects, KEY, 300_000) == body[300_000:]
    assert await collected(objects, KEY, 699_999, 10) == body[-1:]
    info = await objects.stat(KEY)
    assert info is not None
    assert (info.size, info.content_type) == (700_000, "image/webp")


async def test_a_file_is_copied_in(objects: FolderObjects, tmp_path: Path) -> None:
    (tmp_path / "song").write_bytes(b"la" * 500_000)
    await objects.put_file("results/a/0-cd.ogg", tmp_path / "song", "audio/ogg")
    assert (tmp_path / "song").exists()
    assert len(await objects.read("results/a/0-cd.ogg")) == 1_000_000


async def test_what_is_not_there_is_said_to_be_missing(objects: FolderObjects) -> None:
    await objects.put(KEY, b"x", "image/webp")
    for key in ("uploads/none.jpg", KEY.rpartition("/")[0], f"{KEY}/more.jpg"):
        assert await objects.stat(key) is None
        with pytest.raises(FileNotFound):
            await objects.read(key)
        with pytest.raises(FileNotFound):
            await collected(objects, key)


async def test_putting_and_deleting_twice_are_done_once(objects: FolderObjects) -> None:
    await asyncio.gather(*[objects.put(KEY, b"same", "image/webp") for _ in range(20)])
    assert await objects.read(KEY) == b"same"
    await objects.delete(KEY)
    await objects.delete(KEY)
    assert await objects.stat(KEY) is None


async def test_a_put_that_fails_leaves_nothing_behind(objects: FolderObjects, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await objects.put_file(KEY, tmp_path / "absent", "image/webp")
    assert await objects.stat(KEY) is None
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file()] == []


BAD_KEYS = [
    "", "/etc/passwd", "../x.jpg", "a/../../x.jpg", "a/..", "a//b.jpg", "a/./b.jpg", ".hidden", "a/.put-1", "a\\b.jpg", "a\x00.jpg",
    "a b.jpg", "照片.jpg", "a\n.jpg", "x" * 600, "a/", "~root", "a\u202egpj.exe", "%2e%2e/x",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS)
async def test_a_key_that_could_leave_the_folder_is_refused(objects: FolderObjects, key: str) -> None:
    assert not is_key(key)
    with pytest.raises(ValueError):
        await objects.put(key, b"x", "image/jpeg")
    with pytest.raises(ValueError):
        await objects.read(key)


async def test_a_type_that_the_extension_denies_is_refused(objects: FolderObjects) -> None:
    with pytest.raises(ValueError, match="text/html"):
        await objects.put(KEY, b"<script>", "text/html")
    assert content_type_of("a/b.unknown") == "application/octet-stream"


async def test_work_happens_in_a_bounded_pool_of_threads(objects: FolderObjects) -> None:
    await asyncio.gather(*[objects.put(f"uploads/u/{number}.jpg", b"x" * 1000, "image/jpeg") for number in range(100)])
    assert sum(thread.name.startswith("objects") for thread in threading.enumerate()) <= 8


def test_the_url_in_settings_decides_the_store(tmp_path: Path) -> None:
    settings = Passes().settings(_Settings, "works", tmp_path)
    assert isinstance(open_objects(settings.shared), FolderObjects)
    for url, word in (("s3://bucket", "not supported yet"), ("ftp://x", "not known"), ("relative/folder", "not known"), ("file://relative", "not known")):
        shared = settings.shared.model_copy(update={"objects_url": url})
        with pytest.raises(SettingsError, match=word):
            open_objects(shared)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="cannot be made"):
        FolderObjects(tmp_path / "file" / "objects")


class _Settings(ServiceSettings):
    model_config = service_config("WORKS_")
    port: int = 8102


@pytest.fixture
def signer() -> UrlSigner:
    return UrlSigner(SECRET, "http://127.0.0.1:8080")


def parts(url: str) -> tuple[str, dict[str, str]]:
    split = urlsplit(url)
    return split.path, dict(parse_qsl(split.query))


def test_a_link_is_good_for_its_key_until_it_ends(signer: UrlSigner) -> None:
    url = signer.sign(KEY, now=NOW)
    assert url.startswith(f"http://127.0.0.1:8080/files/{KEY}?exp=")
    path, query = parts(url)
    assert signer.verify(path, query, NOW) == KEY
    assert signer.verify(path, query, NOW + timedelta(minutes=54)) == KEY
    with pytest.raises(Forbidden):
        signer.verify(path, query, NOW + timedelta(minutes=61))


def test_links_rendered_within_a_step_are_the_same(signer: UrlSigner) -> None:
    at = datetime(2026, 3, 4, 5, 5, 0, tzinfo=UTC)
    assert len({signer.sign(KEY, now=at + timedelta(seconds=second)) for second in range(300)}) == 1
    assert len({signer.sign(KEY, now=at + timedelta(seconds=second)) for second in range(301)}) == 2


def test_anothers_link_is_dead_within_five_minutes_and_never_at_birth(signer: UrlSigner) -> None:
    for second in range(0, 600, 7):
        now = NOW + timedelta(seconds=second)
        path, query = parts(signer.sign(KEY, now=now, owner=False))
        assert signer.verify(path, query, now + timedelta(seconds=239)) == KEY
        with pytest.raises(Forbidden):
            signer.verify(path, query, now + timedelta(seconds=301))


def test_a_link_we_did_not_make_is_an_unknown_file(signer: UrlSigner) -> None:
    path, query = parts(signer.sign(KEY, now=NOW))
    later = str(int(query["exp"]) + 300)
    other_key = path.replace("0-", "1-")
    wrong = [
        (path, {}), (path, {"exp": query["exp"]}), (path, {**query, "sig": ""}),
        (path, {**query, "sig": query["sig"][:-1] + "x"}), (path, {**query, "sig": "é"}),
        (path, {**query, "exp": later}), (path, {**query, "exp": "1e12"}), (path, {**query, "exp": "９９"}), (path, {**query, "exp": "-1"}),
        (path, {**query, "exp": "9" * 30}), (path, {**query, "exp": f"0{query['exp']}x"}), (other_key, query), ("/elsewhere/" + KEY, query), ("/files/", query),
        ("/files/../" + KEY, query), ("/files/%2e%2e/" + KEY, query),
    ]  # fmt: skip
    for one_path, one_query in wrong:
        with pytest.raises(FileNotFound):
            signer.verify(one_path, one_query, NOW)
    with pytest.raises(FileNotFound):
        UrlSigner("another" + SECRET, "http://127.0.0.1:8080").verify(path, query, NOW)


def test_a_link_proves_its_key_whatever_its_age_and_host(signer: UrlSigner) -> None:
    url = signer.sign(KEY, now=NOW - timedelta(days=400))
    assert signer.key_of(url) == KEY
    assert signer.key_of(url.replace("127.0.0.1:8080", "photos.example")) == KEY
    for other in ("", "x", "http://[", KEY, url.replace("sig=", "sig=a"), url.replace("exp=", "x="), "http://a/files/x?" + "&".join("a=1" for _ in range(50))):
        assert signer.key_of(other) is None
