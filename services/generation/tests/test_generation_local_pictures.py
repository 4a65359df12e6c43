"""Pictures of the local engine: repeatable, visibly different, labelled, and gentle with odd photos."""

import io
import itertools
import json
import re
from collections.abc import Callable
from html import unescape

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageFilter

from generation.providers.base import Kind, Refused, Result
from generation.providers.local.pictures import make_picture
from generation.providers.local.styles import STYLES, style_for

PROOF_PX = 192
SCENES = ("beach-sunset", "paris-street", "studio-simple")
KINDS: tuple[Kind, ...] = ("fitting", "photography", "travel")
DIFFERENCE_MIN = 8.0


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def portrait() -> bytes:
    image = Image.new("RGB", (480, 640), (128, 152, 142))
    pen = ImageDraw.Draw(image)
    pen.polygon([(60, 640), (110, 470), (240, 420), (370, 470), (420, 640)], fill=(176, 52, 60))
    pen.ellipse((150, 110, 340, 400), fill=(62, 38, 28))
    pen.ellipse((170, 150, 315, 385), fill=(226, 176, 146))
    pen.ellipse((205, 245, 222, 258), fill=(30, 30, 25))
    pen.ellipse((264, 245, 281, 258), fill=(30, 30, 25))
    return jpeg(image.filter(ImageFilter.GaussianBlur(1.5)))


def landscape() -> bytes:
    sky = np.linspace(0, 1, 400)[:, None, None] * np.array([140, 70, -10]) + np.array([90, 150, 220])
    image = Image.fromarray(np.broadcast_to(sky, (400, 600, 3)).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    pen.polygon([(0, 400), (0, 260), (180, 170), (360, 270), (600, 190), (600, 400)], fill=(70, 100, 80))
    return jpeg(image)


def night() -> bytes:
    image = Image.new("RGB", (600, 400), (12, 14, 32))
    pen = ImageDraw.Draw(image)
    for number in range(60):
        x, y = (number * 97) % 580, 150 + (number * 53) % 200
        pen.rectangle((x, y, x + 9, y + 12), fill=(255, 205, 120))
    return jpeg(image)


def plain(shade: int) -> Callable[[], bytes]:
    return lambda: jpeg(Image.new("RGB", (300, 200), (shade, shade, shade)))


PHOTOS: dict[str, Callable[[], bytes]] = {
    "portrait": portrait,
    "landscape": landscape,
    "night": night,
    "white": plain(255),
    "black": plain(0),
}


def make(photo: bytes, *, kind: Kind = "photography", scene: str | None = None, seed: int = 0, index: int = 0) -> Result:
    return make_picture(photo, kind=kind, scene=scene, seed=seed, index=index, caption="", report=lambda *_: None, long_side_px=PROOF_PX)


def thumbnail(picture: Result) -> npt.NDArray[np.float64]:
    image = Image.open(io.BytesIO(picture.body)).convert("RGB")
    return np.asarray(image.resize((64, 64), Image.Resampling.BOX), dtype=np.float64)


@pytest.mark.parametrize("photo", PHOTOS)
@pytest.mark.parametrize("scene", [*SCENES, None])
@pytest.mark.parametrize("kind", KINDS)
def test_any_two_of_four_pictures_differ_visibly(kind: Kind, scene: str | None, photo: str) -> None:
    source = PHOTOS[photo]()
    for seed in (0, 1) if photo == "portrait" else (len(photo),):
        four = [thumbnail(make(source, kind=kind, scene=scene, seed=seed, index=index)) for index in range(4)]
        apart = {pair: float(np.abs(four[pair[0]] - four[pair[1]]).mean()) for pair in itertools.combinations(range(4), 2)}
        assert min(apart.values()) > DIFFERENCE_MIN, apart


@pytest.mark.parametrize("kind", KINDS)
def test_the_scene_shows_in_the_picture(kind: Kind) -> None:
    thumbnails = [thumbnail(make(landscape(), kind=kind, scene=scene)) for scene in (*SCENES, None)]
    assert all(float(np.abs(one - other).mean()) > 4 for one, other in itertools.combinations(thumbnails, 2))


def test_a_scene_nobody_knows_gets_the_kind_s_recipe_with_a_tint_of_its_own() -> None:
    assert make(portrait(), scene="moon-base").body != make(portrait()).body


def test_the_same_seed_and_index_give_the_same_bytes() -> None:
    assert make(portrait(), scene="paris-street", seed=7, index=3).body == make(portrait(), scene="paris-street", seed=7, index=3).body


def test_another_seed_gives_another_picture() -> None:
    assert make(portrait(), scene="beach-sunset", seed=2).body != make(portrait(), scene="beach-sunset", seed=4).body


def test_neighbouring_items_never_share_a_style() -> None:
    for seed in range(4):
        names = [style_for(seed, index).name for index in range(50)]
        assert all(one != other for one, other in itertools.pairwise(names))
        assert set(names) == {style.name for style in STYLES}


def test_the_print_has_the_asked_size_and_says_so() -> None:
    picture = make_picture(portrait(), kind="travel", scene="beach-sunset", seed=0, index=0, caption="", report=lambda *_: None)
    image = Image.open(io.BytesIO(picture.body))
    assert image.format == "WEBP"
    assert image.size == (picture.width, picture.height)
    assert 1200 <= max(image.size) <= 1600


def test_the_hidden_label_is_in_the_file_and_names_the_item() -> None:
    picture = make_picture(
        portrait(), kind="travel", scene=None, seed=0, index=2, caption="", report=lambda *_: None, produce_id="task-2", long_side_px=PROOF_PX
    )
    xmp = Image.open(io.BytesIO(picture.body)).info["xmp"].decode()
    assert "http://www.tc260.org.cn/ns/AIGC/1.0/" in xmp
    found = re.search(r"<TC260:AIGC>(.*?)</TC260:AIGC>", xmp)
    assert found
    label = json.loads(unescape(found[1]))
    assert label["Label"] == "1"
    assert label["ProduceID"] == label["PropagateID"] == "task-2"
    assert set(label) == {"Label", "ContentProducer", "ProduceID", "ReservedCode1", "ContentPropagator", "PropagateID", "ReservedCode2"}


def test_progress_rises_to_the_planned_steps() -> None:
    said: list[tuple[int, int, str]] = []
    make_picture(portrait(), kind="travel", scene="beach-sunset", seed=0, index=0, caption="", report=lambda *step: said.append(step), long_side_px=PROOF_PX)
    assert [done for done, _, _ in said] == list(range(said[0][1] + 1))
    assert len({planned for _, planned, _ in said}) == 1
    assert "low sun over the water" in [doing for _, _, doing in said]


def test_a_caption_in_letters_the_typeface_lacks_falls_back_instead_of_showing_boxes() -> None:
    with_chinese = make_picture(portrait(), kind="travel", scene=None, seed=0, index=2, caption="海边日落", report=lambda *_: None, long_side_px=PROOF_PX)
    assert with_chinese.body == make(portrait(), kind="travel", index=2).body


def encoded(image: Image.Image, form: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "photo",
    [
        encoded(Image.new("RGB", (1, 1), (9, 200, 90)), "PNG"),
        encoded(Image.new("RGB", (3000, 4), (9, 200, 90)), "PNG"),
        encoded(Image.new("RGB", (4, 3000), (9, 200, 90)), "PNG"),
        encoded(Image.new("RGBA", (90, 60), (9, 200, 90, 40)), "PNG"),
        encoded(Image.new("LA", (90, 60), (90, 40)), "PNG"),
        encoded(Image.new("P", (90, 60), 3), "PNG"),
        encoded(Image.new("I;16", (90, 60), 30_000), "PNG"),
        encoded(Image.new("1", (90, 60), 1), "PNG"),
        encoded(Image.new("CMYK", (90, 60), (9, 200, 90, 10)), "JPEG"),
        encoded(Image.new("L", (90, 60), 90), "WEBP"),
    ],
    ids=["one pixel", "thread", "needle", "transparent", "grey and alpha", "palette", "16 bit", "bilevel", "cmyk", "grey webp"],
)
def test_odd_photos_become_pictures_in_every_style(photo: bytes) -> None:
    for index in range(len(STYLES)):
        picture = make(photo, kind=KINDS[index % 3], scene=SCENES[index % 3], index=index)
        Image.open(io.BytesIO(picture.body)).load()


@pytest.mark.parametrize(
    "photo",
    [b"", b"not a photo", portrait()[:900], encoded(Image.new("RGB", (9, 9)), "GIF"), encoded(Image.new("RGB", (9, 9)), "BMP")],
    ids=["empty", "text", "cut off", "gif", "bmp"],
)
def test_what_is_no_photo_is_refused(photo: bytes) -> None:
    with pytest.raises(Refused):
        make(photo)


def test_a_photo_turned_by_its_camera_is_set_upright() -> None:
    image = Image.new("RGB", (300, 200), (200, 90, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif)
    picture = make(buffer.getvalue())
    assert picture.height is not None
    assert picture.width is not None
    assert picture.height > picture.width
