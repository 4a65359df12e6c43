"""One picture at a time, in a process that may die of it: decode within limits, turn upright, strip, encode again.

Started by `pool.py` as `python -m works.pictures.child <limits>`; reads one job per line, answers one line per job. Pillow is imported here only.
"""

import contextlib
import ctypes
import errno
import hashlib
import io
import json
import math
import os
import resource
import select
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageCms, ImageFile
from PIL import WebPImagePlugin as _WebP  # noqa: F401 - Image.open would load every plugin there is to find it

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A progressive JPEG of a camera has about ten scans; each one is a pass over the whole picture, so thousands in a small file cost minutes.
_JPEG_SCANS_MAX = 100
_JPEG_SCAN = b"\xff\xda"
# Deflating 40 megapixels takes tens of seconds; what has no transparency becomes a JPEG instead.
_PNG_PIXELS_MAX = 8_000_000
_TYPES = {"JPEG": ("image/jpeg", "jpg"), "PNG": ("image/png", "png"), "WEBP": ("image/webp", "webp")}
_QUALITY = 90
_SMALL_QUALITY = 80


class Refused(Exception):
    """Not a picture we take. The reason is `too-large` or `unreadable`, the slug a sentence of `common.messages`."""

    def __init__(self, reason: str, slug: str) -> None:
        super().__init__(slug)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may take."""

    parent: int
    pixels_max: int
    side_max: int
    memory_bytes_max: int
    output_bytes_max: int
    cpu_seconds_max: int
    idle_seconds: float


def main() -> None:
    limits = Limits(**json.loads(sys.argv[1]))
    _restrict(limits)
    Image.MAX_IMAGE_PIXELS = None  # our own limits are checked before anything is decoded
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    # Whatever a library prints must not look like an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs = sys.stdin.buffer
    while select.select([jobs], [], [], limits.idle_seconds)[0]:
        line = jobs.readline()
        if not line:
            return
        _allow_cpu(limits.cpu_seconds_max)
        answers.write(json.dumps(_answer(json.loads(line), limits)) + "\n")
        answers.flush()


def _restrict(limits: Limits) -> None:
    """Die with the parent, even when it is killed; no growth, no core, no large files, no new rights."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != limits.parent:
        sys.exit(0)  # it died before we asked to be told
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, 64)
    _lower(resource.RLIMIT_FSIZE, limits.output_bytes_max)
    if sys.platform == "linux":
        _lower(resource.RLIMIT_AS, limits.memory_bytes_max)


def _lower(kind: int, amount: int) -> None:
    _, hard = resource.getrlimit(kind)
    amount = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    resource.setrlimit(kind, (amount, amount))


def _allow_cpu(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used.ru_utime + used.ru_stime) + seconds, hard))


def _answer(job: dict[str, Any], limits: Limits) -> dict[str, Any]:
    try:
        if "side_px" in job:
            return _shrink(Path(job["source"]), Path(job["target"]), job["format"], job["side_px"], limits)
        return _clean(Path(job["source"]), Path(job["target"]), job["format"], limits)
    except Refused as error:
        return {"refused": error.reason, "slug": str(error)}
    except MemoryError:
        return {"refused": "unreadable", "slug": "decoding-too-heavy"}
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return {"no_room": True}
        # Whatever a decoder trips over, the file is at fault: it is refused, and the process is good for the next one.
        return {"refused": "unreadable", "slug": "undecodable", "cause": type(error).__name__}


def _clean(source: Path, target: Path, name: str, limits: Limits) -> dict[str, Any]:
    picture = _decode(source, name, limits)
    kept = _save(picture, target, name)
    content_type, extension = _TYPES[kept]
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with target.open("rb") as written:
        while chunk := written.read(1 << 20):
            md5.update(chunk)
            sha256.update(chunk)
    return {
        "content_type": content_type,
        "extension": extension,
        "width": picture.width,
        "height": picture.height,
        "size_bytes": target.stat().st_size,
        "md5": md5.hexdigest(),
        "sha256": sha256.hexdigest(),
    }


def _shrink(source: Path, target: Path, name: str, side_px: int, limits: Limits) -> dict[str, Any]:
    """A small picture; what is small enough keeps its size."""
    picture = _decode(source, name, limits, side_px=side_px)
    picture.thumbnail((side_px, side_px), Image.Resampling.LANCZOS)
    picture.save(target, "WEBP", quality=_SMALL_QUALITY, method=4)
    return {}


def _decode(source: Path, name: str, limits: Limits, *, side_px: int | None = None) -> Image.Image:
    """The pixels, upright, in sRGB, and nothing else of the file; a JPEG of which little is wanted is decoded at a fraction of its size."""
    with Image.open(source, formats=[name]) as opened:
        _check(opened, source, name, limits)
        orientation = _orientation_of(opened)
        if side_px is not None and name == "JPEG":
            opened.draft(None, (2 * side_px, 2 * side_px))
        opened.load()
        picture = _plain(opened)
    if orientation in _TURNS:
        picture = picture.transpose(_TURNS[orientation])
    picture.info = {}  # some encoders carry comments, profiles and XMP over from here
    return picture


def _check(opened: Image.Image, source: Path, name: str, limits: Limits) -> None:
    """Everything that can be known from the headers, before a pixel is decoded."""
    width, height = opened.size
    if width < 1 or height < 1:
        raise Refused("unreadable", "empty")
    if max(width, height) > limits.side_max or width * height > limits.pixels_max:
        raise Refused("too-large", "pixels")
    # A phone's JPEG may carry more pictures (depth, gain map) behind the first; that is no animation, and they go away with the rest.
    if name != "JPEG" and getattr(opened, "n_frames", 1) > 1:
        raise Refused("unreadable", "animated")
    if name == "JPEG" and source.read_bytes().count(_JPEG_SCAN) > _JPEG_SCANS_MAX:
        raise Refused("unreadable", "scans")


def _orientation_of(opened: Image.Image) -> int:
    try:
        return int(opened.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1  # broken metadata of a good picture: it goes away anyway


def _plain(opened: Image.Image) -> Image.Image:
    """The pixels as L, LA, RGB or RGBA. Copies only where the mode changes: a large picture is 160 MiB."""
    picture = opened
    if picture.mode.startswith(("I", "F")):
        picture = picture.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    grey = picture.mode in ("1", "L", "LA", "La")
    mode = ("LA" if grey else "RGBA") if opened.has_transparency_data else ("L" if grey else "RGB")
    profile = opened.info.get("icc_profile")
    if profile and not grey:
        picture = _in_srgb(picture, profile, mode)
    return picture if picture.mode == mode else picture.convert(mode)


def _in_srgb(picture: Image.Image, profile: bytes, mode: str) -> Image.Image:
    """The same colours without the profile; a profile that cannot be read is only forgotten."""
    with contextlib.suppress(Exception):
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(given):
            return picture
        source = picture if picture.mode in (mode, "CMYK") else picture.convert(mode)
        turned = ImageCms.profileToProfile(source, given, ImageCms.createProfile("sRGB"), outputMode=mode)
        if turned is not None:
            return turned
    return picture


def _save(picture: Image.Image, target: Path, name: str) -> str:
    """Encode in the format it came in, where that is affordable; answers the format taken."""
    opaque = picture.mode in ("L", "RGB")
    if name == "PNG" and opaque and picture.width * picture.height > _PNG_PIXELS_MAX:
        name = "JPEG"
    if name == "WEBP":
        try:
            picture.save(target, "WEBP", quality=_QUALITY, method=2)
            return name
        except ValueError:
            # WebP cannot hold some very large and very detailed pictures.
            name = "JPEG" if opaque else "PNG"
    if name == "JPEG":
        picture.save(target, "JPEG", quality=_QUALITY)
    else:
        picture.save(target, "PNG", compress_level=3 if picture.width * picture.height <= _PNG_PIXELS_MAX else 1)
    return name


if __name__ == "__main__":
    main()
