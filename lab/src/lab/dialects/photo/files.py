"""The photo dialect: files."""

import base64
import io

from PIL import Image

from common.ids import new_id
from lab.dialects import plights
from lab.dialects.photo.words import CAMEL_FILE, FILE, OK, data, row
from lab.dialects.rows import Ask, Refusal, Row, at, bad
from lab.dialects.shapes import SENTENCE, Some
from lab.dialects.world import World, noise_bytes, photo_bytes, photo_data_url

NO_ROOM = {"used_bytes": int, "bytes_max": int}


async def _uploaded(world: World) -> Ask:
    told = await world.ask("POST", "/api/upload/single", form={"file": _other_photo()})
    return Ask(path=f"/api/upload/{told['data']['file_name']}")


async def _bobs_upload(world: World) -> Ask:
    told = await world.ask("POST", "/api/upload/single", who="bob", form={"file": _other_photo()})
    return Ask(path=f"/api/upload/{told['data']['file_name']}")


def _too_large() -> bytes:
    """One byte more than a file may have, and it begins like a photo."""
    return photo_bytes()[:200] + bytes(10 * 1024 * 1024)


def _broken() -> bytes:
    """The beginning of a photo."""
    return photo_bytes()[:200]


async def _single_too_large(_world: World) -> Ask:
    return Ask(path="/api/upload/single", form={"file": _too_large()})


async def _multiple_too_large(_world: World) -> Ask:
    return Ask(path="/api/upload/multiple", form={"files": [photo_bytes(), _too_large()]})


async def _single_of_a_hoarder(world: World) -> Ask:
    return Ask(path="/api/upload/single", form={"file": noise_bytes()}, headers=await plights.hoarder(world))


async def _multiple_of_a_hoarder(world: World) -> Ask:
    return Ask(path="/api/upload/multiple", form={"files": [photo_bytes(), noise_bytes()]}, headers=await plights.hoarder(world))


async def _text_of_a_hoarder(world: World) -> Ask:
    return Ask(path="/api/upload/base64", json={"base64": plights.noise_data_url()}, headers=await plights.hoarder(world))


async def _texts_of_a_hoarder(world: World) -> Ask:
    return Ask(path="/api/upload/base64/batch", json={"images": [plights.noise_data_url()]}, headers=await plights.hoarder(world))


async def _texts_too_large(_world: World) -> Ask:
    return Ask(path="/api/upload/base64/batch", json={"images": [base64.b64encode(_too_large()).decode()]})


async def _text_too_large(_world: World) -> Ask:
    return Ask(path="/api/upload/base64", json={"base64": base64.b64encode(_too_large()).decode()})


def _other_photo() -> bytes:
    """A photo with other bytes each time."""
    stored = io.BytesIO()
    Image.new("RGB", (64, 64), tuple(new_id().bytes[-3:])).save(stored, "JPEG")
    return stored.getvalue()


FILES: tuple[Row, ...] = (
    row(
        "POST",
        "/api/upload/single",
        "user",
        "Upload one picture",
        data(**FILE),
        at("/api/upload/single", form={"file": photo_bytes()}),
        Refusal(415, 60002, "not a picture", at("/api/upload/single", form={"file": b"<html>hello</html>"})),
        Refusal(400, 60003, "a picture that does not decode", at("/api/upload/single", form={"file": _broken()})),
        Refusal(413, 60001, "more than 10 MB", _single_too_large),
        Refusal(413, 60004, "no more room: something must be deleted first", _single_of_a_hoarder, data=NO_ROOM),
        Refusal(400, 10001, "no file", at("/api/upload/single", form={"other": "x"})),
        Refusal(400, 10001, "a file under another name, however large", at("/api/upload/single", form={"files": b"\xff" * 9_000_000})),
        Refusal(400, 10001, "two files", at("/api/upload/single", form={"file": [photo_bytes(), photo_bytes()]})),
        Refusal(415, 10001, "not a form", at("/api/upload/single", json={"file": "x"})),
        form=True,
        takes={"file": "a JPEG, PNG or WebP of at most 10 MB, as a part of a form", "subDir?": "ignored"},
    ),
    row(
        "POST",
        "/api/upload/multiple",
        "user",
        "Upload up to fifty pictures",
        data(files=Some(FILE)),
        at("/api/upload/multiple", form={"files": [photo_bytes(), photo_bytes()]}),
        Refusal(415, 60002, "one is not a picture: none is kept", at("/api/upload/multiple", form={"files": [photo_bytes(), b"<html>hello</html>"]})),
        Refusal(400, 60003, "one does not decode: none is kept", at("/api/upload/multiple", form={"files": [photo_bytes(), _broken()]})),
        Refusal(413, 60001, "one has more than 10 MB: none is kept", _multiple_too_large),
        Refusal(413, 60004, "no more room for all of them: none is kept", _multiple_of_a_hoarder, data=NO_ROOM),
        Refusal(400, 10001, "no files", at("/api/upload/multiple", form={"other": "x"})),
        Refusal(400, 10001, "files under another name, however large", at("/api/upload/multiple", form={"photo": b"\xff" * 9_000_000})),
        Refusal(400, 10001, "more than fifty", at("/api/upload/multiple", form={"files": [photo_bytes()] * 51})),
        form=True,
        takes={"files": "up to fifty of them, as parts of a form", "subDir?": "ignored"},
    ),
    row(
        "POST",
        "/api/upload/base64",
        "user",
        "Upload one picture as base64",
        data(**CAMEL_FILE),
        at("/api/upload/base64", json={"base64": photo_data_url()}),
        bad("/api/upload/base64", "a page", {"base64": "data:text/html;base64,PGI+"}),
        bad("/api/upload/base64", "not base64", {"base64": "data:image/png;base64,*"}),
        bad("/api/upload/base64", "nothing", {}),
        bad("/api/upload/base64", "not a picture", {"base64": base64.b64encode(b"<html>hello</html>").decode()}, status=415, code=60002),
        bad("/api/upload/base64", "a picture that does not decode", {"base64": base64.b64encode(_broken()).decode()}, status=400, code=60003),
        bad("/api/upload/base64", "a folder above", {"base64": photo_data_url(), "subDir": "../x"}),
        Refusal(413, 60001, "more than 10 MB", _text_too_large),
        Refusal(413, 60004, "no more room: something must be deleted first", _text_of_a_hoarder, data=NO_ROOM),
        takes={"base64": "data URL or base64", "subDir?": "checked, else ignored"},
    ),
    row(
        "POST",
        "/api/upload/base64/batch",
        "user",
        "Upload several pictures as base64",
        data(files=[CAMEL_FILE], summary={"total": 2, "success": 2, "failed": 0}),
        at("/api/upload/base64/batch", json={"images": [photo_data_url(), photo_data_url()]}),
        bad("/api/upload/base64/batch", "no pictures", {"images": []}),
        bad("/api/upload/base64/batch", "more than fifty", {"images": ["x"] * 51}),
        Refusal(413, 60001, "not one of them is good, and the first has more than 10 MB", _texts_too_large),
        Refusal(413, 60004, "no more room for any of them", _texts_of_a_hoarder, data=NO_ROOM),
        bad("/api/upload/base64/batch", "not one of them is a picture", {"images": [base64.b64encode(b"<html>hello</html>").decode()]}, status=415, code=60002),
        bad("/api/upload/base64/batch", "not one of them decodes", {"images": [base64.b64encode(_broken()).decode()] * 2}, status=400, code=60003),
        takes={"images": "[data URL or base64]", "subDir?": "checked, else ignored"},
    ),
    row(
        "DELETE",
        "/api/upload/:fileName",
        "user",
        "Delete an upload of mine",
        {**OK, "message": SENTENCE},
        _uploaded,
        Refusal(404, 60000, "unknown", at("/api/upload/nothing.jpg")),
        Refusal(404, 60000, "another's", _bobs_upload),
        Refusal(400, 10001, "a folder above", at("/api/upload/nothing.jpg?subDir=../x")),
        takes={"subDir? (query)": "checked, else ignored"},
    ),
)
