"""How the finished sheet is shown: on a studio backdrop, with a lookbook's swatches, with a postmark, or as it is."""

# mypy: disable-error-code="no-any-return"
# numpy types an indexed array as Any, and nearly every line here ends in one.

from dataclasses import dataclass

import numpy as np

from generation.providers.base import Kind
from generation.providers.local.canvas import Canvas, Plane, Rgb, as_light, blur, clouds, colour, grid, luma, mix, smooth_step, soft_plane
from generation.providers.local.lettering import write
from generation.providers.local.sitting import Sitting, Step

BACKDROP_SHARE = 0.84
CARD_SHARE = 0.06
SWATCHES = 5


@dataclass(frozen=True, slots=True)
class Mount:
    """Steps after the print, and the share of the final long side that is left for the print."""

    steps: tuple[Step, ...] = ()
    share: float = 1.0


def seamless_backdrop(sheet: Canvas, sitting: Sitting) -> Canvas:
    """The print stands before a paper sweep: a pool of light on the wall, a rounded turn to the floor, a soft shadow."""
    height, width = sheet.shape[:2]
    pad = round(max(height, width) * (1 - BACKDROP_SHARE) / BACKDROP_SHARE / 2)
    shape = (height + 2 * pad, width + 2 * pad)
    _, y = grid(shape)
    wall = as_light(colour(BACKDROPS[(sitting.index + int(sitting.rng.integers(2)) * 3) % len(BACKDROPS)]))
    pool = soft_plane(shape, lambda x, y: np.exp(-(((x - 0.42) / np.float32(0.55)) ** 2 + ((y - 0.36) / np.float32(0.5)) ** 2)))
    floor = smooth_step(y, 0.8, 0.93)
    shade = np.float32(0.6) + np.float32(0.52) * pool + np.float32(0.12) * floor - np.float32(0.1) * smooth_step(y, 0.74, 0.83) * (1 - floor)
    fibre = 1 + np.float32(0.008) * clouds(sitting.rng, shape, coarse_px=6 * sitting.unit, octaves=2)
    room = wall * (shade * fibre)[..., None]
    room *= (1 - _cast_shadow(shape, pad, sheet.shape, sitting))[..., None]
    room[pad : pad + height, pad : pad + width] = sheet
    return room


BACKDROPS = ("#d9d2c7", "#b9c4c9", "#d8b9a8", "#8d9a8f", "#c9c0d3", "#5f6a75")


def _cast_shadow(shape: tuple[int, int], pad: int, sheet: tuple[int, ...], sitting: Sitting) -> Plane:
    """Close and dark at the edge, wide and faint away from it, falling to the lower right."""
    solid = np.zeros(shape, dtype=np.float32)
    solid[pad : pad + sheet[0], pad : pad + sheet[1]] = 1
    near = np.roll(blur(solid, 5 * sitting.unit), (round(4 * sitting.unit), round(3 * sitting.unit)), axis=(0, 1))
    far = np.roll(blur(solid, 26 * sitting.unit), (round(24 * sitting.unit), round(16 * sitting.unit)), axis=(0, 1))
    return np.clip(near * np.float32(0.38) + far * np.float32(0.42), 0, 0.8)


def dominant(canvas: Canvas, count: int) -> list[Rgb]:
    """The picture's own colours, most frequent first, no two alike."""
    pixels = np.sqrt(np.clip(canvas[:: max(1, canvas.shape[0] // 40), :: max(1, canvas.shape[1] // 40)].reshape(-1, 3), 0, 1))
    cells, counts = np.unique((pixels * 6.99).astype(np.intp) @ np.array([49, 7, 1]), return_counts=True)
    codes = (pixels * 6.99).astype(np.intp) @ np.array([49, 7, 1])
    vivid = [float(np.ptp(pixels[codes == cell].mean(axis=0))) for cell in cells]
    order = np.argsort(-(counts * (0.4 + np.array(vivid))))
    chosen: list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = []
    for cell in cells[order]:
        mean = pixels[codes == cell].mean(axis=0)
        if all(float(np.abs(mean - other).max()) > 0.12 for other in chosen):
            chosen.append(mean)
        if len(chosen) == count:
            break
    return [(float(rgb[0]) ** 2, float(rgb[1]) ** 2, float(rgb[2]) ** 2) for rgb in chosen]


def lookbook_card(sheet: Canvas, sitting: Sitting) -> Canvas:
    """A foot of card below the print with a lookbook's colour chips, taken from the picture itself."""
    unit = sitting.unit
    foot = round(CARD_SHARE * max(sheet.shape[:2]))
    card = np.empty((sheet.shape[0] + foot, sheet.shape[1], 3), dtype=np.float32)
    card[:] = as_light(colour(sitting.inks[3]))
    card[: sheet.shape[0]] = sheet
    side, gap = round(42 * unit), round(10 * unit)
    top = sheet.shape[0] + (foot - side) // 2
    inner = sheet[sheet.shape[0] // 8 : -max(1, sheet.shape[0] // 8), sheet.shape[1] // 8 :]
    for place, rgb in enumerate(dominant(inner, SWATCHES)):
        left = round(26 * unit) + place * (side + gap)
        if left + side < sheet.shape[1] * 0.6:
            card[top - 1 : top + side + 1, left - 1 : left + side + 1] *= np.float32(0.72)
            card[top : top + side, left : left + side] = as_light(rgb)
    return card


def postmark(sheet: Canvas, sitting: Sitting) -> Canvas:
    """A round cancellation with waves in the upper right corner, inked unevenly."""
    height, width = sheet.shape[:2]
    unit = sitting.unit
    radius = 62 * unit
    centre = (width - 112 * unit, 104 * unit)
    rows = np.arange(height, dtype=np.float32)[:, None] - np.float32(centre[1])
    columns = np.arange(width, dtype=np.float32)[None, :] - np.float32(centre[0])
    away = np.sqrt(rows * rows + columns * columns)
    line = max(0.8, 1.5 * unit)
    ring = np.maximum(_near(away, radius, line), _near(away, radius * 0.68, line * 0.7))
    wave_rows = rows - 5 * unit * np.sin(columns / np.float32(13 * unit))
    waves = np.zeros_like(away)
    for number in range(-2, 3):
        waves = np.maximum(waves, _near(wave_rows, number * 19 * unit, line))
    waves = waves * ((columns < -radius) & (columns > -radius - 190 * unit))
    ink = np.maximum(ring, waves) * np.clip(0.85 + 0.45 * clouds(sitting.rng, sheet.shape, coarse_px=26 * unit, octaves=3), 0.15, 1)
    ground = float(luma(sheet[: round(200 * unit), -round(320 * unit) :]).mean())
    tint = "#1f2c46" if ground > 0.2 else "#f4efe2"
    marked = mix(sheet, as_light(colour(tint)), ink * np.float32(0.72))
    write(marked, f"{sitting.index + 1:02d}", at=(centre[0], centre[1] - 24 * unit), size_px=40 * unit, ink=tint, anchor="middle", opacity=0.75)
    return marked


def _near(plane: Plane, value: float, width: float) -> Plane:
    return np.clip(1.4 - np.abs(plane - np.float32(value)) / np.float32(width), 0, 1)


BACKDROP = Step("seamless backdrop", seamless_backdrop)
TOUCHES: dict[Kind, tuple[Step, ...]] = {
    "fitting": (Step("colour chips", lookbook_card),),
    "travel": (Step("postmark", postmark),),
}


def mount_for(kind: Kind, scene: str | None) -> Mount:
    touches = TOUCHES.get(kind, ())
    share = 1 / (1 + CARD_SHARE) if kind == "fitting" else 1.0
    return Mount((*touches, BACKDROP), share * BACKDROP_SHARE) if scene == "studio-simple" else Mount(touches, share)
