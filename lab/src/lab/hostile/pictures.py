"""Files that are no pictures, or more than pictures."""

import io
import struct
import zipfile
import zlib
from functools import cache

from PIL import Image

SECRET = b"SECRET-IN-THE-TAIL"
_PIXEL_GIF = b"\x21\xf9\x04\x00\x01\x00\x00\x00\x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00"


@cache
def png(size: int = 48, *, colour: str = "teal") -> bytes:
    """A good one."""
    return _saved(Image.new("RGB", (size, size), colour), "PNG")


@cache
def jpeg_with_gps() -> bytes:
    """A photo that says where it was taken, and a comment."""
    picture = Image.new("RGB", (64, 48), "olive")
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    place = exif.get_ifd(0x8825)
    place.update({1: "N", 2: (48.0, 51.0, 30.0), 3: "E", 4: (2.0, 17.0, 40.0)})
    return _saved(picture, "JPEG", exif=exif, comment=SECRET)


@cache
def refused() -> dict[str, bytes]:
    """What no route may keep, by what it is."""
    good = png()
    return {
        "30000 x 30000 PNG": _claimed_png(30_000, 30_000),
        "12001 x 1 PNG": _claimed_png(12_001, 1),
        "2^31 x 2^31 PNG": _claimed_png(2**31 - 1, 2**31 - 1),
        "0 x 0 PNG": _claimed_png(0, 0),
        "5000-frame GIF": b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff" + _PIXEL_GIF * 5000 + b";",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
        "SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "HTML": b"<html><script>alert(1)</script></html>",
        "ZIP": _zipped(),
        "PDF": b"%PDF-1.7\n1 0 obj\n",
        "BMP": _saved(Image.new("RGB", (4, 4)), "BMP"),
        "TIFF": _saved(Image.new("RGB", (4, 4)), "TIFF"),
        "ICO": _saved(Image.new("RGB", (16, 16)), "ICO"),
        "ELF": b"\x7fELF\x02\x01\x01" + bytes(60),
        "animated WebP": _animated("WEBP"),
        "animated PNG": _animated("PNG"),
        "text": b"hello",
        "a NUL": b"\x00",
        "PNG's first bytes": good[:8],
        "PNG cut": good[:60],
        "JPEG's first bytes": b"\xff\xd8\xff\xe0",
        "JPEG of nothing": b"\xff\xd8\xff" + bytes(4000),
        "WebP of nothing": b"RIFF\xff\xff\xff\xffWEBPVP8 " + b"\xff" * 100,
        "PNG with a broken sum": good[:29] + b"\x00\x00\x00\x00" + good[33:],
        "GIF in PNG's name": b"GIF87a",
        "HTML behind JPEG's": b"\xff\xd8\xff<html>" + SECRET,
        "JPEG of 5000 scans": _many_scans(),
    }


@cache
def polyglot() -> bytes:
    """A good PNG that is a good ZIP as well."""
    return png() + _zipped()


FILE_NAMES: tuple[str, ...] = (
    "../../x.png",
    "..\\..\\x.png",
    "/etc/passwd",
    "a\x00.png",
    "a%00.png",
    "a\udce9.png",
    "\u202egnp.exe",
    "x.php",
    "x.png.html",
    "con",
    ".htaccess",
    "",
    "a" * 3000 + ".png",
    "%0d%0aX: 1.png",
    "名.png",
)


def _claimed_png(width: int, height: int) -> bytes:
    """One bit per pixel, all zero; the whole of it where that is affordable, because a bomb has to be real."""
    packer = zlib.compressobj(6)
    rows = bytes(100 * (1 + width // 8)) if height <= 30_000 else b""
    packed = b"".join(packer.compress(rows) for _ in range(height // 100 if rows else 0)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _zipped() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("index.html", SECRET)
    return packed.getvalue()


def _animated(name: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    written = io.BytesIO()
    frames[0].save(written, name, save_all=True, append_images=frames[1:], duration=10)
    return written.getvalue()


def _many_scans() -> bytes:
    good = _saved(Image.new("RGB", (16, 16), "red"), "JPEG", progressive=True)
    start = good.rfind(b"\xff\xda")
    return good[:start] + good[start:-2] * 5000 + good[-2:]


def _saved(picture: Image.Image, name: str, **options: object) -> bytes:
    written = io.BytesIO()
    picture.save(written, name, **options)
    return written.getvalue()
