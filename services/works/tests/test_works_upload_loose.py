"""Bytes and rows: what a deletion leaves, what a crash leaves, how much a user may keep, and what operators set."""

import asyncio
import base64
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from aiohttp import FormData
from PIL import Image

from common.errors import IdempotencyKeyReused, Unavailable
from common.events import Item, UserUpdated
from common.ids import new_id
from common.objects import former_thumbnail_key, thumbnail_key
from works import commands, consumers, upkeep
from works.api.base64_text import in_chunks
from works.domain import StorageTerms
from works.settings import WorksSettings


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def server(request: pytest.FixtureRequest) -> Any:
    """Everything here holds whatever store the pictures go to."""
    return request.getfixturevalue("s3") if request.param == "s3" else None


async def uploaded(works: Any, content: bytes, *, user: UUID) -> Any:
    status, _, body = await works.upload(content, user=user)
    assert status == 200
    return body["data"]


async def take_back(works: Any, file: Any, *, user: UUID) -> None:
    assert (await works.ask("DELETE", f"/api/upload/{file['file_name']}", user=user))[0] == 200


async def is_there(works: Any, key: str) -> bool:
    return await works.deps.objects.stat(key) is not None


async def look(works: Any, *, hours: float) -> None:
    """Upkeep, so much later."""
    works.clock.move(seconds=hours * 3600)
    await upkeep.remove_loose_objects(works.deps)


async def loose(works: Any) -> set[str]:
    return {row["key"] for row in await works.db.fetch("SELECT key FROM loose_object")}


async def test_a_deleted_uploads_bytes_stay_as_long_as_a_task_may_need_them_and_then_go(works: Any, pictures: Any) -> None:
    user = new_id()
    file = await uploaded(works, pictures.png(), user=user)
    await take_back(works, file, user=user)
    await look(works, hours=1.9)
    assert await is_there(works, file["file_path"])
    await look(works, hours=0.2)
    assert not await is_there(works, file["file_path"])
    assert await loose(works) == set()


async def kept_for_a_task(works: Any, content: str, *, user: UUID) -> tuple[int, Any, Any]:
    """As generation asks, for a photo that came inside the creation of a task."""
    ask = {"file_id": str(new_id()), "user_id": str(user), "content": content, "field": "images.0", "fleeting": True}
    token = works.passes.service("generation", "works")
    answer: tuple[int, Any, Any] = await works.ask("POST", "/internal/pictures", json=ask, headers={"Authorization": f"Bearer {token}"})
    return answer


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


async def test_a_photo_that_came_inside_a_task_is_cleaned_fills_no_quota_and_goes_like_a_deleted_upload(works: Any, pictures: Any) -> None:
    user = new_id()
    exif = Image.Exif()
    exif[0x010F] = "secret camera"
    tail = pictures.encoded(pictures.plain(), "JPEG", exif=exif) + b"PK\x03\x04 and a zip behind it"
    status, _, body = await kept_for_a_task(works, data_url(tail, "jpeg"), user=user)
    assert status == 200, body
    key = body["key"]
    kept = await works.deps.objects.read(key)
    assert key.startswith(f"uploads/{user}/")
    assert key.endswith(".jpg")
    assert b"secret camera" not in kept
    assert b"zip" not in kept
    assert await works.db.fetchval("SELECT count(*) FROM file") == 0
    assert await works.db.fetchval("SELECT count(*) FROM storage WHERE bytes > 0") == 0
    await look(works, hours=1.9)
    assert await is_there(works, key)
    assert (await kept_for_a_task(works, data_url(tail, "jpeg"), user=user))[2] == {"key": key}
    await look(works, hours=0.2)
    assert await is_there(works, key)  # the second task needs it too
    await look(works, hours=2)
    assert not await is_there(works, key)
    assert await loose(works) == set()


async def test_an_upload_of_the_same_photo_stays(works: Any, pictures: Any) -> None:
    user = new_id()
    file = await uploaded(works, pictures.png(), user=user)
    _, _, body = await kept_for_a_task(works, data_url(pictures.png()), user=user)
    assert body == {"key": file["file_path"]}
    await look(works, hours=3)
    assert await is_there(works, file["file_path"])


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("data:text/html;base64,PGI+", 400),
        ("data:image/svg+xml;base64,PHN2Zz4=", 400),
        ("data:image/png;base64,!!!!", 400),
        ("data:image/png;base64,", 400),
        (data_url(b"GIF89a not a picture we take"), 415),
        (data_url(b"\x89PNG\r\n\x1a\n" + b"\0" * 40), 400),
    ],
)
async def test_what_is_no_photo_is_refused_and_nothing_is_kept(works: Any, content: str, status: int) -> None:
    got, _, body = await kept_for_a_task(works, content, user=new_id())
    assert got == status, body
    assert await loose(works) == set()


async def test_the_small_picture_goes_with_its_picture(works: Any, pictures: Any) -> None:
    user = new_id()
    file = await uploaded(works, pictures.png(), user=user)
    small, former = thumbnail_key(file["file_path"]), former_thumbnail_key(file["file_path"])
    assert small is not None
    assert former is not None
    assert former != small
    for one in (small, former):
        await works.deps.thumbnails.look(one)
        assert await is_there(works, one)
    await take_back(works, file, user=user)
    await look(works, hours=3)
    assert [await is_there(works, one) for one in (small, former)] == [False, False]


async def test_what_a_work_shows_stays(works: Any, pictures: Any) -> None:
    user = new_id()
    file = await uploaded(works, pictures.png(), user=user)
    status, _, work = await works.ask("POST", "/works", user=user, json={"title": "x", "image": file["file_url"]})
    assert status == 201
    await take_back(works, file, user=user)
    await look(works, hours=3)
    assert (await works.follow((await works.ask("GET", f"/works/{work['objectId']}", user=user))[2]["imageUrl"]))[0] == 200
    assert await loose(works) == set()


async def test_the_picture_of_a_person_stays(works: Any, pictures: Any) -> None:
    user = new_id()
    file = await uploaded(works, pictures.png(), user=user)
    await works.db.fetchval("INSERT INTO person (user_id, name, avatar_key, sequence) VALUES ($1, 'Ann', $2, 1) RETURNING name", user, file["file_path"])
    await take_back(works, file, user=user)
    await look(works, hours=3)
    assert await is_there(works, file["file_path"])


async def test_a_picture_that_is_sent_again_stays(works: Any, pictures: Any) -> None:
    user = new_id()
    file = await uploaded(works, pictures.png(), user=user)
    await take_back(works, file, user=user)
    works.clock.move(seconds=3 * 3600)
    await uploaded(works, pictures.png(), user=user)
    await look(works, hours=30)
    assert await is_there(works, file["file_path"])


async def test_another_users_same_picture_stays(works: Any, pictures: Any) -> None:
    one, other = new_id(), new_id()
    mine, theirs = await uploaded(works, pictures.png(), user=one), await uploaded(works, pictures.png(), user=other)
    await take_back(works, mine, user=one)
    await look(works, hours=3)
    assert (await is_there(works, mine["file_path"]), await is_there(works, theirs["file_path"])) == (False, True)


async def test_a_picture_sent_again_while_its_bytes_are_removed_is_there_afterwards(works: Any, pictures: Any) -> None:
    user = new_id()
    file = await uploaded(works, pictures.png(), user=user)
    await take_back(works, file, user=user)
    works.clock.move(seconds=3 * 3600)
    async with works.db.transaction() as tx:
        assert await commands.claim_unnamed(tx, file["file_path"])
        sending = asyncio.create_task(works.upload(pictures.png(), user=user))
        await asyncio.sleep(0.3)
        assert not sending.done()
        await works.deps.objects.delete(file["file_path"])
    status, _, body = await sending
    assert status == 200
    assert (await works.follow(body["data"]["file_url"]))[0] == 200
    await look(works, hours=30)
    assert await is_there(works, file["file_path"])


async def test_many_uploads_and_deletions_of_one_picture_end_in_rows_and_bytes_that_agree(works: Any, pictures: Any) -> None:
    user = new_id()
    path = (await uploaded(works, pictures.png(), user=user))["file_path"]
    name = path.rpartition("/")[2]

    async def keep_looking() -> None:
        for _ in range(20):
            works.clock.move(seconds=7300)
            await upkeep.remove_loose_objects(works.deps)
            await asyncio.sleep(0.01)

    async def send_and_take() -> None:
        for _ in range(4):
            assert (await works.upload(pictures.png(), user=user))[0] == 200
            assert (await works.ask("DELETE", f"/api/upload/{name}", user=user))[0] in (200, 404)

    await asyncio.gather(keep_looking(), *(send_and_take() for _ in range(3)))
    rows = await works.db.fetchval("SELECT count(*) FROM file")
    kept = await works.db.fetchrow("SELECT files, bytes FROM storage WHERE user_id = $1", user)
    assert kept["files"] == rows
    await uploaded(works, pictures.png(), user=user)
    await look(works, hours=30)
    assert await is_there(works, path)


async def test_bytes_whose_row_never_came_are_removed_a_day_later(works: Any, pictures: Any) -> None:
    deps = works.deps
    async with deps.intake.receive(in_chunks(pictures.png())) as spooled, deps.intake.cleaned(spooled, file_id=new_id(), user_id=new_id()) as ready:
        await deps.expect_file(ready.file)
        await deps.intake.put(ready)
    assert await loose(works) == {ready.file.key}
    await look(works, hours=23)
    assert await is_there(works, ready.file.key)
    await look(works, hours=2)
    assert not await is_there(works, ready.file.key)


async def test_bytes_that_an_upload_is_about_to_name_stay_although_the_same_picture_is_taken_back(works: Any, pictures: Any) -> None:
    user = new_id()
    file, intake = await uploaded(works, pictures.png(), user=user), works.deps.intake
    async with intake.receive(in_chunks(pictures.png())) as spooled, intake.cleaned(spooled, file_id=new_id(), user_id=user) as ready:
        await works.deps.expect_file(ready.file)
        await intake.put(ready)
        await take_back(works, file, user=user)
        await look(works, hours=3)
        assert (ready.file.key, await is_there(works, ready.file.key)) == (file["file_path"], True)


async def test_bytes_of_a_second_picture_under_one_name_are_removed_a_day_later(works: Any, pictures: Any) -> None:
    deps, file_id, user = works.deps, new_id(), new_id()
    files = []
    for side in (48, 50):
        async with (
            deps.intake.receive(in_chunks(pictures.png(size=(64, side)))) as spooled,
            deps.intake.cleaned(spooled, file_id=file_id, user_id=user) as ready,
        ):
            await deps.expect_file(ready.file)
            await deps.intake.put(ready)
        files.append(ready.file)
    await deps.save_file(files[0])
    with pytest.raises(IdempotencyKeyReused):
        await deps.save_file(files[1])
    await look(works, hours=25)
    assert [await is_there(works, file.key) for file in files] == [True, False]
    assert await loose(works) == set()


async def test_upkeep_goes_on_after_a_store_that_was_away(works: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    user = new_id()
    file = await uploaded(works, pictures.png(), user=user)
    await take_back(works, file, user=user)
    works.clock.move(seconds=3 * 3600)

    async def away(_self: Any, _key: str) -> None:
        raise Unavailable("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(type(works.deps.objects), "delete", away)
        with pytest.raises(Unavailable):
            await upkeep.remove_loose_objects(works.deps)
    assert await loose(works) == {file["file_path"]}
    await upkeep.remove_loose_objects(works.deps)
    assert not await is_there(works, file["file_path"])


async def test_one_object_that_the_store_does_not_let_go_keeps_no_other(works: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    user, remove = new_id(), works.deps.objects.delete
    held, other = [await uploaded(works, pictures.png(size=(64, side)), user=user) for side in (48, 50)]
    for file in (held, other):
        await take_back(works, file, user=user)
        works.clock.move(seconds=1)

    async def refuse(key: str) -> None:
        if key == held["file_path"]:
            raise Unavailable("the object store refused")
        await remove(key)

    monkeypatch.setattr(works.deps.objects, "delete", refuse)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await look(works, hours=3)
    assert [await is_there(works, file["file_path"]) for file in (held, other)] == [True, False]
    assert await loose(works) == {held["file_path"]}


class TestLittleRoom:
    """A user who may keep little."""

    @pytest.fixture
    def storage(self) -> StorageTerms:
        return replace(WorksSettings.model_construct().storage, bytes_max=1000, deleted_wait=timedelta(0))

    async def test_what_does_not_fit_is_refused_and_fits_once_there_is_room(self, works: Any, pictures: Any) -> None:
        user = new_id()
        files: list[Any] = []
        while True:
            status, headers, body = await works.upload(pictures.png(size=(64, 48 + len(files))), user=user)
            if status != 200:
                break
            files.append(body["data"])
        assert (status, headers["X-Error-Code"], body["success"]) == (413, "60004", False)
        assert len(files) > 1
        kept = await works.db.fetchval("SELECT bytes FROM storage WHERE user_id = $1", user)
        assert kept == sum(file["file_size"] for file in files) <= 1000
        assert await works.db.fetchval("SELECT count(*) FROM file") == len(files)
        assert (await works.upload(pictures.png(), user=new_id()))[0] == 200
        await take_back(works, files[0], user=user)
        assert (await works.upload(pictures.png(), user=user))[0] == 200

    async def test_who_has_no_room_left_announces_nothing(self, works: Any, pictures: Any) -> None:
        user = new_id()
        await uploaded(works, pictures.png(), user=user)
        await works.db.fetch("UPDATE storage SET bytes = 1000")
        status, headers, _ = await works.ask("POST", "/v1/uploads", user=user, json={"size_bytes": 10})
        assert (status, headers["X-Error-Code"]) == (413, "60004")

    async def test_many_at_once_do_not_get_past_the_limit(self, works: Any, pictures: Any) -> None:
        user = new_id()
        answers = await asyncio.gather(*(works.upload(pictures.png(size=(64, 48 + place)), user=user) for place in range(20)))
        kept = await works.db.fetchrow("SELECT files, bytes FROM storage WHERE user_id = $1", user)
        assert {status for status, _, _ in answers} == {200, 413}
        assert kept["files"] == sum(status == 200 for status, _, _ in answers)
        assert kept["bytes"] <= 1000
        await look(works, hours=30)
        rows = {row["key"] for row in await works.db.fetch("SELECT key FROM file")}
        assert all([await is_there(works, key) for key in rows])
        assert await loose(works) == set()

    async def test_several_files_fit_together_or_not_at_all(self, works: Any, pictures: Any) -> None:
        user, sent = new_id(), FormData()
        for place in range(20):
            sent.add_field("files", pictures.png(size=(64, 48 + place)), filename="a.png")
        status, headers, _ = await works.ask("POST", "/api/upload/multiple", user=user, data=sent)
        assert (status, headers["X-Error-Code"]) == (413, "60004")
        assert await works.db.fetchval("SELECT count(*) FROM file") == 0


async def test_operators_set_how_large_a_file_may_be(works: Any, pictures: Any) -> None:
    large = pictures.jpeg() + bytes(2 * 1024**2)
    assert (await works.upload(large, user=new_id()))[0] == 200
    status, _, entry = await works.ask("PUT", "/internal/admin/config/max_upload_size", user=new_id(), role="admin", json={"config_value": "2"})
    assert (status, entry["config_value"]) == (200, 2)
    status, headers, _ = await works.upload(large, user=new_id())
    assert (status, headers["X-Error-Code"]) == (413, "60001")
    assert (await works.upload(pictures.jpeg(), user=new_id()))[0] == 200
    for wrong in (0, 51, "x", None, 1.5):
        assert (await works.ask("PUT", "/internal/admin/config/max_upload_size", user=new_id(), role="admin", json={"config_value": wrong}))[0] == 400
    assert (await works.ask("PUT", "/internal/admin/config/max_upload_size", user=new_id(), json={"config_value": 3}))[0] == 403
    status, _, body = await works.ask("GET", "/internal/admin/config", user=new_id(), role="admin")
    assert [(entry["config_key"], entry["config_value"]) for entry in body["configs"]] == [("max_upload_size", 2)]


async def test_a_deletion_of_what_never_was_leaves_nothing_to_look_at(works: Any) -> None:
    await works.ask("DELETE", f"/api/upload/{'0' * 64}.png", user=new_id())
    assert await loose(works) == set()


async def made(works: Any, folder: str, content: bytes, *, extension: str = "webp", named: str = "0-") -> str:
    """Bytes as a worker stores them; answers their key."""
    key = f"results/{folder}/{named}{hashlib.sha256(content).hexdigest()}.{extension}"
    await works.deps.objects.put(key, content, "audio/ogg" if extension == "ogg" else "image/webp")
    return key


def item_of(key: str, *, cover: str | None = None) -> Item:
    digest = key.rpartition("-")[2].partition(".")[0].rpartition("/")[2]
    return Item(index=0, key=key, sha256=digest, size_bytes=9, content_type="audio/ogg" if cover else "image/webp", width=8, height=6, cover_key=cover)


async def finished(works: Any, facts: Any, user: UUID, *keys: str, task_id: UUID, work_id: UUID | None = None, cover: str | None = None) -> UUID:
    """A task that delivered these."""
    kind = "song" if cover else "travel"
    items = tuple(item_of(key, cover=cover) for key in keys)
    told = {"work_id": work_id, "kind": kind}
    await works.tell(facts.created(task_id, user, **told), facts.completed(task_id, user, **told, items=items, delivered=len(items)))
    return task_id


async def delete(works: Any, work_id: object, *, user: UUID) -> None:
    assert (await works.ask("DELETE", f"/api/works/{work_id}", user=user))[0] == 200


async def test_everything_a_task_made_goes_with_its_work_and_nothing_of_another(works: Any, facts: Any, pictures: Any) -> None:
    user, task_id, other_id = new_id(), new_id(), new_id()
    picture = pictures.encoded(pictures.plain(), "WEBP")
    key, others = await made(works, str(task_id), picture), await made(works, str(other_id), picture)
    small = thumbnail_key(key)
    assert small is not None
    late = await made(works, str(task_id), b"of a worker that came too late")
    await finished(works, facts, user, key, task_id=task_id)
    await finished(works, facts, user, others, task_id=other_id)
    await works.deps.thumbnails.look(small)
    await delete(works, task_id, user=user)
    await look(works, hours=1.9)
    assert [await is_there(works, one) for one in (key, small, late)] == [True, True, True], "somebody may hold a link, and a task may still read it"
    await look(works, hours=0.2)
    assert [await is_there(works, one) for one in (key, small, late)] == [False, False, False]
    assert await is_there(works, others)
    assert await loose(works) == set()


async def test_songs_go_with_their_photo_and_the_photo_with_the_last_that_shows_it(works: Any, facts: Any, pictures: Any) -> None:
    user, task_id = new_id(), new_id()
    file = await uploaded(works, pictures.png(), user=user)
    first, second = [(await works.ask("POST", "/works", user=user, json={"title": "x", "image": file["file_url"]}))[2]["objectId"] for _ in range(2)]
    song, cover = await made(works, str(task_id), b"a song", extension="ogg"), await made(works, str(task_id), b"a cover", named="cover-")
    await finished(works, facts, user, song, task_id=task_id, work_id=UUID(first), cover=cover)
    await take_back(works, file, user=user)
    await delete(works, first, user=user)
    await look(works, hours=3)
    assert [await is_there(works, one) for one in (song, cover)] == [False, False]
    assert await is_there(works, file["file_path"]), "the other work shows it"
    await delete(works, second, user=user)
    await look(works, hours=3)
    assert not await is_there(works, file["file_path"])
    assert await loose(works) == set()


async def test_a_photo_that_came_with_its_work_goes_with_it_unless_another_shows_it(works: Any, pictures: Any) -> None:
    user = new_id()
    work = (await works.ask("POST", "/works", user=user, json={"title": "x", "image": data_url(pictures.png())}))[2]
    other = (await works.ask("POST", "/works", user=user, json={"title": "x", "image": work["imageUrl"]}))[2]["objectId"]
    key = await works.db.fetchval("SELECT key FROM file")
    await delete(works, work["objectId"], user=user)
    assert dict(await works.db.fetchrow("SELECT files, bytes FROM storage")) == {"files": 0, "bytes": 0}
    await look(works, hours=3)
    assert await is_there(works, key), "the other work shows it"
    await delete(works, other, user=user)
    await look(works, hours=3)
    assert not await is_there(works, key)
    assert await loose(works) == set()


async def test_a_song_that_comes_after_its_photo_was_deleted_goes_too(works: Any, facts: Any) -> None:
    user, task_id = new_id(), new_id()
    photo = (await works.ask("POST", "/works", user=user, json={"title": "x"}))[2]["objectId"]
    await delete(works, photo, user=user)
    song, cover = await made(works, str(task_id), b"a song", extension="ogg"), await made(works, str(task_id), b"a cover", named="cover-")
    told = {"work_id": UUID(photo), "kind": "song"}
    async with works.db.transaction() as tx:
        events = [facts.created(task_id, user, **told), facts.completed(task_id, user, **told, items=(item_of(song, cover=cover),))]
        await consumers.on_task_told(works.deps, tx, events)
    await look(works, hours=3)
    assert [await is_there(works, one) for one in (song, cover)] == [False, False]


async def test_a_song_heard_while_its_photo_is_deleted_goes_too(works: Any, facts: Any) -> None:
    user, task_id = new_id(), new_id()
    photo = UUID((await works.ask("POST", "/works", user=user, json={"title": "x"}))[2]["objectId"])
    await finished(
        works, facts, user, await made(works, "before", b"the first song", extension="ogg"), task_id=new_id(), work_id=photo, cover="results/before/c.webp"
    )
    song = await made(works, str(task_id), b"a song", extension="ogg")

    async def hear() -> None:
        async with works.db.transaction() as tx:
            told = facts.completed(task_id, user, work_id=photo, kind="song", items=(item_of(song, cover=song),))
            await consumers.on_task_told(works.deps, tx, [told])

    async with works.db.transaction() as tx:
        await commands.delete_works(tx, user, [photo], works.deps.storage)
        hearing = asyncio.create_task(hear())
        await asyncio.wait([hearing], timeout=0.5)
    await hearing
    await look(works, hours=3)
    assert not await is_there(works, song)


@pytest.mark.parametrize("heard_late", [False, True])
async def test_what_a_song_left_that_never_came_goes_with_its_photo(works: Any, facts: Any, heard_late: bool) -> None:
    user, task_id = new_id(), new_id()
    photo = UUID((await works.ask("POST", "/works", user=user, json={"title": "x"}))[2]["objectId"])
    late = await made(works, str(task_id), b"of a worker that came too late", extension="ogg")
    told = [facts.created(task_id, user, work_id=photo, kind="song"), facts.failed(task_id, user, work_id=photo, kind="song")]
    if not heard_late:
        await works.tell(*told)
    await delete(works, photo, user=user)
    if heard_late:
        async with works.db.transaction() as tx:
            await consumers.on_task_told(works.deps, tx, told)
    await look(works, hours=3)
    assert not await is_there(works, late)
    assert await loose(works) == set()


async def test_what_several_tasks_share_is_nobodys_to_remove(works: Any, facts: Any) -> None:
    user = new_id()
    shared = await made(works, "instant", b"the same for everybody", named="")
    mine, theirs = [await finished(works, facts, one, shared, task_id=new_id()) for one in (user, new_id())]
    await delete(works, mine, user=user)
    await works.db.fetchval("INSERT INTO loose_object (key, look_at) VALUES ($1, $2) RETURNING key", shared, works.clock.now())
    await look(works, hours=3)
    assert await is_there(works, shared)
    assert (await works.ask("GET", f"/api/works/{theirs}", role="admin", user=user))[0] == 200
    assert await loose(works) == set()


async def test_a_deletion_that_dies_at_any_point_loses_nothing_and_is_finished_later(works: Any, facts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    user, task_id = new_id(), new_id()
    key = await made(works, str(task_id), b"a result")
    await finished(works, facts, user, key, task_id=task_id)

    class Died(BaseException):
        """What a process does not catch."""

    with pytest.raises(Died):
        async with works.db.transaction() as tx:
            await commands.delete_works(tx, user, [task_id], works.deps.storage)
            raise Died
    await look(works, hours=3)
    assert (await is_there(works, key), (await works.ask("GET", f"/api/works/{task_id}", user=user))[0]) == (True, 200)

    await delete(works, task_id, user=user)
    for name in ("list_keys", "delete"):
        there = getattr(works.deps.objects, name)

        async def die(key: str, there: Any = there) -> None:
            await there(key)
            raise Died

        with monkeypatch.context() as patched:
            patched.setattr(works.deps.objects, name, die)
            with pytest.raises(Died):
                await look(works, hours=3)
        assert await loose(works), name
    await look(works, hours=0)
    assert not await is_there(works, key)
    assert await loose(works) == set()


async def test_a_store_that_shows_no_folder_keeps_nothing_else_from_going(works: Any, facts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    user, task_id = new_id(), new_id()
    key = await made(works, str(task_id), b"a result")
    await finished(works, facts, user, key, task_id=task_id)
    await delete(works, task_id, user=user)

    async def refuse(_folder: str) -> list[str]:
        raise Unavailable("the object store refused")

    with monkeypatch.context() as patched:
        patched.setattr(works.deps.objects, "list_keys", refuse)
        await look(works, hours=3)
    assert not await is_there(works, key)
    assert await loose(works) == {f"results/{task_id}/"}
    await look(works, hours=25)
    assert await loose(works) == set()


async def test_the_picture_that_somebody_replaced_goes(works: Any, facts: Any, pictures: Any) -> None:
    user = new_id()
    old, new = [(await uploaded(works, pictures.png(size=(64, side)), user=user))["file_path"] for side in (48, 50)]

    async def called(*told: tuple[int, str]) -> None:
        said = [UserUpdated(sequence=sequence, user_id=user, name="Ann", role="user", status="active", avatar_key=key) for sequence, key in told]
        async with works.db.transaction() as tx:
            await consumers.on_user_told(works.deps, tx, [facts.event(fact) for fact in said])

    await called((2, old))
    await take_back(works, {"file_name": old.rpartition("/")[2]}, user=user)
    await look(works, hours=3)
    assert (await is_there(works, old), await loose(works)) == (True, set())
    for _ in range(2):
        await called((3, new), (2, old))
    await called((2, old))
    await take_back(works, {"file_name": new.rpartition("/")[2]}, user=user)
    await look(works, hours=3)
    assert (await is_there(works, old), await is_there(works, new)) == (False, True)
    assert await loose(works) == set()
