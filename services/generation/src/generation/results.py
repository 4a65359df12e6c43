"""Whether a result is what it claims to be: it decodes, has the right type, and a song is long enough."""

import hashlib
import io
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from generation.providers.base import Kind, NotSent
from generation.providers.local.child import OverLimit
from generation.providers.local.pool import Pool, PoolBroken

PICTURE_TYPES = {"image/webp": "WEBP", "image/jpeg": "JPEG", "image/png": "PNG"}
SONG_TYPES = {"audio/ogg": frozenset({"OGG"}), "audio/mpeg": frozenset({"MP3", "MPEG"}), "audio/wav": frozenset({"WAV", "WAVEX"})}
PIXELS_MAX = 40_000_000
SIDE_MAX = 32_767
"""As much as an item's row can say."""
SONG_SECONDS_MIN = 1.0
SONG_SECONDS_MAX = 1_200.0
REMEMBERED_MAX = 256
DECODE_FRAMES = 65_536


class InvalidOutput(Exception):
    """The bytes are not the picture or song that was promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found: a size for a picture, a duration for a song."""

    width: int | None = None
    height: int | None = None
    duration_seconds: float | None = None


def check_result(body: bytes, content_type: str, *, kind: Kind) -> Checked:
    """Decode everything once. Blocking and heavy: call it in a worker (see Checker). Raises InvalidOutput."""
    return _check_song(body, content_type) if kind == "song" else _check_picture(body, content_type)


def _check_picture(body: bytes, content_type: str) -> Checked:
    from PIL import Image

    wanted = PICTURE_TYPES.get(content_type)
    if not wanted:
        raise InvalidOutput(f"{content_type} is not a picture type we deliver")
    try:
        with Image.open(io.BytesIO(body), formats=(wanted,)) as image:
            if image.width * image.height > PIXELS_MAX or max(image.size) > SIDE_MAX:
                raise InvalidOutput("the picture has too many pixels")
            image.load()
            return Checked(width=image.width, height=image.height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InvalidOutput(f"the result does not decode as {content_type}") from error


def _check_song(body: bytes, content_type: str) -> Checked:
    import soundfile

    wanted = SONG_TYPES.get(content_type)
    if not wanted:
        raise InvalidOutput(f"{content_type} is not a song type we deliver")
    try:
        with soundfile.SoundFile(io.BytesIO(body)) as file:
            if file.format not in wanted:
                raise InvalidOutput(f"the result is {file.format}, not {content_type}")
            if file.frames > SONG_SECONDS_MAX * file.samplerate:
                raise InvalidOutput("the song is too long")
            frames = sum(len(block) for block in file.blocks(blocksize=DECODE_FRAMES, dtype="float32"))
            seconds = frames / file.samplerate
    except (soundfile.LibsndfileError, RuntimeError, ValueError) as error:
        raise InvalidOutput(f"the result does not decode as {content_type}") from error
    if seconds < SONG_SECONDS_MIN:
        raise InvalidOutput(f"the song lasts {seconds:.1f} s, less than {SONG_SECONDS_MIN:.0f} s")
    return Checked(duration_seconds=round(seconds, 3))


class Checker:
    """Checks in the pool and remembers what it has seen by sha256, so that the same bytes are decoded once."""

    def __init__(self, pool: Pool, *, known: Mapping[str, Checked] | None = None) -> None:
        self._pool = pool
        self._known = dict(known or {})
        self._seen: OrderedDict[tuple[str, str, bool], Checked] = OrderedDict()

    async def check(self, body: bytes, content_type: str, *, kind: Kind, sha256: str | None = None) -> Checked:
        """Pass `sha256` (hex) where it is already known. Raises InvalidOutput; NotSent when the pool cannot take it now."""
        digest = sha256 or hashlib.sha256(body).hexdigest()
        if digest in self._known:
            return self._known[digest]
        key = (digest, content_type, kind == "song")
        if key not in self._seen:
            checked = await self._decode(body, content_type, kind)
            self._seen[key] = checked
            if len(self._seen) > REMEMBERED_MAX:
                self._seen.popitem(last=False)
        return self._seen[key]

    async def _decode(self, body: bytes, content_type: str, kind: Kind) -> Checked:
        try:
            return await self._pool.run(check_result, body, content_type, kind=kind)
        except OverLimit as error:
            raise InvalidOutput(str(error)) from error
        except PoolBroken as error:
            raise NotSent(str(error)) from error
