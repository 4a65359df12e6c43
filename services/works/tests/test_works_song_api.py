"""Works in the song dialect: photos kept by hand, songs, the gallery."""

import asyncio
import base64
import hashlib
import io
from itertools import product
from typing import Any
from uuid import UUID

import pytest
from aiohttp import FormData

from common.events import Event, UserRegistered
from common.ids import new_id
from works import commands


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


async def create(works: Any, user: UUID, *, key: str | None = None, **body: Any) -> tuple[int, Any, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    answer: tuple[int, Any, Any] = await works.ask("POST", "/works", user=user, json={"title": "Sea", **body}, headers=headers)
    return answer


async def listed(works: Any, query: str = "", **who: Any) -> tuple[list[str], int]:
    status, _, body = await works.ask("GET", f"/works{query}", **who)
    assert status == 200, body
    return [work["title"] for work in body["results"]], body["total"]


async def called(works: Any, user: UUID, name: str, avatar_key: str | None = None) -> None:
    async with works.db.transaction() as tx:
        fact = UserRegistered(sequence=1, user_id=user, name=name, avatar_key=avatar_key, source="email")
        await commands.keep_names(tx, [Event(new_id(), fact, tx.now)])


async def test_a_photo_sent_as_json_is_a_work_without_audio(works: Any, pictures: Any) -> None:
    user = new_id()
    await called(works, user, "ada")
    status, headers, work = await create(works, user, description="by the sea", image=data_url(pictures.png()), style="folk", tags=["sea", "sun"])
    assert status == 201, work
    assert headers["Location"] == f"/works/{work['objectId']}"
    image = work.pop("imageUrl")
    assert work == {
        "objectId": work["objectId"], "title": "Sea", "description": "by the sea", "audioUrl": None, "status": "created", "type": "photo", "style": "folk",
        "creator": {"objectId": str(user), "username": "ada", "avatar": None}, "tags": ["sea", "sun"], "plays": 0, "likes": 0, "isPublic": False,
        "createdAt": "2026-01-01T01:00:00.000Z", "updatedAt": "2026-01-01T01:00:00.000Z",
    }  # fmt: skip
    assert (await works.follow(image))[0] == 200
    assert (await works.ask("GET", headers["Location"], user=user))[2]["title"] == "Sea"
    said = await works.db.fetch("SELECT payload FROM outbox_fact WHERE topic = 'work.created'")
    assert len(said) == 1
    assert work["objectId"] in said[0]["payload"]


async def test_a_photo_kept_by_hand_shows_in_the_other_dialect_too(works: Any, pictures: Any) -> None:
    user = new_id()
    _, _, kept = await create(works, user, image=data_url(pictures.png()))
    _, _, body = await works.ask("GET", f"/api/works/{kept['objectId']}", user=user)
    work = body["data"]["work"]
    assert (work["type"], work["status"], work["task_id"], [image["format"] for image in work["images"]]) == ("photo", "created", None, ["png"])


async def test_a_photo_sent_as_a_form_is_the_same_work(works: Any, pictures: Any) -> None:
    form = FormData()
    for name, value in (("title", "Sea"), ("style", "folk"), ("tags", "sea"), ("tags", "sun"), ("isPublic", "true")):
        form.add_field(name, value)
    form.add_field("image", pictures.jpeg(), filename="x.jpg", content_type="image/jpeg")
    status, _, work = await works.ask("POST", "/works", user=new_id(), data=form)
    assert status == 201, work
    assert (work["title"], work["style"], work["tags"], work["isPublic"]) == ("Sea", "folk", ["sea", "sun"], True)
    assert (await works.follow(work["imageUrl"]))[1]["Content-Type"] == "image/jpeg"


async def test_a_photo_in_a_form_may_leave_its_type_unsaid(works: Any, pictures: Any) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nSea\r\n--b\r\nContent-Disposition: form-data; name="image"; filename="x.jpg"\r\n\r\n'
    data, headers = head + pictures.jpeg() + b"\r\n--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}
    status, _, work = await works.ask("POST", "/works", user=new_id(), data=data, headers=headers)
    assert status == 201, work
    assert (await works.follow(work["imageUrl"]))[1]["Content-Type"] == "image/jpeg"


async def test_a_file_under_another_name_is_told_the_right_one_whatever_its_size(works: Any) -> None:
    places = (("/works", "file", "image"), ("/api/upload/single", "files", "file"), ("/api/upload/multiple", "photo", "files"))
    for (path, name, expected), size_bytes in product(places, (0, 300, 300_000, 9_000_000)):
        form = FormData()
        form.add_field(name, io.BytesIO(b"\xff" * size_bytes), filename="photo.jpg", content_type="image/jpeg")
        form.add_field("title", "Lake")
        status, headers, body = await works.ask("POST", path, user=new_id(), data=form)
        assert (status, headers["X-Error-Code"]) == (400, "10001"), (path, size_bytes, body)
        [error] = body["errors"] if "errors" in body else body["details"]["errors"]
        assert (error["field"], repr(name) in error["message"]) == (expected, True)
    assert await works.db.fetchval("SELECT (SELECT count(*) FROM work) + (SELECT count(*) FROM file)") == 0


async def test_a_form_may_send_its_tags_as_one_list(works: Any) -> None:
    form = FormData({"title": "Sea", "tags": '["sea", "sun"]'}, default_to_multipart=True)
    assert (await works.ask("POST", "/works", user=new_id(), data=form))[2]["tags"] == ["sea", "sun"]


async def test_an_upload_of_mine_may_be_the_image_at_any_age(works: Any, pictures: Any) -> None:
    user = new_id()
    _, _, upload = await works.upload(pictures.png(), user=user)
    works.clock.move(seconds=100_000)
    status, _, work = await create(works, user, image=upload["data"]["file_url"])
    assert status == 201, work
    assert works.deps.signer.key_of(work["imageUrl"]) == upload["data"]["file_path"]


async def test_an_upload_named_in_a_form_is_text_also_where_the_client_says_so(works: Any, pictures: Any) -> None:
    user, form = new_id(), FormData()
    _, _, upload = await works.upload(pictures.png(), user=user)
    for name, value in (("title", "Sea"), ("image", upload["data"]["file_url"])):
        form.add_field(name, value, content_type="text/plain; charset=utf-8")
    status, _, work = await works.ask("POST", "/works", user=user, data=form)
    assert status == 201, work
    assert work["imageUrl"] == upload["data"]["file_url"]


async def test_a_work_needs_no_image(works: Any) -> None:
    user = new_id()
    for image in ({}, {"image": None}, {"image": ""}):
        status, _, work = await create(works, user, **image)
        assert (status, work["imageUrl"]) == (201, None)


async def test_anothers_upload_is_no_image_of_mine(works: Any, pictures: Any) -> None:
    _, _, upload = await works.upload(pictures.png(), user=new_id())
    user = new_id()
    never_uploaded = works.deps.signer.sign(f"uploads/{user}/{'ab' * 32}.png", now=works.clock.now())
    result = works.deps.signer.sign(f"results/{new_id()}/0-{'ab' * 32}.png", now=works.clock.now())
    for url in (upload["data"]["file_url"], never_uploaded, result):
        status, headers, body = await create(works, user, image=url)
        assert (status, headers["X-Error-Code"], body["code"]) == (400, "10001", 10001)
        assert "image" in str(body["details"])
    assert await works.db.fetchval("SELECT count(*) FROM work") == 0


REFUSED_IMAGES: dict[str, tuple[str, int, int]] = {
    "another site": ("https://example.com/a.png", 400, 10001),
    "the machine itself": ("http://127.0.0.1/files/x", 400, 10001),
    "a file of ours without signature": ("http://gateway/files/uploads/x/y.png", 400, 10001),
    "a path": ("/etc/passwd", 400, 10001),
    "HTML": ("data:text/html;base64,PGI+", 400, 10001),
    "SVG": ("data:image/svg+xml;base64,PHN2Zy8+", 400, 10001),
    "not base64": ("data:image/png,abc", 400, 10001),
    "a bad alphabet": ("data:image/png;base64,????", 400, 10001),
    "other digits": ("data:image/png;base64,٣٣٣٣", 400, 10001),
    "bad padding": ("data:image/png;base64,abc", 400, 10001),
    "no bytes": ("data:image/png;base64,", 422, 30001),
    "no picture": (data_url(b"<html>"), 422, 30001),
    "half a picture": (data_url(b"\x89PNG\r\n\x1a\n" + bytes(50)), 422, 30001),
    "too long": ("data:image/png;base64," + "A" * (15 * 1024**2), 413, 60001),
}


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("what", REFUSED_IMAGES)
async def test_an_image_that_is_none_is_refused_and_nothing_is_kept(works: Any, what: str) -> None:
    image, status, code = REFUSED_IMAGES[what]
    got, headers, body = await create(works, new_id(), image=image)
    assert (got, headers["X-Error-Code"], body["code"]) == (status, str(code), code), body
    assert set(body) == {"code", "message", "details", "timestamp"}
    assert await works.db.fetchval("SELECT (SELECT count(*) FROM work) + (SELECT count(*) FROM file) + (SELECT count(*) FROM outbox_fact)") == 0
    assert list((works.folder / "spool").iterdir()) == []


async def test_a_vast_picture_is_too_large(works: Any, pictures: Any) -> None:
    status, _, body = await create(works, new_id(), image=data_url(pictures.claimed_png(30_000, 30_000)))
    assert (status, body["code"]) == (413, 60001)


@pytest.mark.parametrize("body", [
    {}, {"title": ""}, {"title": "  "}, {"title": 5}, {"title": None}, {"title": "x" * 201}, {"title": "x\0"}, {"title": "x", "tags": "sea"},
    {"title": "x", "tags": [""]}, {"title": "x", "tags": ["y"] * 21}, {"title": "x", "tags": [["y"]]}, {"title": "x", "image": 5},
    {"title": "x", "description": "y" * 5001}, {"title": "x", "isPublic": "maybe"}, {"title": "x", "style": ["a"]},
])  # fmt: skip
async def test_a_broken_work_is_refused_by_field(works: Any, body: Any) -> None:
    status, headers, answer = await works.ask("POST", "/works", user=new_id(), json=body)
    assert (status, headers["X-Error-Code"], answer["code"]) == (400, "10001", 10001)
    assert answer["details"]
    assert await works.db.fetchval("SELECT count(*) FROM work") == 0


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b'{"title": NaN}', b'{"title": 1e999}', b'{"title":"a","title":"b"}', b"\xef\xbb\xbf{}", b"\xff", b"[" * 100_000],
)
async def test_broken_json_is_refused_in_the_dialect(works: Any, body: bytes) -> None:
    status, _, answer = await works.ask("POST", "/works", user=new_id(), data=body, headers={"Content-Type": "application/json"})
    assert (status, answer["code"]) == (400, 10001)


async def test_a_broken_form_is_refused_in_the_dialect(works: Any) -> None:
    for sent in (b"", b"--b", b"--b\r\n\r\n", b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\n\xff\r\n--b--\r\n'):
        status, _, answer = await works.ask("POST", "/works", user=new_id(), data=sent, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert (status, answer["code"]) == (400, 10001)


async def test_what_only_we_decide_cannot_be_sent(works: Any) -> None:
    user = new_id()
    _, _, work = await create(works, user, status="completed", plays=9, likes=9, creator=str(new_id()), objectId=str(new_id()), user_id=str(new_id()))
    assert (work["status"], work["plays"], work["likes"], work["creator"]["objectId"]) == ("created", 0, 0, str(user))


async def test_the_same_key_is_the_same_work_and_another_body_under_it_is_refused(works: Any, pictures: Any) -> None:
    user, image = new_id(), data_url(pictures.png())
    first = await create(works, user, key="k", image=image)
    again = await create(works, user, key="k", image=image)
    assert (first[0], again[0], first[2]["objectId"]) == (201, 201, again[2]["objectId"])
    assert ("Idempotent-Replayed" in first[1], again[1].get("Idempotent-Replayed")) == (False, "true")
    for other in ({"image": image, "title": "Other"}, {"image": data_url(pictures.png(colour="red"))}, {"image": None}, {"image": image, "isPublic": True}):
        status, headers, _ = await create(works, user, key="k", **other)
        assert (status, headers["X-Error-Code"]) == (422, "10006")
    assert await works.db.fetchval("SELECT count(*) FROM work") == 1
    assert await works.db.fetchval("SELECT sum(created) FROM shelf") == 1
    assert await works.db.fetchval("SELECT count(*) FROM outbox_fact") == 1


async def test_a_key_names_the_same_ask_whenever_its_link_was_signed(works: Any, pictures: Any) -> None:
    user = new_id()
    _, _, upload = await works.upload(pictures.png(), user=user)
    path = upload["data"]["file_path"]
    first = await create(works, user, key="k", image=works.deps.signer.sign(path, now=works.clock.now()))
    works.clock.move(seconds=5000)
    again = await create(works, user, key="k", image=works.deps.signer.sign(path, now=works.clock.now()))
    assert first[2]["objectId"] == again[2]["objectId"]


async def test_a_hundred_creations_at_once_under_one_key_are_one(works: Any, pictures: Any) -> None:
    user, image = new_id(), data_url(pictures.png())
    answers = await asyncio.gather(*(create(works, user, key="k", image=image) for _ in range(50)))
    answers += await asyncio.gather(*(create(works, user, key="j") for _ in range(50)))
    assert {status for status, _, _ in answers} == {201}
    assert len({body["objectId"] for _, _, body in answers}) == 2
    assert sum("Idempotent-Replayed" not in headers for _, headers, _ in answers) == 2
    assert await works.db.fetchval("SELECT count(*) FROM work") == await works.db.fetchval("SELECT count(*) FROM outbox_fact") == 2
    assert await works.db.fetchval("SELECT created FROM shelf WHERE user_id = $1", user) == 2


async def test_the_gallery_shows_public_works_and_mine(works: Any) -> None:
    one, other = new_id(), new_id()
    for user, title, is_public in ((one, "mine", False), (one, "mine for all", True), (other, "theirs", False), (other, "theirs for all", True)):
        works.clock.move(seconds=1)
        await create(works, user, title=title, isPublic=is_public)
    assert await listed(works, user=one) == (["theirs for all", "mine for all", "mine"], 3)
    assert await listed(works, user=other) == (["theirs for all", "theirs", "mine for all"], 3)
    assert await listed(works) == (["theirs for all", "mine for all"], 2)
    assert await listed(works, f"?creator={other}", user=one) == (["theirs for all"], 1)
    assert await listed(works, f"?creator={one}", user=one) == (["mine for all", "mine"], 2)
    assert await listed(works, f"?creator={one}", user=new_id(), role="admin") == (["mine for all", "mine"], 2)
    assert await listed(works, "?creator=&tag=&page=&limit=", user=one) == (["theirs for all", "mine for all", "mine"], 3)
    assert await listed(works, f"?creator={new_id()}", user=one) == ([], 0)
    assert await listed(works, "?creator=nobody", user=one) == ([], 0)


async def test_tags_find_works(works: Any) -> None:
    one, other = new_id(), new_id()
    await create(works, one, title="a", tags=["sea", "sun"], isPublic=True)
    await create(works, one, title="b", tags=["sea"])
    await create(works, other, title="c", tags=["seas"], isPublic=True)
    found, total = await listed(works, "?tag=sea", user=one)
    assert (sorted(found), total) == (["a", "b"], 2)
    assert await listed(works, "?tag=sea", user=other) == (["a"], 1)
    assert await listed(works, "?tag=sun'%20OR%20true--", user=other) == ([], 0)


async def test_pages_of_the_gallery_are_disjoint_and_complete(works: Any) -> None:
    one = new_id()
    for number in range(25):
        works.clock.move(seconds=1)
        await create(works, one if number % 2 else new_id(), title=str(number), isPublic=number % 3 == 0)
    expected = [str(number) for number in reversed(range(25)) if number % 2 or number % 3 == 0]
    found = []
    for page in range(1, 6):
        titles, total = await listed(works, f"?page={page}&limit=4", user=one)
        assert total == len(expected)
        found += titles
    assert found == expected


@pytest.mark.parametrize(
    "query", ["limit=-1", "limit=0", "limit=1.5", "limit=101", "limit=1000000000", "page=0", "page=1000000000", "page=x", "page=200&limit=100"]
)
async def test_a_broken_page_is_refused(works: Any, query: str) -> None:
    status, _, body = await works.ask("GET", f"/works?{query}", user=new_id())
    assert (status, body["code"]) == (400, 10001)


async def test_another_order_cannot_be_asked_for(works: Any) -> None:
    for number in range(3):
        works.clock.move(seconds=1)
        await create(works, new_id(), title=str(number), isPublic=True)
    assert (await listed(works, "?sort=title&order=asc&orderBy=body"))[0] == ["2", "1", "0"]


async def test_a_work_in_the_making_or_failed_is_not_in_the_gallery_and_its_owner_finds_it(works: Any, facts: Any) -> None:
    user, task = new_id(), new_id()
    await works.tell(facts.created(task, user, kind="song"))
    assert await listed(works, user=user) == ([], 0)
    assert (await works.ask("GET", f"/works/{task}", user=user))[2]["status"] == "processing"
    await works.tell(facts.failed(task, user, kind="song"))
    assert await listed(works, user=user) == ([], 0)
    assert (await works.ask("GET", f"/works/{task}", user=user))[2]["status"] == "failed"


async def test_a_song_is_a_work_with_audio_cover_and_lyrics(works: Any, facts: Any) -> None:
    user, task = new_id(), new_id()
    await works.tell(facts.completed(task, user, kind="song", lyrics="la la", tags=("folk",)))
    _, _, work = await works.ask("GET", f"/works/{task}", user=user)
    song = facts.song(task)
    assert (work["status"], work["lyrics"], work["tags"], "audioUrls" in work) == ("completed", "la la", ["folk"], False)
    assert works.deps.signer.key_of(work["audioUrl"]) == song.key
    assert works.deps.signer.key_of(work["imageUrl"]) == song.cover_key


async def test_songs_added_to_a_photo_are_found_at_the_photo(works: Any, facts: Any) -> None:
    user = new_id()
    _, _, photo = await create(works, user)
    tasks = [new_id(), new_id()]
    for minute, task in enumerate(tasks):
        await works.tell(facts.completed(task, user, kind="song", work_id=UUID(photo["objectId"]), minutes=minute))
    _, _, work = await works.ask("GET", f"/works/{photo['objectId']}", user=user)
    assert work["status"] == "completed"
    assert [works.deps.signer.key_of(url) for url in work["audioUrls"]] == [facts.song(task).key for task in reversed(tasks)]
    assert work["audioUrl"] == work["audioUrls"][0]
    assert await listed(works, user=user) == (["Sea"], 1)
    assert (await works.ask("GET", f"/works/{tasks[0]}", user=user))[0] == 404


async def test_anothers_work_is_like_an_unknown_one(works: Any) -> None:
    _, _, work = await create(works, new_id())
    answers = [await works.ask("GET", f"/works/{work_id}", user=new_id()) for work_id in (work["objectId"], new_id(), "nonsense")]
    answers.append(await works.ask("GET", f"/works/{work['objectId']}"))
    assert {(status, body["code"]) for status, _, body in answers} == {(404, 30000)}


async def test_old_clients_get_pointers(works: Any) -> None:
    user = new_id()
    _, _, work = await create(works, user)
    _, _, pointed = await works.ask("GET", f"/works/{work['objectId']}", user=user, headers={"X-LC-Id": "app"})
    assert pointed["creator"] == {"__type": "Pointer", "className": "_User", "objectId": str(user)}


async def test_a_creators_avatar_is_a_link(works: Any) -> None:
    user = new_id()
    key = f"uploads/{user}/{hashlib.sha256(b'x').hexdigest()}.png"
    await called(works, user, "ada", avatar_key=key)
    _, _, work = await create(works, user)
    assert works.deps.signer.key_of(work["creator"]["avatar"]) == key


async def test_nobody_makes_works_without_a_token(works: Any) -> None:
    assert (await works.ask("POST", "/works", json={"title": "x"}))[0] == 401


async def test_other_services_learn_whose_works_they_are(works: Any, facts: Any, pictures: Any) -> None:
    user, task, song, waiting = new_id(), new_id(), new_id(), new_id()
    _, _, photo = await create(works, user, image=data_url(pictures.png()))
    await works.tell(facts.completed(task, user), facts.completed(song, user, kind="song"), facts.created(waiting, user))
    ids = [photo["objectId"], str(task), str(song), str(waiting), str(new_id())]
    token = works.passes.service("generation", "works")
    status, _, body = await works.ask("POST", "/internal/works/list", json={"work_ids": ids}, headers={"Authorization": f"Bearer {token}"})
    assert status == 200, body
    known = {work["work_id"]: work for work in body["works"]}
    assert set(known) == set(ids[:4])
    assert known[str(task)] == {
        "work_id": str(task), "user_id": str(user), "image_key": facts.picture(task, 0).key, "title": "A trip", "is_favorite": False, "is_public": False,
        "is_deleted": False,
    }  # fmt: skip
    assert known[photo["objectId"]]["image_key"] == works.deps.signer.key_of(photo["imageUrl"])
    assert (known[str(song)]["image_key"], known[str(waiting)]["image_key"]) == (facts.song(song).cover_key, None)

    assert (await works.ask("DELETE", f"/api/works/{task}", user=user))[0] == 200
    _, _, body = await works.ask("POST", "/internal/works/list", json={"work_ids": [str(task)]}, headers={"Authorization": f"Bearer {token}"})
    (left,) = body["works"]
    assert (left["is_deleted"], left["image_key"], left["title"], left["user_id"]) == (True, None, "", str(user))


async def test_users_cannot_ask_what_services_ask(works: Any) -> None:
    body = {"work_ids": [str(new_id())]}
    assert (await works.ask("POST", "/internal/works/list", json=body))[0] == 401
    assert (await works.ask("POST", "/internal/works/list", json=body, user=new_id()))[0] == 403
    assert (await works.ask("POST", "/internal/works/list", json=body, user=new_id(), role="admin"))[0] == 403
