"""A song's cover: the photo as a square print with the title, or, without a photo, rings of light in the key's colour."""

import colorsys
import io

import numpy as np

from generation.providers.local.canvas import Canvas, as_light, crop_to, grain, open_photo, smooth_step, soft_plane, to_image, to_linear
from generation.providers.local.labels import picture_xmp
from generation.providers.local.lettering import mark_as_generated, printable, write
from generation.providers.local.moods import MOODS, Mood
from generation.providers.local.scenes import clarity, expose, split_tone
from generation.providers.local.sitting import Sitting

COVER_PX = 800
WEBP_QUALITY = 84
WEBP_EFFORT = 2


def make_cover(photo: bytes | None, *, title: str, mood: Mood, tonic: int, seed: int, produce_id: str) -> bytes:
    """A square WebP with both halves of the AI label."""
    rng = np.random.default_rng((seed % 2**63, 13))
    canvas = _from_photo(photo, rng) if photo else _rings(tonic, mood, rng)
    shade = soft_plane(canvas.shape, lambda x, y: 1 - np.float32(0.55) * smooth_step(np.float32(1) - y, 0.55, 1.0) + 0 * x)
    canvas = canvas * shade[..., None]
    canvas = canvas * (1 + np.float32(0.03) * grain(rng, canvas.shape))[..., None]
    unit = COVER_PX / 1000
    words = printable(title)
    if words:
        write(canvas, words, at=(46 * unit, 40 * unit), size_px=74 * unit, ink="#ffffff", width_max_px=COVER_PX * 0.88)
    write(canvas, "DARKROOM", at=(48 * unit, 130 * unit), size_px=24 * unit, ink="#ffffff", tracking=0.3, opacity=0.75)
    canvas = mark_as_generated(np.maximum(canvas, 0).astype(np.float32))
    buffer = io.BytesIO()
    to_image(canvas).save(buffer, "WEBP", quality=WEBP_QUALITY, method=WEBP_EFFORT, xmp=picture_xmp(f"{produce_id}-cover"))
    return buffer.getvalue()


def _from_photo(photo: bytes, rng: np.random.Generator) -> Canvas:
    square = crop_to(open_photo(photo, long_side_px=COVER_PX * 2), aspect=1.0).resize((COVER_PX, COVER_PX))
    sitting = Sitting(kind="song", scene=None, index=0, caption="", unit=COVER_PX / 1000, rng=rng, inks=())
    canvas = clarity(expose(to_linear(square), sitting), sitting)
    return split_tone(canvas, shadows="#2f3f6a", highlights="#ffe0b4", strength=0.3)


def _rings(tonic: int, mood: Mood, rng: np.random.Generator) -> Canvas:
    """Concentric waves around a low sun, coloured by the key, darker for darker moods."""
    night = MOODS.index(mood) / (len(MOODS) - 1)
    near = as_light(colorsys.hsv_to_rgb(tonic / 12, 0.62, 0.85 - 0.35 * night))
    far = as_light(colorsys.hsv_to_rgb((tonic / 12 + 0.12) % 1, 0.75, 0.3 - 0.16 * night))
    centre_x, centre_y = float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.5, 0.66))
    y, x = np.mgrid[0:COVER_PX, 0:COVER_PX].astype(np.float32) / COVER_PX
    away = np.hypot(x - centre_x, y - centre_y) + 0.004 * np.sin(np.arctan2(y - centre_y, x - centre_x) * 5 + tonic)
    waves = np.float32(0.5) + np.float32(0.5) * np.cos(away * np.float32(2 * np.pi * 9))
    light = np.exp(-away * 2.6) * (0.65 + 0.35 * smooth_step(waves.astype(np.float32), 0.25, 0.75))
    disc = 1 - smooth_step(away.astype(np.float32), 0.1, 0.106)
    canvas = far + (near - far) * light[..., None]
    sun = np.minimum(near * 1.7 + 0.25, 1.0)
    return np.asarray(canvas + (sun - canvas) * disc[..., None], dtype=np.float32)
