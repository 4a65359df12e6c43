"""What the demo leaves in its folder: photo, pictures, contact sheet, song."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from suite.home import sentences

SHEET_WIDTH = 1600
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

    def keep_sheet(self, photo: bytes, cover: bytes | None, pictures: list[bytes]) -> Path:
        """The photo and the song's cover above, the pictures below."""
        return self.keep("contact-sheet.webp", draw_sheet([photo] if cover is None else [photo, cover], pictures))


def draw_sheet(*rows: list[bytes]) -> bytes:
    """Rows of pictures, each row as wide as the sheet and as high as that makes it, as WebP."""
    lines = [_line([Image.open(io.BytesIO(body)).convert("RGB") for body in row]) for row in rows if row]
    high = sum(line.height for line in lines) + MARGIN * (len(lines) + 1)
    sheet = Image.new("RGB", (SHEET_WIDTH, high), PAPER)
    top = MARGIN
    for line in lines:
        sheet.paste(line, (0, top))
        top += line.height + MARGIN
    out = io.BytesIO()
    sheet.save(out, "WEBP", quality=88)
    return out.getvalue()


def _line(pictures: list[Image.Image]) -> Image.Image:
    room = SHEET_WIDTH - MARGIN * (len(pictures) + 1)
    high = round(room / sum(picture.width / picture.height for picture in pictures))
    line = Image.new("RGB", (SHEET_WIDTH, high), PAPER)
    left = MARGIN
    for picture in pictures:
        wide = round(high * picture.width / picture.height)
        line.paste(picture.resize((wide, high), Image.Resampling.LANCZOS), (left, 0))
        left += wide + MARGIN
    return line
