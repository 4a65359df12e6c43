"""The photo dialect: files."""

from common.ids import new_id
from lab.dialects.photo.words import CAMEL_FILE, FILE, OK, data, row
from lab.dialects.rows import Ask, Refusal, Row, at, bad
from lab.dialects.shapes import WORD, Some
from lab.dialects.world import World, photo_bytes, photo_data_url


async def _uploaded(world: World) -> Ask:
    told = await world.ask("POST", "/api/upload/single", form={"file": _other_photo()})
    return Ask(path=f"/api/upload/{told['data']['file_name']}")


async def _bobs_upload(world: World) -> Ask:
    told = await world.ask("POST", "/api/upload/single", who="bob", form={"file": _other_photo()})
    return Ask(path=f"/api/upload/{told['data']['file_name']}")


def _other_photo() -> bytes:
    """A photo with other bytes each time."""
    import io

    from PIL import Image

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
        Refusal(400, 10001, "no file", at("/api/upload/single", form={"other": "x"})),
    ),
    row(
        "POST",
        "/api/upload/multiple",
        "user",
        "Upload up to fifty pictures",
        data(files=Some(FILE)),
        at("/api/upload/multiple", form={"files": [photo_bytes(), photo_bytes()]}),
        Refusal(400, 10001, "no files", at("/api/upload/multiple", form={"other": "x"})),
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
        takes={"base64": "data URL or base64", "subDir?": "text"},
    ),
    row(
        "POST",
        "/api/upload/base64/batch",
        "user",
        "Upload several pictures as base64",
        data(files=[CAMEL_FILE], summary={"total": 2, "success": 2, "failed": 0}),
        at("/api/upload/base64/batch", json={"images": [photo_data_url(), photo_data_url()]}),
        bad("/api/upload/base64/batch", "no pictures", {"images": []}),
        takes={"images": "[data URL or base64]", "subDir?": "text"},
    ),
    row(
        "DELETE",
        "/api/upload/:fileName",
        "user",
        "Delete an upload of mine",
        {**OK, "message": WORD},
        _uploaded,
        Refusal(404, 60000, "unknown", at("/api/upload/nothing.jpg")),
        Refusal(404, 60000, "another's", _bobs_upload),
    ),
)
