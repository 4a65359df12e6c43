"""Several uploads at once, uploads as text, and taking them back: in the photo dialect, on both stores."""

import asyncio
import base64
import io
import json
import time
from typing import Any
from uuid import UUID

import pytest
from aiohttp import FormData

from common.ids import new_id


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def server(request: pytest.FixtureRequest) -> Any:
    """Everything here holds whatever store the pictures go to."""
    return request.getfixturevalue("s3") if request.param == "s3" else None


def form(contents: list[bytes], *, field: str = "files") -> FormData:
    found = FormData()
    for place, content in enumerate(contents):
        found.add_field(field, content, filename=f"../{place}.png", content_type="image/png")
    return found


async def send(works: Any, contents: list[bytes], *, user: UUID, key: str | None = None, field: str = "files") -> tuple[int, Any, Any]:
    headers = {"Idempotency-Key": key} if key else {}
    answer: tuple[int, Any, Any] = await works.ask("POST", "/api/upload/multiple", user=user, data=form(contents, field=field), headers=headers)
    return answer


def url_of(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


async def send_text(works: Any, path: str, body: Any, *, user: UUID) -> tuple[int, Any, Any]:
    """Megabytes of JSON, as a stream."""
    data = io.BytesIO(json.dumps(body).encode())
    answer: tuple[int, Any, Any] = await works.ask("POST", path, user=user, data=data, headers={"Content-Type": "application/json"})
    return answer


async def files_of(works: Any) -> int:
    return int(await works.db.fetchval("SELECT count(*) FROM file"))


async def test_several_files_are_answered_in_the_order_they_were_sent(works: Any, pictures: Any) -> None:
    user = new_id()
    sent = [pictures.png(size=(10 + place, 10)) for place in range(5)] + [pictures.jpeg()]
    status, _, body = await send(works, sent, user=user)
    assert (status, body["success"]) == (200, True)
    files = body["data"]["files"]
    assert all(set(file) == {"file_name", "file_url", "file_path", "file_size", "mime_type", "file_hash"} for file in files)
    assert [file["mime_type"] for file in files] == ["image/png"] * 5 + ["image/jpeg"]
    rows = {row["key"]: row["width"] for row in await works.db.fetch("SELECT key, width FROM file WHERE user_id = $1", user)}
    assert [rows[file["file_path"]] for file in files] == [10, 11, 12, 13, 14, 64]
    assert {(await works.follow(file["file_url"]))[0] for file in files} == {200}


async def test_one_bad_file_among_many_is_named_and_nothing_is_kept(works: Any, pictures: Any) -> None:
    broken = pictures.encoded(pictures.plain((300, 300), colour="gradient"))[:200]
    for bad, status, code in ((b"<html>", 415, 60002), (broken, 400, 60003), (b"", 400, 60003), (pictures.claimed_png(30_000, 30_000), 413, 60001)):
        got, headers, body = await send(works, [pictures.png(), pictures.jpeg(), bad, pictures.png(colour="red")], user=new_id())
        assert (got, headers["X-Error-Code"], body["success"]) == (status, str(code), False)
        assert [error["field"] for error in body["errors"]] == ["files.2"]
    assert await files_of(works) == 0
    assert await works.db.fetchval("SELECT count(*) FROM loose_object") == 0
    assert list((works.folder / "spool").iterdir()) == []


async def test_fifty_files_are_taken_and_one_more_is_too_many(works: Any, pictures: Any) -> None:
    picture = pictures.png(size=(4, 4))
    status, _, body = await send(works, [picture] * 50, user=new_id())
    assert (status, len(body["data"]["files"])) == (200, 50)
    status, _, body = await send(works, [picture] * 51, user=new_id())
    assert (status, body["errors"][0]["field"]) == (400, "files")
    assert await files_of(works) == 50


async def test_a_form_without_files_is_refused(works: Any, pictures: Any) -> None:
    status, _, body = await send(works, [pictures.png()], user=new_id(), field="file")
    assert (status, body["errors"][0]["field"]) == (400, "files")
    assert (await works.ask("POST", "/api/upload/multiple", data=form([pictures.png()])))[0] == 401


async def test_the_same_key_is_the_same_files_and_others_under_it_are_refused(works: Any, pictures: Any) -> None:
    user, sent = new_id(), [pictures.png(size=(10 + place, 10)) for place in range(3)]
    first = await send(works, sent, user=user, key="k")
    again = await send(works, sent, user=user, key="k")
    assert (again[0], again[1]["Idempotent-Replayed"], again[2]) == (200, "true", first[2])
    for other in (sent[:2], [*sent, pictures.jpeg()], [sent[0], sent[2], sent[1]]):
        status, headers, _ = await send(works, other, user=user, key="k")
        assert (status, headers["X-Error-Code"]) == (422, "10006")
    assert await files_of(works) == 3


async def test_the_same_key_many_times_at_once_keeps_the_files_once(works: Any, pictures: Any) -> None:
    user, sent = new_id(), [pictures.png(), pictures.jpeg()]
    answers = await asyncio.gather(*(send(works, sent, user=user, key="k") for _ in range(8)))
    assert {status for status, _, _ in answers} == {200}
    assert await files_of(works) == 2


async def test_a_picture_as_text_is_answered_in_the_words_of_the_dialect(works: Any, pictures: Any) -> None:
    user = new_id()
    for text in (url_of(pictures.png()), base64.b64encode(pictures.png()).decode(), url_of(pictures.png(), "image/jpg"), url_of(pictures.png(), "image/WEBP")):
        status, _, body = await works.ask("POST", "/api/upload/base64", user=user, json={"base64": text, "subDir": "users"})
        assert (status, body["success"]) == (200, True), body
        file = body["data"]
        assert set(file) == {"fileName", "filePath", "fileUrl", "fileSize", "mimeType", "file_hash"}
        assert (file["mimeType"], file["filePath"]) == ("image/png", f"uploads/{user}/{file['fileName']}")
        assert (await works.follow(file["fileUrl"]))[0] == 200


REFUSED_TEXTS: dict[str, tuple[str, int]] = {
    "HTML that says so": ("data:text/html;base64," + base64.b64encode(b"<script>").decode(), 400),
    "HTML that says nothing": (base64.b64encode(b"<!doctype html><script>").decode(), 415),
    "HTML that says it is a picture": ("data:image/png;base64," + base64.b64encode(b"<script>alert(1)</script>").decode(), 415),
    "SVG": ("data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode(), 400),
    "not base64": ("data:image/png,hello", 400),
    "an address": ("https://photos.example/x.png", 400),
    "a file": ("file:///etc/passwd", 400),
    "another alphabet": ("data:image/png;base64,iVBORw0KGgo_-_-_", 400),
    "letters of no alphabet": ("照片照片", 400),
    "a line end": ("iVBORw0KGgo=\nAAAA", 400),
    "half a group": ("iVBORw0KGg", 400),
    "only the head": ("data:image/png;base64,", 400),
    "padding in the middle": ("iVBO====Rw0KGgo=", 400),
    "nothing": ("", 400),
    "11 MiB": ("data:image/png;base64," + "A" * (11 * 1024**2 * 4 // 3), 413),
    "11 MiB of no alphabet": ("data:image/png;base64," + "!" * (15 * 1024**2), 413),
}


@pytest.mark.parametrize("what", REFUSED_TEXTS)
async def test_text_that_is_no_picture_is_refused(works: Any, what: str) -> None:
    text, status = REFUSED_TEXTS[what]
    got, _, body = await send_text(works, "/api/upload/base64", {"base64": text}, user=new_id())
    assert (got, body["success"]) == (status, False), body
    assert await files_of(works) == 0
    assert list((works.folder / "spool").iterdir()) == []


async def test_a_body_of_200_mib_is_refused_before_it_is_read(works: Any) -> None:
    token = works.passes.user()
    head = (
        f"POST /api/upload/base64 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {200 * 1024**2}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", works.door.port)
    writer.write(head.encode() + b'{"base64": "AAAA')
    async with asyncio.timeout(60):
        assert b" 413 " in await reader.readline()
    writer.close()


async def test_a_thousand_pictures_in_a_batch_are_refused_before_one_is_decoded(works: Any, pictures: Any) -> None:
    started = time.process_time()
    status, _, body = await works.ask("POST", "/api/upload/base64/batch", user=new_id(), json={"images": [url_of(pictures.png())] * 1000})
    assert (status, body["errors"][0]["field"]) == (400, "images")
    assert time.process_time() - started < 1
    assert await files_of(works) == 0
    for images in ([], None, "x", [1]):
        assert (await works.ask("POST", "/api/upload/base64/batch", user=new_id(), json={"images": images}))[0] == 400


async def test_a_batch_keeps_what_is_good_and_says_what_is_not(works: Any, pictures: Any) -> None:
    images = [url_of(pictures.png()), "data:text/html;base64,AAAA", url_of(pictures.jpeg(), "image/jpeg"), url_of(b"<html>"), "A" * (15 * 1024**2)]
    status, _, body = await send_text(works, "/api/upload/base64/batch", {"images": images, "subDir": "a/b"}, user=new_id())
    data = body["data"]
    assert (status, data["summary"]) == (200, {"total": 5, "success": 2, "failed": 3})
    assert [file["mimeType"] for file in data["files"]] == ["image/png", "image/jpeg"]
    assert [(error["index"], error["code"]) for error in data["errors"]] == [(1, 10001), (3, 60002), (4, 60001)]
    assert await files_of(works) == 2


async def test_a_batch_of_which_nothing_is_good_is_refused(works: Any) -> None:
    status, headers, body = await works.ask("POST", "/api/upload/base64/batch", user=new_id(), json={"images": [url_of(b"<html>"), "not base64"]})
    assert (status, headers["X-Error-Code"], body["success"]) == (415, "60002", False)
    assert [error["field"] for error in body["errors"]] == ["images.0", "images.1"]


async def test_a_batch_sent_again_with_its_key_is_the_same_batch(works: Any, pictures: Any) -> None:
    user, images = new_id(), [url_of(pictures.png()), url_of(b"<html>"), url_of(pictures.jpeg())]
    first, again = [await works.ask("POST", "/api/upload/base64/batch", user=user, json={"images": images}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert (again[0], again[1]["Idempotent-Replayed"], again[2]) == (200, "true", first[2])
    assert await files_of(works) == 2


@pytest.mark.parametrize("sub_dir", ["../etc", "a b", "a\\b", "x" * 65, "照片"])
async def test_a_folder_that_is_no_folder_is_refused(works: Any, pictures: Any, sub_dir: str) -> None:
    status, _, body = await works.ask("POST", "/api/upload/base64", user=new_id(), json={"base64": url_of(pictures.png()), "subDir": sub_dir})
    assert (status, body["errors"][0]["field"]) == (400, "subDir")


async def uploaded(works: Any, content: bytes, *, user: UUID) -> Any:
    status, _, body = await works.upload(content, user=user)
    assert status == 200
    return body["data"]


async def test_an_upload_is_taken_back_by_its_owner_however_often_it_was_sent(works: Any, pictures: Any) -> None:
    user = new_id()
    await uploaded(works, pictures.png(), user=user)
    file = await uploaded(works, pictures.png(), user=user)
    status, _, body = await works.ask("DELETE", f"/api/upload/{file['file_name']}?subDir=users", user=user)
    assert (status, body["success"], bool(body["message"])) == (200, True, True)
    assert await files_of(works) == 0
    status, headers, _ = await works.ask("DELETE", f"/api/upload/{file['file_name']}", user=user)
    assert (status, headers["X-Error-Code"]) == (404, "60000")


async def test_what_was_taken_back_makes_no_work_any_more(works: Any, pictures: Any) -> None:
    user = new_id()
    file = await uploaded(works, pictures.png(), user=user)
    await works.ask("DELETE", f"/api/upload/{file['file_name']}", user=user)
    status, _, _ = await works.ask("POST", "/works", user=user, json={"title": "x", "image": file["file_url"]})
    assert status == 400


async def test_anothers_upload_and_an_unknown_one_are_answered_alike(works: Any, pictures: Any) -> None:
    owner, other = new_id(), new_id()
    file = await uploaded(works, pictures.png(), user=owner)
    answers = []
    for name in (file["file_name"], f"{'0' * 64}.png", "x", "..%2f..%2fx", f"{'0' * 64}.html", "single", "x" * 3000):
        status, headers, body = await works.ask("DELETE", f"/api/upload/{name}", user=other)
        answers.append((status, headers.get("X-Error-Code"), body["message"]))
    assert set(answers) == {(404, "60000", answers[0][2])}
    assert (await works.ask("DELETE", f"/api/upload/{file['file_name']}"))[0] == 401
    assert (await works.ask("DELETE", f"/api/upload/{file['file_name']}", user=other, role="admin"))[0] == 404
    assert (await works.follow(file["file_url"]))[0] == 200
