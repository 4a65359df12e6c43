"""What the demo leaves in its folder: photo, pictures, contact sheet, song."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps

from suite.home import sentences

SHEET = (1600, 1000)
MARGIN = 24
PAPER = (22, 22, 26)
_ENDINGS = {"audio/ogg": "ogg", "audio/mpeg": "mp3", "audio/wav": "wav", "audio/flac": "flac", "audio/x-wav": "wav"}


class Keepsakes:
    """A folder of results; what an earlier demo left is replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with sentences(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for pattern in ("picture-*.webp", "song.*", "contact-sheet.webp"):
                for old in folder.glob(pattern):
                    old.unlink()

    def keep(self, name: str, body: bytes) -> Path:
        with sentences(self.folder):
            (self.folder / name).write_bytes(body)
        return self.folder / name

    def keep_song(self, body: bytes, content_type: str) -> Path:
        return self.keep(f"song.{_ENDINGS.get(content_type, 'audio')}", body)

    def keep_sheet(self, photo: bytes, pictures: list[bytes]) -> Path:
        """The photo on the left, what became of it on the right."""
        return self.keep("contact-sheet.webp", draw_sheet(photo, pictures))


def draw_sheet(photo: bytes, pictures: list[bytes]) -> bytes:
    """One sheet with everything on it, as WebP."""
    sheet = Image.new("RGB", SHEET, PAPER)
    wide, high = SHEET[0] // 2, SHEET[1]
    _place(sheet, photo, (0, 0, wide, high))
    for number, picture in enumerate(pictures[:4]):
        left, top = wide + (number % 2) * wide // 2, (number // 2) * high // 2
        _place(sheet, picture, (left, top, left + wide // 2, top + high // 2))
    out = io.BytesIO()
    sheet.save(out, "WEBP", quality=88)
    return out.getvalue()


def _place(sheet: Image.Image, body: bytes, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    room = (right - left - MARGIN, bottom - top - MARGIN)
    picture = ImageOps.contain(Image.open(io.BytesIO(body)).convert("RGB"), room, Image.Resampling.LANCZOS)
    sheet.paste(picture, (left + (right - left - picture.width) // 2, top + (bottom - top - picture.height) // 2))
