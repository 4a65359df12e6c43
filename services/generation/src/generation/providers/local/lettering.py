"""Words on pictures, set in the one typeface that Pillow ships."""

from functools import cache
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from generation.providers.local.canvas import Canvas, Plane, as_light, colour, luma, mix

Anchor = Literal["left", "middle", "right"]
CAPTION_LETTERS_MAX = 42
AI_MARK = "AI generated"
AI_MARK_SHARE = 0.05
"""GB 45438-2025 asks for letters of at least 5 % of the shorter side."""


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size_px)


def printable(text: str) -> str:
    """What the typeface can show: Latin letters, digits, plain punctuation. Other scripts are left out, never shown as boxes."""
    kept = "".join(letter if " " <= letter <= "~" or "\u00c0" <= letter <= "\u00ff" else " " for letter in text)
    words = " ".join(kept.split())
    if sum(letter.isalnum() for letter in words) < max(1, len(text.strip()) // 3):
        return ""
    return words if len(words) <= CAPTION_LETTERS_MAX else words[:CAPTION_LETTERS_MAX].rsplit(" ", 1)[0]


def _stamp_letters(text: str, size_px: int, tracking: float) -> Image.Image:
    font = _font(size_px)
    gap = size_px * tracking
    widths = [font.getlength(letter) + gap for letter in text]
    drawn = Image.new("L", (max(1, int(sum(widths) + size_px * 0.3)), int(size_px * 1.4)))
    pen = ImageDraw.Draw(drawn)
    if tracking == 0:
        pen.text((0, 0), text, font=font, fill=255)
        return drawn
    x = 0.0
    for letter, width in zip(text, widths, strict=True):
        pen.text((x, 0), letter, font=font, fill=255)
        x += width
    return drawn


def write(
    canvas: Canvas,
    text: str,
    *,
    at: tuple[float, float],
    size_px: float,
    ink: str,
    anchor: Anchor = "left",
    tracking: float = 0.0,
    opacity: float = 1.0,
    width_max_px: float | None = None,
) -> float:
    """Set one line with its top at `at`; shrinks to fit. Gives back the width in pixels."""
    size = max(7, round(size_px))
    letters = _stamp_letters(text, size, tracking)
    if width_max_px and letters.width > width_max_px:
        size = max(7, int(size * width_max_px / letters.width))
        letters = _stamp_letters(text, size, tracking)
    left = at[0] - {"left": 0.0, "middle": letters.width / 2, "right": float(letters.width)}[anchor]
    _blend(canvas, _mask(letters) * np.float32(opacity), round(left), round(at[1]), ink)
    return float(letters.width)


def _mask(letters: Image.Image) -> Plane:
    return np.asarray(np.asarray(letters, dtype=np.float32) / 255, dtype=np.float32)


def _blend(canvas: Canvas, mask: Plane, left: int, top: int, ink: str) -> None:
    height, width = canvas.shape[:2]
    y0, x0, y1, x1 = max(0, top), max(0, left), min(height, top + mask.shape[0]), min(width, left + mask.shape[1])
    if y0 >= y1 or x0 >= x1:
        return
    part = mask[y0 - top : y1 - top, x0 - left : x1 - left]
    canvas[y0:y1, x0:x1] = mix(canvas[y0:y1, x0:x1], as_light(colour(ink)), part)


def mark_as_generated(canvas: Canvas) -> Canvas:
    """The visible half of the AI label, in the lower right corner, dark on light and light on dark."""
    height, width = canvas.shape[:2]
    size = max(8, round(min(height, width) * AI_MARK_SHARE))
    letters = _stamp_letters(AI_MARK, size, 0.02)
    room = width * 0.9
    if letters.width > room:
        letters = _stamp_letters(AI_MARK, max(7, int(size * room / letters.width)), 0.0)
    edge = round(size * 0.35)
    top, left = height - letters.height - edge + round(size * 0.15), width - letters.width - edge
    under = canvas[max(0, top) : height - edge, max(0, left) : width - edge]
    dark_ground = float(np.sqrt(np.maximum(luma(under), 0)).mean()) < 0.55
    mask = _mask(letters)
    if dark_ground:
        _blend(canvas, mask * np.float32(0.5), left + max(1, size // 24), top + max(1, size // 24), "#000000")
    _blend(canvas, mask * np.float32(0.62), left, top, "#ffffff" if dark_ground else "#2a2a2a")
    return canvas
