"""Uploading: what goes in is a stranger's, what comes out is ours."""

import asyncio
import errno
import hashlib
import io
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from aiohttp import FormData
from PIL import Image, ImageCms

from common.ids import new_id

ENVELOPE = {"success", "message", "errors"}


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def server(request: pytest.FixtureRequest) -> Any:
    """Everything here holds whatever store the pictures go to."""
    return request.getfixturevalue("s3") if request.param == "s3" else None


async def stored(works: Any, content: bytes, **given: Any) -> tuple[Any, Image.Image]:
    """What an upload answered, and the picture that is served for it."""
    status, _, body = await works.upload(content, user=new_id(), **given)
    assert status == 200, body
    status, _, served = await works.follow(body["data"]["file_url"])
    assert status == 200
    return body["data"], Image.open(io.BytesIO(served))


async def test_an_upload_answers_what_the_dialect_promises(works: Any, pictures: Any) -> None:
    user = new_id()
    status, _, body = await works.upload(pictures.png(), user=user)
    assert (status, body["success"]) == (200, True)
    file = body["data"]
    assert set(file) == {"file_name", "file_url", "file_path", "file_size", "mime_type", "file_hash"}
    assert file["file_path"] == f"uploads/{user}/{file['file_name']}"
    assert file["mime_type"] == "image/png"
    served = await works.deps.objects.read(file["file_path"])
    assert (len(served), hashlib.md5(served).hexdigest()) == (file["file_size"], file["file_hash"])
    assert file["file_name"] == f"{hashlib.sha256(served).hexdigest()}.png"
    assert works.deps.signer.key_of(file["file_url"]) == file["file_path"]


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
async def test_a_picture_keeps_its_format(works: Any, pictures: Any, name: str) -> None:
    file, picture = await stored(works, pictures.encoded(pictures.plain(colour="gradient"), name))
    assert (file["mime_type"], picture.format, picture.size) == (f"image/{name.lower()}", name, (64, 48))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16", "CMYK"])
async def test_every_kind_of_pixel_is_taken(works: Any, mode: str) -> None:
    name = "JPEG" if mode == "CMYK" else "PNG"
    picture = Image.new("P", (20, 10)).convert("PA") if mode == "PA" else Image.new(mode, (20, 10))
    if mode == "PA":
        picture = picture.convert("RGBA").quantize(8)
    into = io.BytesIO()
    picture.save(into, name)
    _, served = await stored(works, into.getvalue())
    assert served.size == (20, 10)


async def test_sixteen_bit_grey_keeps_its_light(works: Any, pictures: Any) -> None:
    _, served = await stored(works, pictures.encoded(Image.new("I;16", (4, 4), 0x8000)))
    assert served.getpixel((1, 1)) == 128


async def test_transparency_stays(works: Any, pictures: Any) -> None:
    for name in ("PNG", "WEBP"):
        _, served = await stored(works, pictures.encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 100)), name))
        pixel = served.convert("RGBA").getpixel((4, 4))
        assert isinstance(pixel, tuple)
        assert pixel[3] == 100


def with_gps(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "A camera"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return exif


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
async def test_where_and_with_what_a_photo_was_taken_is_gone(works: Any, pictures: Any, name: str) -> None:
    sent = pictures.encoded(pictures.plain(), name, exif=with_gps(1), xmp=b"<x:xmpmeta>secret place</x:xmpmeta>", comment=b"secret place")
    assert b"A camera" in sent
    file, served = await stored(works, sent)
    content = await works.deps.objects.read(file["file_path"])
    assert dict(served.getexif()) == {}
    assert b"A camera" not in content
    assert b"secret place" not in content
    assert not {"exif", "xmp", "comment", "icc_profile"} & set(served.info)


@pytest.mark.parametrize("orientation", range(1, 9))
async def test_a_photo_is_turned_upright_before_its_orientation_is_forgotten(works: Any, pictures: Any, orientation: int) -> None:
    # Red is the top left corner of the scene; the camera stores the pixels as `orientation` says.
    scene = Image.new("RGB", (32, 16), "white")
    scene.paste("red", (0, 0, 8, 8))
    turns = Image.Transpose
    back = [None, turns.FLIP_LEFT_RIGHT, turns.ROTATE_180, turns.FLIP_TOP_BOTTOM, turns.TRANSPOSE, turns.ROTATE_90, turns.TRANSVERSE, turns.ROTATE_270]
    turn = back[orientation - 1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    _, served = await stored(works, pictures.encoded(scene.transpose(turn) if turn is not None else scene, "PNG", exif=exif))
    assert served.size == (32, 16)
    assert served.getpixel((2, 2)) == (255, 0, 0)
    assert served.getpixel((30, 14)) == (255, 255, 255)


async def test_colours_of_another_profile_become_srgb(works: Any, pictures: Any) -> None:
    xyz = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    lab = pictures.encoded(pictures.plain(colour="gray"), "PNG", icc_profile=xyz)
    _, served = await stored(works, lab)
    assert "icc_profile" not in served.info
    broken, _ = await stored(works, pictures.encoded(pictures.plain(colour="gray"), "PNG", icc_profile=b"no profile"))
    assert broken["mime_type"] == "image/png"


async def test_a_phones_photo_with_more_pictures_behind_it_is_its_first_picture(works: Any, pictures: Any) -> None:
    into = io.BytesIO()
    pictures.plain((40, 30)).save(into, "MPO", save_all=True, append_images=[pictures.plain((10, 10), colour="red")])
    file, served = await stored(works, into.getvalue())
    assert (file["mime_type"], served.size, getattr(served, "n_frames", 1)) == ("image/jpeg", (40, 30), 1)


async def test_a_large_opaque_png_becomes_a_jpeg(works: Any, pictures: Any) -> None:
    file, served = await stored(works, pictures.png(size=(4000, 2100)))
    assert (file["mime_type"], served.size) == ("image/jpeg", (4000, 2100))


async def test_the_tail_of_a_polyglot_is_not_kept(works: Any, pictures: Any) -> None:
    import zipfile

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as inside:
        inside.writestr("evil.html", "<script>alert(1)</script>")
    for sent in (pictures.png(), pictures.jpeg()):
        file, _ = await stored(works, sent + archive.getvalue())
        content = await works.deps.objects.read(file["file_path"])
        assert b"PK\x03\x04" not in content
        assert b"evil" not in content


async def test_script_in_a_pictures_text_is_not_kept(works: Any, pictures: Any) -> None:
    text = pictures.chunk(b"tEXt", b"Comment\0<script>alert(1)</script>")
    sent = pictures.png()
    file, _ = await stored(works, sent[:33] + text + sent[33:])
    assert b"script" not in await works.deps.objects.read(file["file_path"])


def gif(pictures: Any) -> bytes:
    into = io.BytesIO()
    frames = [Image.new("P", (8, 8), number % 250) for number in range(5000)]
    frames[0].save(into, "GIF", save_all=True, append_images=frames[1:])
    return into.getvalue()


def moving(name: str) -> Callable[[Any], bytes]:
    def make(pictures: Any) -> bytes:
        return bytes(pictures.encoded(pictures.plain(), name, save_all=True, append_images=[pictures.plain(colour="red")]))

    return make


def vast_webp(pictures: Any) -> bytes:
    """A small WebP whose head says 16 384 x 16 384."""
    still = pictures.encoded(pictures.plain(), "WEBP", exif=with_gps(1))
    at = still.index(b"VP8X") + 12
    side = (16383).to_bytes(3, "little")
    return bytes(still[:at] + side + side + still[at + 6 :])


def many_scans(pictures: Any) -> bytes:
    """A progressive JPEG that asks for another pass over the picture thousands of times."""
    still = pictures.encoded(pictures.plain((400, 300)), "JPEG", progressive=True)
    last = still.rindex(b"\xff\xda")
    return bytes(still[:last] + still[last:-2] * 4000 + still[-2:])


def text_bomb(pictures: Any) -> bytes:
    import zlib

    sent = pictures.png()
    bomb = pictures.chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(60 * 1024**2), 9)) * 8
    return bytes(sent[:33] + bomb + sent[33:])


def claims(width: int, height: int) -> Callable[[Any], bytes]:
    return lambda pictures: bytes(pictures.claimed_png(width, height))


HOSTILE: dict[str, tuple[Callable[[Any], bytes], int, int]] = {
    "30 000 x 30 000 PNG": (claims(30_000, 30_000), 413, 60001),
    "2^31 x 2^31 PNG": (lambda pictures: pictures.png()[:16] + pack(">II", 2**31 - 1, 2**31 - 1) + pictures.png()[24:], 400, 60003),
    "empty PNG": (lambda pictures: pictures.png()[:16] + pack(">II", 0, 0) + pictures.png()[24:], 400, 60003),
    "5 000-frame GIF": (gif, 415, 60002),
    "animated WebP": (moving("WEBP"), 400, 60003),
    "animated PNG": (moving("PNG"), 415, 60002),
    "16 384 x 16 384 WebP": (vast_webp, 400, 60003),
    "JPEG of 4 000 scans": (many_scans, 400, 60003),
    "480 MiB of text in a PNG": (text_bomb, 400, 60003),
    "EPS": (lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(/etc/passwd) (r) file\n", 415, 60002),
    "SVG": (lambda _: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>', 415, 60002),
    "HTML": (lambda _: b"<!doctype html><script>alert(1)</script>", 415, 60002),
    "ZIP": (lambda _: b"PK\x03\x04" + bytes(200), 415, 60002),
    "TIFF": (lambda pictures: pictures.encoded(pictures.plain(), "TIFF"), 415, 60002),
    "BMP": (lambda pictures: pictures.encoded(pictures.plain(), "BMP"), 415, 60002),
    "PDF": (lambda _: b"%PDF-1.7\n" + bytes(100), 415, 60002),
    "nothing": (lambda _: b"", 400, 60003),
    "one byte": (lambda _: b"\xff", 415, 60002),
    "only a PNG's first bytes": (lambda _: b"\x89PNG\r\n\x1a\n", 400, 60003),
    "only a JPEG's first bytes": (lambda _: b"\xff\xd8\xff\xe0", 400, 60003),
    "half a JPEG": (lambda pictures: pictures.encoded(pictures.plain((300, 300), colour="gradient"), "JPEG")[:900], 400, 60003),
    "half a PNG": (lambda pictures: pictures.encoded(pictures.plain((300, 300), colour="gradient"))[:200], 400, 60003),
    "half a WebP": (lambda pictures: pictures.encoded(pictures.plain((300, 300), colour="gradient"), "WEBP")[:200], 400, 60003),
    "noise after a JPEG's head": (lambda _: b"\xff\xd8\xff\xe0" + bytes(range(256)) * 400, 400, 60003),
    "HTML after a PNG's head": (lambda _: b"\x89PNG\r\n\x1a\n<script>alert(1)</script>" + bytes(100), 400, 60003),
    "11 MiB": (lambda pictures: pictures.jpeg() + bytes(11 * 1024**2), 413, 60001),
}


def peak_bytes(pid: int) -> int:
    """The most memory a living process ever held."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_file_is_refused_quickly_and_leaves_nothing(works: Any, pictures: Any, what: str) -> None:
    make, status, code = HOSTILE[what]
    content = make(pictures)
    await works.upload(pictures.png(), user=new_id())  # a process is warm, as in a running service
    files = await works.db.fetchval("SELECT count(*) FROM file")
    took = []
    for _ in range(3):  # the quickest, because other tests may have the machine at any one moment
        started = time.perf_counter()
        got, headers, body = await works.upload(content, user=new_id())
        took.append(time.perf_counter() - started)
        if took[-1] < 2:
            break
    assert (got, headers["X-Error-Code"]) == (status, str(code)), body
    assert set(body) == ENVELOPE
    assert [one["field"] for one in body["errors"]] == ["file"]
    assert not body["errors"][0]["message"].isascii()
    assert body["success"] is False
    assert min(took) < 2
    assert await works.db.fetchval("SELECT count(*) FROM file") == files
    assert list((works.folder / "spool").iterdir()) == []
    for child in works.deps.intake._pool._idle:
        assert peak_bytes(child._process.pid) < 300 * 1024**2


@pytest.mark.parametrize(
    "name",
    ["../../x.png", "a\\0.png", "..\\..\\x.png", "a%0d%0ab.png", "invoice‮gnp.exe", "/etc/passwd", ".htaccess", "con", "x" * 4000, "a;b=c", '"', "照片.png"],
)
async def test_the_senders_name_is_never_ours(works: Any, pictures: Any, name: str) -> None:
    status, _, body = await works.upload(pictures.png(), user=new_id(), name=name)
    assert status == 200
    assert len(body["data"]["file_name"]) == 64 + len(".png")
    assert name not in str(body)


@pytest.mark.filterwarnings("ignore::aiohttp.BadContentDispositionHeader")
@pytest.mark.parametrize("name", [b"a\0.png", b"a\r\nX-Evil: 1\r\n.png", b"\xff\xfe.png", b'a"; filename="../b.png', b"=?utf-8?q?x?="])
async def test_a_raw_name_in_the_form_is_never_ours(works: Any, pictures: Any, name: bytes) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="' + name + b'"\r\nContent-Type: text/html\r\n\r\n'
    status, _, body = await works.ask(
        "POST", "/api/upload/single", user=new_id(), data=head + pictures.png() + b"\r\n--b--\r\n", headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert status in (200, 400), body
    if status == 200:
        assert body["data"]["mime_type"] == "image/png"


BROKEN: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", b"--b\r\n\r\n--b--"),
    "another boundary": ("multipart/form-data; boundary=c", b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n'),
    "a vast boundary": ("multipart/form-data; boundary=" + "b" * 500, b"--b\r\n\r\n"),
    "no end": ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx'),
    "no body": ("multipart/form-data; boundary=b", b""),
    "only the end": ("multipart/form-data; boundary=b", b"--b--\r\n"),
    "no head": ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
    "a broken head": ("multipart/form-data; boundary=b", b"--b\r\n:::\r\n\r\nx\r\n--b--\r\n"),
    "a vast head": ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"x" * 100_000 + b"\r\n\r\nx\r\n--b--\r\n"),
    "a head that never ends": ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: 1\r\n" * 20_000),
    "a wrong length": ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\nContent-Length: 5x\r\n\r\nx\r\n--b--\r\n'),
    "a negative length": ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="file"\r\nContent-Length: -5\r\n\r\nx\r\n--b--\r\n'),
    "a vast charset": ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n' + b"x" * 40 + b"\r\n--b--\r\n"),
    "a charset of bytes": ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="_charset_"\r\n\r\n\xff\r\n--b--\r\n'),
    "nested": ("multipart/form-data; boundary=b", b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n"),
    "another field": ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="picture"\r\n\r\nx\r\n--b--\r\n'),
    "JSON": ("application/json", b'{"file": "x"}'),
    "a form without parts": ("application/x-www-form-urlencoded", b"file=x"),
    "nothing": ("", b""),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_broken_form_is_refused_in_the_dialect(works: Any, what: str) -> None:
    content_type, body = BROKEN[what]
    status, headers, answer = await works.ask("POST", "/api/upload/single", user=new_id(), data=body, headers={"Content-Type": content_type})
    assert status in (400, 413, 415), answer
    assert answer["success"] is False
    assert headers["X-Error-Code"] in ("10001", "60001", "60002", "60003")
    assert await works.db.fetchval("SELECT count(*) FROM file") == 0
    assert list((works.folder / "spool").iterdir()) == []


@pytest.mark.parametrize(("path", "field"), [("/api/upload/single", "file"), ("/api/upload/multiple", "files"), ("/works", "image")])
async def test_a_form_that_ends_in_the_middle_of_its_file_is_refused_wherever_it_ends(works: Any, pictures: Any, path: str, field: str) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="%b"; filename="a.png"\r\nContent-Type: image/png\r\n' % field.encode()
    picture = pictures.png()
    cut = [head + b"\r\n" + picture + bytes(size) for size in (1, 70_000, 140_000, 300_000)]
    for body in cut:
        status, headers, answer = await works.ask("POST", path, user=new_id(), data=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert (status, headers["X-Error-Code"]) == (400, "10001"), answer
    assert await works.db.fetchval("SELECT count(*) FROM file") == 0
    assert list((works.folder / "spool").iterdir()) == []


async def test_a_missing_file_is_named(works: Any) -> None:
    form = FormData({"other": "x"}, default_to_multipart=True)
    status, _, body = await works.ask("POST", "/api/upload/single", user=new_id(), data=form)
    assert status == 400
    assert [error["field"] for error in body["errors"]] == ["file"]


_FIELD = b'\r\n--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n'
SPOILED: dict[str, tuple[bytes, int]] = {
    "a second file": (_FIELD % b"file" + b"x\r\n--b--\r\n", 400),
    "a vast field": (_FIELD % b"other" + b"x" * 200_000 + b"\r\n--b--\r\n", 413),
    "no end": (_FIELD % b"other" + b"x", 400),
}


@pytest.mark.parametrize("what", SPOILED)
async def test_a_good_file_in_a_form_that_is_refused_later_is_not_kept(works: Any, pictures: Any, what: str) -> None:
    rest, expected = SPOILED[what]
    user, headers = new_id(), {"Content-Type": "multipart/form-data; boundary=b", "Idempotency-Key": "k"}
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + pictures.png() + rest
    status, _, body = await works.ask("POST", "/api/upload/single", user=user, data=form, headers=headers)
    assert (status, body["success"]) == (expected, False)
    assert await works.db.fetchval("SELECT count(*) FROM file") == 0
    assert list((works.folder / "spool").iterdir()) == []
    # What was refused did not use up its key.
    assert (await works.upload(pictures.png(colour="red"), user=user, key="k"))[0] == 200


async def test_nobody_uploads_without_a_token(works: Any, pictures: Any) -> None:
    form = FormData()
    form.add_field("file", pictures.png(), filename="a.png")
    status, headers, _ = await works.ask("POST", "/api/upload/single", data=form)
    assert (status, headers["X-Error-Code"]) == (401, "10002")


async def test_the_same_key_is_the_same_upload_and_another_file_under_it_is_refused(works: Any, pictures: Any) -> None:
    user = new_id()
    first = await works.upload(pictures.png(), user=user, key="k")
    again = await works.upload(pictures.png(), user=user, key="k")
    assert first[2] == again[2]
    assert ("Idempotent-Replayed" in first[1], again[1].get("Idempotent-Replayed")) == (False, "true")
    status, headers, _ = await works.upload(pictures.png(colour="red"), user=user, key="k")
    assert (status, headers["X-Error-Code"]) == (422, "10006")
    assert (await works.upload(pictures.png(colour="red"), user=new_id(), key="k"))[0] == 200, "another user's key is another key"
    assert await works.db.fetchval("SELECT count(*) FROM file WHERE user_id = $1", user) == 1


async def test_twenty_uploads_at_once_under_one_key_are_one(works: Any, pictures: Any) -> None:
    user = new_id()
    answers = await asyncio.gather(*(works.upload(pictures.png(), user=user, key="k") for _ in range(20)))
    assert {status for status, _, _ in answers} == {200}
    assert len({body["data"]["file_url"] for _, _, body in answers}) == 1
    assert sum("Idempotent-Replayed" not in headers for _, headers, _ in answers) == 1
    assert await works.db.fetchval("SELECT count(*) FROM file") == 1


async def test_the_same_picture_of_two_users_lies_in_two_places(works: Any, pictures: Any) -> None:
    (_, _, one), (_, _, other) = [await works.upload(pictures.png(), user=new_id()) for _ in range(2)]
    assert one["data"]["file_hash"] == other["data"]["file_hash"]
    assert one["data"]["file_path"] != other["data"]["file_path"]


async def test_many_users_upload_at_once(works: Any, pictures: Any) -> None:
    answers = await asyncio.gather(*(works.upload(pictures.jpeg(size=(200 + number, 100)), user=new_id()) for number in range(30)))
    assert {status for status, _, _ in answers} == {200}
    assert list((works.folder / "spool").iterdir()) == []


async def test_a_client_that_leaves_in_the_middle_leaves_nothing(works: Any, pictures: Any) -> None:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + pictures.jpeg()[:600]
    token = works.passes.user()
    request = (
        f"POST /api/upload/single HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        "Content-Length: 50000\r\n\r\n"
    ).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", works.door.port)
    writer.write(request + head)
    await writer.drain()
    await asyncio.sleep(0.2)
    assert len(list((works.folder / "spool").iterdir())) == 1
    writer.close()
    async with asyncio.timeout(60):
        while list((works.folder / "spool").iterdir()):
            await asyncio.sleep(0.02)


async def test_what_a_killed_process_left_in_the_spool_is_removed_at_the_next_start(works: Any) -> None:
    import os

    old, young = works.folder / "spool" / "old.part", works.folder / "spool" / "young.part"
    for path, age in ((old, 7200), (young, 60)):
        path.write_bytes(b"x")
        os.utime(path, (time.time() - age, time.time() - age))
    works.deps.intake.open()
    assert (old.exists(), young.exists()) == (False, True)
    young.unlink()


async def test_a_full_disk_is_told_as_such_and_leaves_nothing(works: Any, pictures: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class FullStore:
        async def put_file(self, key: str, path: Path, content_type: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(works.deps.intake, "_objects", FullStore())
    status, headers, body = await works.upload(pictures.png(), user=new_id())
    assert (status, headers["X-Error-Code"], body["success"]) == (503, "10007", False)
    assert int(headers["Retry-After"]) > 0
    assert await works.db.fetchval("SELECT count(*) FROM file") == 0
    assert list((works.folder / "spool").iterdir()) == []


async def test_a_spool_that_was_tidied_away_comes_back(works: Any, pictures: Any) -> None:
    (works.folder / "spool").rmdir()
    assert (await works.upload(pictures.png(), user=new_id()))[0] == 200
