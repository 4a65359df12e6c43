"""The ways a picture is printed: film, watercolour, duotone, pencil, instant print, screen print, noir, mosaic."""

# mypy: disable-error-code="no-any-return"
# numpy types an indexed array as Any, and nearly every line here ends in one.

from dataclasses import dataclass

import numpy as np

from generation.providers.local.canvas import (
    Canvas,
    Plane,
    as_light,
    blur,
    blur_canvas,
    clouds,
    colour,
    curve,
    dot_screen,
    edges,
    grain,
    grid,
    kuwahara,
    luma,
    mix,
    resize_plane,
    saturate,
    shrink_plane,
    smooth_step,
)
from generation.providers.local.lettering import write
from generation.providers.local.scenes import split_tone
from generation.providers.local.sitting import Sitting, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """A way of printing. Margins are shares of the sheet's long side: left, top, right, bottom."""

    name: str
    steps: tuple[Step, ...]
    margins: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    aspect: float | None = None


def _tone(canvas: Canvas) -> Plane:
    """Lightness as the eye counts it, 0 to 1."""
    return np.sqrt(np.clip(luma(canvas), 0, 1))


def _stretched(tone: Plane) -> Plane:
    """The same tones using the whole range; a flat photo stays calm."""
    low, high = (float(value) for value in np.percentile(tone[::4, ::4], (2, 98)))
    spread = max(high - low, 0.35)
    return np.clip((tone - np.float32((low + high - spread) / 2)) / np.float32(spread), 0, 1)


def _paper(sitting: Sitting, shape: tuple[int, ...], shade: str, *, tooth: float) -> Canvas:
    """A sheet with fibres and a little unevenness."""
    relief = clouds(sitting.rng, shape, coarse_px=5 * sitting.unit, octaves=2) + np.float32(0.6) * grain(sitting.rng, shape)
    return as_light(colour(shade)) * (1 + np.float32(tooth) * relief)[..., None]


def _on_sheet(picture: Canvas, sheet: Canvas, margins: tuple[float, float, float, float]) -> tuple[Canvas, tuple[int, int]]:
    long_px = max(sheet.shape[:2])
    left, top = round(margins[0] * long_px), round(margins[1] * long_px)
    sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet, (left, top)


def _sheet_shape(picture: Canvas, margins: tuple[float, float, float, float]) -> tuple[int, int]:
    """The sheet around a picture, such that the margins are shares of the sheet's own long side."""
    height, width = picture.shape[:2]
    long_px = max(width / (1 - margins[0] - margins[2]), height / (1 - margins[1] - margins[3]))
    return round(height + (margins[1] + margins[3]) * long_px), round(width + (margins[0] + margins[2]) * long_px)


# film


def halation(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Strong light scatters back through the film base, red first."""
    bright = np.maximum(luma(canvas) - np.float32(0.62), 0)
    return canvas + blur(bright, 16 * sitting.unit)[..., None] * as_light((0.85, 0.3, 0.14))


def film_stock(canvas: Canvas, sitting: Sitting) -> Canvas:
    """One of three stocks: warm portrait, slide, faded summer."""
    stock = int(sitting.rng.integers(3))
    if stock == 0:
        toned = split_tone(saturate(canvas, 1.04), shadows="#2f4f5a", highlights="#ffe2b8", strength=0.32)
        return curve(toned, ((0, 0.045), (0.25, 0.24), (0.6, 0.64), (1, 0.97)))
    if stock == 1:
        toned = split_tone(saturate(canvas, 1.24), shadows="#3a3560", highlights="#fff0d0", strength=0.2)
        return curve(toned, ((0, 0), (0.3, 0.25), (0.7, 0.76), (1, 1)))
    toned = split_tone(saturate(canvas, 0.9), shadows="#33506b", highlights="#ffd9b0", strength=0.42)
    return curve(toned, ((0, 0.1), (0.3, 0.32), (0.7, 0.74), (1, 0.94)))


def film_grain(canvas: Canvas, sitting: Sitting) -> Canvas:
    tone = _tone(canvas)
    strength = np.float32(0.1) * (1 - tone) * np.minimum(tone * 4, 1) + np.float32(0.025)
    speckle = grain(sitting.rng, canvas.shape, size_px=1.5 * sitting.unit)
    return np.maximum(canvas * (1 + strength * speckle)[..., None], 0)


FILM_MARGINS = (0.022, 0.022, 0.022, 0.054)


def film_print(canvas: Canvas, sitting: Sitting) -> Canvas:
    sheet = np.empty((*_sheet_shape(canvas, FILM_MARGINS), 3), dtype=np.float32)
    sheet[:] = as_light(colour("#f7f4ee"))
    return _on_sheet(canvas, sheet, FILM_MARGINS)[0]


# watercolour

WATER_MARGINS = (0.05, 0.05, 0.05, 0.05)


def wet_in_wet(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Edge-preserving smoothing at half size: the brush finds the shapes; a fine pen brings back what makes a face a face."""
    height, width = canvas.shape[:2]
    half = np.stack([shrink_plane(canvas[..., channel], 2) for channel in range(3)], axis=-1).clip(0, 1.2)
    for radius in (5, 3):
        half = kuwahara(half, max(2, round(radius * sitting.unit)))
    painted = np.stack([resize_plane(half[..., channel], (width, height)) for channel in range(3)], axis=-1).clip(0, 1.5)
    tone = blur(_tone(canvas), 1.3 * sitting.unit)
    pen = (tone + np.float32(0.05)) / (blur(tone, 8 * sitting.unit) + np.float32(0.05))
    return painted * np.clip(1 + (pen - 1) * np.float32(0.85), 0.35, 1.8)[..., None]


def washes(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Thin pigment: lighter and clearer than the photo, pooling dark along its edges, settling in the paper."""
    light = curve(saturate(np.clip(canvas, 0, 1), 1.35), ((0, 0.16), (0.2, 0.38), (0.55, 0.72), (1, 1)))
    tone = _tone(light)
    steep = blur(edges(tone), 1.2 * sitting.unit)
    pool = 1 - np.clip(steep * 5.5, 0, 0.42)
    flow = 1 + np.float32(0.13) * clouds(sitting.rng, canvas.shape, coarse_px=150 * sitting.unit, octaves=3)
    tooth = 1 + np.float32(0.075) * clouds(sitting.rng, canvas.shape, coarse_px=4.5 * sitting.unit, octaves=2) * (1.15 - tone)
    return light * (pool * flow * tooth)[..., None]


def ragged_paper(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Painted freehand on white paper: the paint ends where the brush did."""
    shape = _sheet_shape(canvas, WATER_MARGINS)
    sheet = _paper(sitting, shape, "#faf7f0", tooth=0.018)
    x, y = grid(canvas.shape)
    height, width = canvas.shape[:2]
    inside = np.minimum(np.minimum(x, 1 - x) * width, np.minimum(y, 1 - y) * height) / sitting.unit
    wander = clouds(sitting.rng, canvas.shape, coarse_px=90 * sitting.unit, octaves=4) * 17
    covered = smooth_step(inside + wander, 17, 21)
    rim = smooth_step(inside + wander, 17, 21) - smooth_step(inside + wander, 24, 36)
    painted = canvas * (1 - np.float32(0.28) * rim)[..., None]
    left, top = round(WATER_MARGINS[0] * max(shape)), round(WATER_MARGINS[1] * max(shape))
    sheet[top : top + height, left : left + width] *= mix(np.ones_like(canvas), np.clip(painted, 0, 1), covered)
    return sheet


# duotone

DUO_MARGINS = (0.045, 0.045, 0.045, 0.12)


def two_inks(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Shadow ink to accent to paper, mixed as inks in lightness order."""
    shadow, middle, accent, paper = (as_light(colour(code)) for code in sitting.inks)
    tone = _stretched(_tone(canvas))
    steps = np.linspace(0, 1, 512, dtype=np.float32)[:, None]
    through = middle if sitting.chance(0.5) else accent
    first = np.sqrt(shadow) + (np.sqrt(through) - np.sqrt(shadow)) * np.clip(steps / 0.52, 0, 1)
    ramp = first + (np.sqrt(paper) - first) * np.clip((steps - 0.52) / 0.48, 0, 1) ** 1.15
    return np.asarray((ramp * ramp)[(smooth_step(tone, -0.08, 1.08) * 511).astype(np.intp)], dtype=np.float32)


def fine_screen(canvas: Canvas, sitting: Sitting) -> Canvas:
    dots = dot_screen(canvas.shape, pitch_px=max(3.0, 4.2 * sitting.unit), degrees=22)
    return canvas * (1 + np.float32(0.1) * (dots - np.float32(0.5)))[..., None]


def poster(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Paper margins, the caption below in wide letters, a rule in the accent ink."""
    shape = _sheet_shape(canvas, DUO_MARGINS)
    sheet = _paper(sitting, shape, sitting.inks[3], tooth=0.012)
    sheet, (left, top) = _on_sheet(canvas, sheet, DUO_MARGINS)
    unit, foot = sitting.unit, top + canvas.shape[0]
    room = canvas.shape[1]
    rule = round(foot + 24 * unit)
    sheet[rule : rule + max(1, round(4 * unit)), left : left + round(64 * unit)] = as_light(colour(sitting.inks[1]))
    write(sheet, sitting.caption.upper(), at=(left, foot + 40 * unit), size_px=34 * unit, ink=sitting.inks[0], tracking=0.14, width_max_px=room * 0.62)
    return sheet


# pencil

PENCIL_MARGINS = (0.06, 0.06, 0.06, 0.06)


def dodge(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Lightness divided by its own blur leaves the lines; hatching in two directions gives the shadows back."""
    tone = _stretched(_tone(canvas))
    calm = blur(tone, 1.1 * sitting.unit)
    soft = blur(tone, 7 * sitting.unit)
    lines = np.clip((calm + np.float32(0.07)) / (soft + np.float32(0.07)), 0, 1)
    lines = np.clip(1 - (1 - lines) * np.float32(2.6), 0, 1)
    shade = blur(tone, 2.5 * sitting.unit)
    hatch = _hatching(sitting, canvas.shape, 38.0, shade, 0.62) * _hatching(sitting, canvas.shape, -22.0, shade, 0.4)
    tooth = clouds(sitting.rng, canvas.shape, coarse_px=3.2 * sitting.unit, octaves=2)
    dark = np.clip(1 - lines * hatch * (np.float32(0.7) + np.float32(0.3) * smooth_step(shade, 0.05, 0.6)), 0, 1)
    lead = np.clip(dark * (1 + np.float32(0.2) * tooth), 0, 1)
    graphite, white = as_light(colour("#34343c")), np.ones(3, dtype=np.float32)
    drawn = white + (graphite - white) * lead[..., None]
    lit = np.clip(canvas, np.float32(0.02), np.float32(1))
    hue: Canvas = lit / luma(lit)[..., None]
    wash = 1 + (np.clip(blur_canvas(hue, 9 * sitting.unit), 0.4, 1.7) - 1) * np.float32(0.3)
    return drawn * wash * np.clip(0.86 + 0.14 * smooth_step(shade, 0.1, 0.7), 0, 1)[..., None]


def _hatching(sitting: Sitting, shape: tuple[int, ...], degrees: float, shade: Plane, below: float) -> Plane:
    """Strokes where the picture is darker than `below`, thicker as it gets darker, never quite straight."""
    height, width = shape[:2]
    angle = np.deg2rad(degrees + sitting.between(-4, 4))
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    sway = clouds(sitting.rng, shape, coarse_px=120 * sitting.unit, octaves=2) * np.float32(2.2 * sitting.unit)
    stroke = np.cos(((x * np.sin(angle) + y * np.cos(angle)) + sway) * np.float32(2 * np.pi / max(3.4, 6.2 * sitting.unit)))
    need = np.clip((np.float32(below) - shade) / np.float32(below), 0, 1)
    return 1 - np.float32(0.8) * smooth_step(stroke + 2 * need, 0.75, 1.7) * np.minimum(need * 2.2, 1)


def sketchbook(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Off-white paper; the drawing fades out towards its edge."""
    shape = _sheet_shape(canvas, PENCIL_MARGINS)
    sheet = _paper(sitting, shape, "#e9dfcc", tooth=0.02)
    x, y = grid(canvas.shape)
    height, width = canvas.shape[:2]
    inside = np.minimum(np.minimum(x, 1 - x) * width, np.minimum(y, 1 - y) * height) / sitting.unit
    streak = clouds(sitting.rng, canvas.shape, coarse_px=60 * sitting.unit, octaves=4) * 26
    shown = smooth_step(inside + streak, 6, 64)
    left, top = round(PENCIL_MARGINS[0] * max(shape)), round(PENCIL_MARGINS[1] * max(shape))
    sheet[top : top + height, left : left + width] *= mix(np.ones_like(canvas), np.clip(canvas, 0, 1), shown)
    return sheet


# instant print

INSTANT_MARGINS = (0.052, 0.06, 0.052, 0.18)


def instant_chemistry(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Lifted blacks with a green-blue cast, creamy whites, uneven development."""
    faded = curve(saturate(canvas, 0.86), ((0, 0.15), (0.3, 0.37), (0.7, 0.76), (1, 0.93)))
    toned = split_tone(faded, shadows="#3d6a6a", highlights="#ffe6b0", strength=0.5)
    uneven = 1 + np.float32(0.05) * clouds(sitting.rng, canvas.shape, coarse_px=320 * sitting.unit, octaves=2)
    soft = mix(toned, blur_canvas(toned, 3 * sitting.unit), 0.4)
    x, y = grid(canvas.shape)
    corner = smooth_step(((x - 0.5) ** 2 + (y - 0.5) ** 2) * 2, 0.35, 1.0)
    return soft * (uneven * (1 - 0.42 * corner))[..., None]


def instant_frame(canvas: Canvas, sitting: Sitting) -> Canvas:
    """A square picture in the well-known white frame, the caption written below."""
    shape = _sheet_shape(canvas, INSTANT_MARGINS)
    sheet = _paper(sitting, shape, "#f3f0e8", tooth=0.008)
    sheet, (left, top) = _on_sheet(canvas, sheet, INSTANT_MARGINS)
    height, width = canvas.shape[:2]
    lip = max(1, round(2 * sitting.unit))
    sheet[top - lip : top, left - lip : left + width + lip] *= np.float32(0.7)
    sheet[top : top + height, left - lip : left] *= np.float32(0.78)
    foot = top + height
    write(
        sheet,
        sitting.caption,
        at=(left + 8 * sitting.unit, foot + 46 * sitting.unit),
        size_px=46 * sitting.unit,
        ink="#33414f",
        opacity=0.85,
        width_max_px=width * 0.56,
    )
    return sheet


# screen print

PRINT_MARGINS = (0.06, 0.06, 0.06, 0.1)
INK_REACH = ((0.5, 0.85), (0.3, 0.6), (0.12, 0.36))
"""Where each ink may begin, light to dark, so that a very bright or dark photo keeps some paper."""


def flat_shapes(canvas: Canvas, sitting: Sitting) -> Canvas:
    half = np.stack([shrink_plane(canvas[..., channel], 2) for channel in range(3)], axis=-1)
    half = kuwahara(np.clip(half, 0, 1.2), max(2, round(5 * sitting.unit)))
    height, width = canvas.shape[:2]
    return np.stack([resize_plane(half[..., channel], (width, height)) for channel in range(3)], axis=-1).clip(0, 1.5)


def pulled_inks(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Three inks pulled one after another on coloured paper, each a hair out of register, the middle one in dots."""
    shadow, middle, accent, paper = (as_light(colour(code)) for code in sitting.inks)
    tone = _stretched(_tone(canvas))
    shares = np.percentile(tone[::4, ::4], (70, 44, 20))
    cuts = [float(np.clip(share, *reach)) for share, reach in zip(shares, INK_REACH, strict=True)]
    printed = np.empty((*tone.shape, 3), dtype=np.float32)
    printed[:] = paper
    dots = dot_screen(tone.shape, pitch_px=max(4.0, 9.5 * sitting.unit), degrees=45)
    worn = clouds(sitting.rng, tone.shape, coarse_px=3 * sitting.unit, octaves=2)
    for number, (cut, ink) in enumerate(zip(cuts, (accent, middle, shadow), strict=True)):
        shift = (round(sitting.between(-2.4, 2.4) * sitting.unit), round(sitting.between(-2.4, 2.4) * sitting.unit))
        moved = np.roll(tone, shift, axis=(0, 1))
        edge = moved + (dots - np.float32(0.5)) * np.float32(0.3) if number == 1 else moved
        cover = 1 - smooth_step(edge, cut - 0.012, cut + 0.012)
        cover = cover * np.clip(1.0 - 0.16 * np.maximum(worn - 0.5, 0), 0, 1)
        printed = mix(printed, ink, cover * np.float32(0.96))
    return printed


def art_paper(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Wide margins, an edition number at the left, the caption at the middle, as printmakers do."""
    shape = _sheet_shape(canvas, PRINT_MARGINS)
    sheet = _paper(sitting, shape, "#f8f5ee", tooth=0.014)
    sheet, (left, top) = _on_sheet(canvas, sheet, PRINT_MARGINS)
    unit, foot = sitting.unit, top + canvas.shape[0] + 22 * sitting.unit
    edition = f"{sitting.index + 1}/50"
    write(sheet, edition, at=(left, foot), size_px=26 * unit, ink="#4a4a4f", opacity=0.85)
    write(
        sheet,
        sitting.caption,
        at=(left + canvas.shape[1] * 0.36, foot),
        size_px=26 * unit,
        ink="#4a4a4f",
        anchor="middle",
        opacity=0.85,
        width_max_px=canvas.shape[1] * 0.4,
    )
    return sheet


# noir


def red_filter(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Black and white through a red filter: skin glows, skies fall."""
    weights = as_light((0.62, 0.3, 0.08))
    grey = _stretched(np.sqrt(np.clip(canvas @ weights, 0, 1)))
    deep = curve(grey * grey, ((0, 0), (0.3, 0.17), (0.62, 0.6), (0.85, 0.92), (1, 1)))
    glow = blur(np.maximum(deep - np.float32(0.4), 0), 20 * sitting.unit) * np.float32(0.3)
    return (deep + glow)[..., None] * as_light((1.0, 0.985, 0.96))


def dark_matte(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Black edges, as if the whole negative had been printed."""
    height, width = canvas.shape[:2]
    x, y = grid(canvas.shape)
    inside = np.minimum(np.minimum(x, 1 - x) * width, np.minimum(y, 1 - y) * height) / sitting.unit
    rough = clouds(sitting.rng, canvas.shape, coarse_px=40 * sitting.unit, octaves=4) * 2.4
    kept = smooth_step(inside + rough, 24, 27)
    away = ((x - 0.5) / 0.7) ** 2 + ((y - 0.48) / 0.72) ** 2
    return canvas * (kept * (1 - 0.55 * smooth_step(away, 0.3, 1.2)))[..., None] + np.float32(0.004)


# mosaic


def tesserae(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Square stones, small where the picture is busy and large where it is calm, each a little different, set in grout."""
    small = max(3, round(11 * sitting.unit))
    height, width = canvas.shape[:2]
    rows, columns = -(-height // (small * 4)) * 4, -(-width // (small * 4)) * 4
    padded = np.pad(canvas, ((0, rows * small - height), (0, columns * small - width), (0, 0)), mode="edge")
    mean = padded.reshape(rows, small, columns, small, 3).mean(axis=(1, 3))
    size, stones = _quarter_stones(sitting, np.clip(mean, 0, 1))
    lit = _bevel(sitting, size, small)
    stones = np.repeat(np.repeat(stones, small, axis=0), small, axis=1)
    return (stones * lit[..., None])[:height, :width]


def _quarter_stones(sitting: Sitting, mean: Canvas) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.intp]], Canvas]:
    """For every smallest cell: the side of the stone it belongs to (1, 2 or 4 cells) and that stone's colour."""
    tone = np.sqrt(luma(mean))
    size = np.ones(tone.shape, dtype=np.intp)
    stones = mean.copy()
    for side, calm in ((2, 0.06), (4, 0.045)):
        blocks = tone.reshape(tone.shape[0] // side, side, tone.shape[1] // side, side)
        quiet = (blocks.max(axis=(1, 3)) - blocks.min(axis=(1, 3))) < calm
        average = mean.reshape(quiet.shape[0], side, quiet.shape[1], side, 3).mean(axis=(1, 3))
        spread = np.repeat(np.repeat(quiet, side, 0), side, 1)
        size[spread] = side
        stones = np.where(spread[..., None], np.repeat(np.repeat(average, side, 0), side, 1), stones)
    shade = np.ones_like(tone)
    for side in (1, 2, 4):
        own = sitting.rng.normal(1.0, 0.075, (tone.shape[0] // side, tone.shape[1] // side)).astype(np.float32)
        shade = np.where(size == side, np.repeat(np.repeat(own, side, 0), side, 1), shade)
    return size, saturate(stones, 1.14) * shade[..., None]


def _bevel(sitting: Sitting, size: np.ndarray[tuple[int, ...], np.dtype[np.intp]], small: int) -> Plane:
    """Light from the upper left on every stone, grout between them."""
    rows, columns = size.shape
    cell_y, cell_x = np.arange(rows)[:, None], np.arange(columns)[None, :]
    side = np.repeat(np.repeat(size * small, small, 0), small, 1).astype(np.float32)
    start_y = np.repeat(np.repeat((cell_y // size) * size * small, small, 0), small, 1)
    start_x = np.repeat(np.repeat((cell_x // size) * size * small, small, 0), small, 1)
    y = np.arange(rows * small, dtype=np.float32)[:, None] - start_y
    x = np.arange(columns * small, dtype=np.float32)[None, :] - start_x
    grout = max(1.0, 1.3 * sitting.unit)
    bevel = 2.2 * sitting.unit
    edge = np.minimum(np.minimum(x, side - 1 - x), np.minimum(y, side - 1 - y)).astype(np.float32)
    lit = 1 + 0.2 * (np.minimum(x, y) < bevel) - 0.22 * (np.minimum(side - 1 - x, side - 1 - y) < bevel)
    return np.where(edge < grout - 0.5, np.float32(0.3), lit).astype(np.float32)


STYLES: tuple[Style, ...] = (
    Style(
        name="film",
        steps=(Step("halation", halation), Step("film stock", film_stock), Step("film grain", film_grain), Step("white border", film_print)),
        margins=FILM_MARGINS,
    ),
    Style(
        name="watercolour",
        steps=(Step("wet in wet", wet_in_wet), Step("washes", washes), Step("watercolour paper", ragged_paper)),
        margins=WATER_MARGINS,
    ),
    Style(name="duotone", steps=(Step("two inks", two_inks), Step("fine screen", fine_screen), Step("poster", poster)), margins=DUO_MARGINS),
    Style(name="pencil", steps=(Step("pencil by dodge", dodge), Step("sketchbook", sketchbook)), margins=PENCIL_MARGINS),
    Style(
        name="instant",
        steps=(Step("instant chemistry", instant_chemistry), Step("instant frame", instant_frame)),
        margins=INSTANT_MARGINS,
        aspect=1.0,
    ),
    Style(
        name="screen print",
        steps=(Step("flat shapes", flat_shapes), Step("three inks", pulled_inks), Step("art paper", art_paper)),
        margins=PRINT_MARGINS,
    ),
    Style(name="noir", steps=(Step("red filter", red_filter), Step("film grain", film_grain), Step("dark matte", dark_matte))),
    Style(name="mosaic", steps=(Step("stones", tesserae),)),
)

PHOTOGRAPHIC_STARTS = (0, 4)
"""A task begins with a style that keeps the photo a photo: film or instant print."""


def style_for(seed: int, index: int) -> Style:
    """Neighbouring items never share a style; which one begins is drawn from the seed."""
    start = PHOTOGRAPHIC_STARTS[seed % len(PHOTOGRAPHIC_STARTS)]
    return STYLES[(start + index) % len(STYLES)]
