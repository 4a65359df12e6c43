"""Pictures made elsewhere get our label: decoded within limits, stripped of everything but pixels, encoded with the XMP that says what made them."""

import io
import struct
from typing import TYPE_CHECKING, Literal

from generation.providers.local.labels import picture_xmp

if TYPE_CHECKING:
    from PIL.Image import Image

PIXELS_MAX = 40_000_000
QUALITY = 92

PictureType = Literal["image/webp", "image/jpeg", "image/png"]
_TYPES: dict[str, PictureType] = {"WEBP": "image/webp", "JPEG": "image/jpeg", "PNG": "image/png"}
_UNREADABLE = (OSError, SyntaxError, ValueError, LookupError, TypeError, EOFError, struct.error)
"""What Pillow raises in the middle of a file that is not what it began as."""


def label_picture(body: bytes, *, produce_id: str) -> tuple[bytes, PictureType]:
    """The same picture with the label, and its type. Blocking and heavy: runs in the pool. Raises ValueError for what is no picture."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None  # our own limit is checked before anything is decoded
    try:
        with Image.open(io.BytesIO(body), formats=tuple(_TYPES)) as opened:
            # Several pictures in one JPEG, as telephones write them, go by a name of their own; the first is the picture.
            name = "JPEG" if opened.format == "MPO" else opened.format or ""
            if opened.width * opened.height > PIXELS_MAX:
                raise ValueError("it has too many pixels")
            opened.load()
            picture = _upright(opened).convert("RGBA" if opened.has_transparency_data and name != "JPEG" else "RGB")
    except _UNREADABLE as error:
        raise ValueError(str(error)[:200]) from None
    picture.info = {}
    written = io.BytesIO()
    label = picture_xmp(produce_id)
    if name == "PNG":
        from PIL.PngImagePlugin import PngInfo

        chunks = PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", label.decode())
        picture.save(written, "PNG", pnginfo=chunks, compress_level=3)
    else:
        picture.save(written, name, quality=QUALITY, xmp=label)
    return written.getvalue(), _TYPES[name]


def _upright(opened: "Image") -> "Image":
    """Turned as it says it is to be looked at: what says so is stripped."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(opened)
    except _UNREADABLE:  # what is said about it is broken, not the picture
        return opened
