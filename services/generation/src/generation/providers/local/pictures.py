"""Makes one picture from one photo: a scene's light, a style's print, a mount, the labels, WebP."""

import io
from collections.abc import Callable

import numpy as np

from generation.providers.base import Kind, Result
from generation.providers.local.canvas import Canvas, crop_to, open_photo, to_image, to_linear
from generation.providers.local.labels import picture_xmp
from generation.providers.local.lettering import mark_as_generated, printable
from generation.providers.local.mounts import mount_for
from generation.providers.local.scenes import palettes, recipe
from generation.providers.local.sitting import Sitting
from generation.providers.local.styles import Style, style_for

Report = Callable[[int, int, str], None]

LONG_SIDE_PX = 1280
WEBP_QUALITY = 86
WEBP_EFFORT = 2
SEED_MODULUS = 2**63

CAPTIONS = {"beach-sunset": "Beach at sunset", "paris-street": "Paris, in the rain", "studio-simple": "Studio"}
KIND_CAPTIONS: dict[Kind, str] = {"fitting": "Lookbook", "photography": "Portrait", "travel": "Greetings"}


def make_picture(
    photo: bytes,
    *,
    kind: Kind,
    scene: str | None,
    seed: int,
    index: int,
    caption: str,
    report: Report,
    produce_id: str = "",
    long_side_px: int = LONG_SIDE_PX,
) -> Result:
    """The picture of one item. The same photo, seed and index give the same bytes. Raises Refused for a photo that does not decode."""
    style = style_for(seed, index)
    sitting = _sit(kind=kind, scene=scene, seed=seed, index=index, caption=caption, unit=long_side_px / 1000)
    mount = mount_for(kind, scene)
    steps = (*recipe(kind, scene), *style.steps, *mount.steps)
    planned = len(steps) + 2
    report(0, planned, "develop")
    canvas = _develop(photo, style, long_side_px=long_side_px * mount.share)
    for done, step in enumerate(steps, start=1):
        report(done, planned, step.name)
        canvas = _clean(step.run(canvas, sitting))
    report(planned - 1, planned, "label and save")
    canvas = mark_as_generated(canvas)
    body = _encode(canvas, produce_id or f"{seed}-{index}")
    report(planned, planned, "done")
    return Result(index=index, body=body, content_type="image/webp", width=canvas.shape[1], height=canvas.shape[0])


def _sit(*, kind: Kind, scene: str | None, seed: int, index: int, caption: str, unit: float) -> Sitting:
    rng = np.random.default_rng((seed % SEED_MODULUS, index))
    inks = palettes(scene)
    return Sitting(
        kind=kind,
        scene=scene,
        index=index,
        caption=printable(caption) or CAPTIONS.get(scene or "") or KIND_CAPTIONS.get(kind, "Darkroom"),
        unit=unit,
        rng=rng,
        inks=inks[(seed + index // 2) % len(inks)],
    )


def _develop(photo: bytes, style: Style, *, long_side_px: float) -> Canvas:
    """Decode so that the photo with the style's margins is as long as asked."""
    left, top, right, bottom = style.margins
    room = long_side_px * (1 - max(left + right, top + bottom))
    image = open_photo(photo, long_side_px=round(room))
    if style.aspect:
        square = crop_to(image, aspect=style.aspect)
        image = square.resize((round(room), round(room / style.aspect)))
    return to_linear(image)


def _clean(canvas: Canvas) -> Canvas:
    return canvas if canvas.dtype == np.float32 else canvas.astype(np.float32)


def _encode(canvas: Canvas, produce_id: str) -> bytes:
    buffer = io.BytesIO()
    to_image(canvas).save(buffer, "WEBP", quality=WEBP_QUALITY, method=WEBP_EFFORT, xmp=picture_xmp(produce_id))
    return buffer.getvalue()
