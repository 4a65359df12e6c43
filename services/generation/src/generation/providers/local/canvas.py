"""The darkroom's table: decoding into linear light, curves, blurs, grain, and encoding back."""

# mypy: disable-error-code="no-any-return"
# numpy types an indexed array as Any, and nearly every line here ends in one.

import io
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from generation.providers.base import Refused

Canvas = npt.NDArray[np.float32]
"""Height x width x 3, linear light, 0 is black and 1 is paper white; may exceed 1 until it is encoded."""
Plane = npt.NDArray[np.float32]
"""Height x width."""
Rgb = tuple[float, float, float]

PHOTO_FORMATS = ("JPEG", "PNG", "WEBP")
PHOTO_PIXELS_MAX = 40_000_000
ASPECT_MAX = 2.0
LUMA = np.array([0.2126, 0.7152, 0.0722], dtype=np.float32)
ENCODE_STEPS = 16_384
CURVE_STEPS = 2_048
SLICED_RADIUS_MAX = 5


def open_photo(photo: bytes, *, long_side_px: int) -> Image.Image:
    """Decode once, upright, RGB, long side as asked. Raises Refused for anything that is not a sane photo."""
    try:
        opened = Image.open(io.BytesIO(photo), formats=PHOTO_FORMATS)
        if opened.width * opened.height > PHOTO_PIXELS_MAX:
            raise Refused("the photo has too many pixels")
        opened.draft("RGB", (long_side_px, long_side_px))
        upright = ImageOps.exif_transpose(opened)
        return _fit(_on_white(_reduced(upright, long_side_px)), long_side_px)
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise Refused("the photo cannot be decoded") from error


def _reduced(image: Image.Image, long_side_px: int) -> Image.Image:
    """A much too large photo is averaged down first: everything after costs by the pixel."""
    factor = max(image.size) // (2 * long_side_px)
    return image.reduce(factor) if factor > 1 and image.mode in ("RGB", "RGBA", "L", "LA", "CMYK") else image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _fit(image: Image.Image, long_side_px: int) -> Image.Image:
    """Trim panoramas to a printable shape, a little above the middle where faces are, and bring to size."""
    width, height = image.size
    if width > height * ASPECT_MAX:
        image = crop_to(image, aspect=ASPECT_MAX)
    elif height > width * ASPECT_MAX:
        image = crop_to(image, aspect=1 / ASPECT_MAX)
    scale = long_side_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def crop_to(image: Image.Image, *, aspect: float) -> Image.Image:
    width, height = image.size
    if width / height > aspect:
        keep = max(1, round(height * aspect))
        left = (width - keep) // 2
        return image.crop((left, 0, left + keep, height))
    keep = max(1, round(width / aspect))
    top = int((height - keep) * 0.38)
    return image.crop((0, top, width, top + keep))


@cache
def _decode_table() -> npt.NDArray[np.float32]:
    level = np.arange(256) / 255.0
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4).astype(np.float32)


@cache
def _encode_table() -> npt.NDArray[np.uint8]:
    light = np.arange(ENCODE_STEPS) / (ENCODE_STEPS - 1)
    level = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(level * 255).astype(np.uint8)


def to_linear(image: Image.Image) -> Canvas:
    return _decode_table()[np.asarray(image)]


def to_image(canvas: Canvas) -> Image.Image:
    steps = (np.clip(canvas, 0.0, 1.0) * (ENCODE_STEPS - 1)).astype(np.uint16)
    return Image.fromarray(_encode_table()[steps])


def colour(code: str) -> Rgb:
    """`#rrggbb` as linear light."""
    table = _decode_table()
    red, green, blue = (float(table[int(code[at : at + 2], 16)]) for at in (1, 3, 5))
    return red, green, blue


def as_light(rgb: Rgb | npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.asarray(rgb, dtype=np.float32)


def luma(canvas: Canvas) -> Plane:
    return canvas @ LUMA


def mix(base: Canvas, over: Canvas | npt.NDArray[np.float32], weight: Plane | float) -> Canvas:
    if isinstance(weight, np.ndarray):
        weight = weight[..., None]
    return base + (over - base) * weight


def saturate(canvas: Canvas, amount: float) -> Canvas:
    grey = luma(canvas)[..., None]
    return np.maximum(grey + (canvas - grey) * np.float32(amount), np.float32(0))


def curve(plane: npt.NDArray[np.float32], points: tuple[tuple[float, float], ...]) -> npt.NDArray[np.float32]:
    """A tone curve through (in, out) points, drawn in square-root space, which is close to how the eye counts."""
    xs, ys = zip(*points, strict=True)
    table = _smooth_curve(np.array(xs), np.array(ys))
    steps = (np.sqrt(np.clip(plane, 0.0, 1.0)) * (CURVE_STEPS - 1)).astype(np.uint16)
    return table[steps]


def _smooth_curve(xs: npt.NDArray[np.float64], ys: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    at = np.linspace(0.0, 1.0, CURVE_STEPS)
    straight = np.interp(at, xs, ys)
    window = CURVE_STEPS // 10
    padded = np.concatenate([np.full(window, straight[0]), straight, np.full(window, straight[-1])])
    sums = np.cumsum(np.concatenate([[0.0], padded]))
    rounded = (sums[2 * window :] - sums[: -2 * window])[:CURVE_STEPS] / (2 * window)
    return (np.clip(rounded, 0.0, 1.0) ** 2).astype(np.float32)


def resize_plane(plane: Plane, size: tuple[int, int], *, kind: Image.Resampling = Image.Resampling.BICUBIC) -> Plane:
    """To (width, height)."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, kind), dtype=np.float32)


def shrink_plane(plane: Plane, factor: int) -> Plane:
    height, width = plane.shape
    size = (max(1, math.ceil(width / factor)), max(1, math.ceil(height / factor)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size, Image.Resampling.BOX), dtype=np.float32)


def box(plane: npt.NDArray[np.float32], radius: int) -> npt.NDArray[np.float32]:
    """Mean over a square of 2 x radius + 1, edges repeated; works on planes and canvases."""
    if radius < 1:
        return plane
    for axis in (0, 1):
        plane = box_along(plane, radius, axis)
    return plane


def box_along(plane: npt.NDArray[np.float32], radius: int, axis: int) -> npt.NDArray[np.float32]:
    if radius <= SLICED_RADIUS_MAX:
        return _sliced_box(plane, radius, axis)
    pads = [(0, 0)] * plane.ndim
    pads[axis] = (radius + 1, radius)
    sums = np.cumsum(np.pad(plane, pads, mode="edge"), axis=axis, dtype=np.float64)
    length = plane.shape[axis]
    size = 2 * radius + 1
    high = np.take(sums, range(size, size + length), axis=axis)
    low = np.take(sums, range(length), axis=axis)
    return ((high - low) / size).astype(np.float32)


def _sliced_box(plane: npt.NDArray[np.float32], radius: int, axis: int) -> npt.NDArray[np.float32]:
    """Adding a few shifted copies is faster than running sums."""
    pads = [(0, 0)] * plane.ndim
    pads[axis] = (radius, radius)
    padded = np.pad(plane, pads, mode="edge")
    length = plane.shape[axis]
    at = [slice(None)] * plane.ndim
    at[axis] = slice(0, length)
    total = padded[tuple(at)].copy()
    for start in range(1, 2 * radius + 1):
        at[axis] = slice(start, start + length)
        total += padded[tuple(at)]
    total *= np.float32(1 / (2 * radius + 1))
    return total


def blur(plane: Plane, radius_px: float) -> Plane:
    """Close to a Gaussian of that radius; wide ones are computed small, where nobody can tell."""
    factor = max(1, int(radius_px / 2.5))
    small = shrink_plane(plane, factor) if factor > 1 else plane
    step = max(1, round(radius_px / factor * 0.9))
    for _ in range(2):
        small = box(small, step)
    return resize_plane(small, (plane.shape[1], plane.shape[0]), kind=Image.Resampling.BILINEAR) if factor > 1 else small


def blur_canvas(canvas: Canvas, radius_px: float) -> Canvas:
    return np.stack([blur(canvas[..., channel], radius_px) for channel in range(3)], axis=-1)


def grid(shape: tuple[int, ...]) -> tuple[Plane, Plane]:
    """Columns and rows as 0..1, ready to broadcast: x is 1 x width, y is height x 1."""
    height, width = shape[:2]
    xs = ((np.arange(width) + 0.5) / width).astype(np.float32)
    ys = ((np.arange(height) + 0.5) / height).astype(np.float32)
    return xs[None, :], ys[:, None]


def soft_plane(shape: tuple[int, ...], draw: Callable[[Plane, Plane], Plane]) -> Plane:
    """A smooth function of x and y (0..1), drawn at an eighth of the size and enlarged: soft light needs no more."""
    height, width = shape[:2]
    x, y = grid((max(2, -(-height // 8)), max(2, -(-width // 8))))
    small = np.broadcast_to(draw(x, y), (y.shape[0], x.shape[1])).astype(np.float32)
    return resize_plane(small, (width, height), kind=Image.Resampling.BILINEAR)


def clouds(rng: np.random.Generator, shape: tuple[int, ...], *, coarse_px: float, octaves: int = 3) -> Plane:
    """Smooth random relief around 0, about -1 to 1, largest lumps `coarse_px` wide. Wide lumps are drawn at quarter size."""
    height, width = shape[:2]
    quarter = (max(2, -(-width // 4)), max(2, -(-height // 4)))
    wide = np.zeros((quarter[1], quarter[0]), dtype=np.float32)
    fine: Plane | None = None
    weight, size = 0.6, max(2.0, coarse_px)
    for _ in range(octaves):
        cells = (max(2, round(height / size)), max(2, round(width / size)))
        lumps = rng.standard_normal(cells, dtype=np.float32) * np.float32(weight)
        if size > 12:
            wide += resize_plane(lumps, quarter)
        else:
            grown = resize_plane(lumps, (width, height))
            fine = grown if fine is None else fine + grown
        weight, size = weight * 0.55, max(2.0, size / 2.7)
    if coarse_px <= 12:
        return fine if fine is not None else np.zeros((height, width), dtype=np.float32)
    whole = resize_plane(wide, (width, height), kind=Image.Resampling.BILINEAR)
    return whole if fine is None else whole + fine


def grain(rng: np.random.Generator, shape: tuple[int, ...], *, size_px: float = 1.0) -> Plane:
    height, width = shape[:2]
    if size_px <= 1.05:
        return rng.standard_normal((height, width), dtype=np.float32)
    cells = (max(2, round(height / size_px)), max(2, round(width / size_px)))
    return resize_plane(rng.standard_normal(cells, dtype=np.float32), (width, height), kind=Image.Resampling.BILINEAR)


def smooth_step(plane: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.float32]:
    at = np.clip((plane - np.float32(low)) / np.float32(high - low), 0.0, 1.0)
    return at * at * (3 - 2 * at)


def kuwahara(canvas: Canvas, radius: int) -> Canvas:
    """Edge-preserving smoothing: every pixel takes the calmest of the four squares it is a corner of."""
    reach = max(1, radius // 2)
    height, width = canvas.shape[:2]
    tone = np.sqrt(np.maximum(luma(canvas), 0.0))
    mean = np.pad(box(canvas, reach), ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    unrest = np.pad(box(tone * tone, reach) - box(tone, reach) ** 2, reach, mode="edge")
    best = np.full(tone.shape, np.inf, dtype=np.float32)
    result = np.empty_like(canvas)
    for down in (0, 2 * reach):
        for right in (0, 2 * reach):
            spread = unrest[down : down + height, right : right + width]
            calmer = spread < best
            np.copyto(best, spread, where=calmer)
            np.copyto(result, mean[down : down + height, right : right + width], where=calmer[..., None])
    return result


def edges(plane: Plane) -> Plane:
    """How steep the plane is, per pixel."""
    across = np.zeros_like(plane)
    down = np.zeros_like(plane)
    across[:, 1:-1] = plane[:, 2:] - plane[:, :-2]
    down[1:-1] = plane[2:] - plane[:-2]
    return np.sqrt(across * across + down * down)


def dot_screen(shape: tuple[int, ...], *, pitch_px: float, degrees: float) -> Plane:
    """A printer's screen: 0..1 thresholds that turn tone into dots."""
    height, width = shape[:2]
    angle = math.radians(degrees)
    x = np.arange(width, dtype=np.float32)[None, :]
    y = np.arange(height, dtype=np.float32)[:, None]
    turn = np.float32(2 * math.pi / pitch_px)
    u = (x * math.cos(angle) + y * math.sin(angle)) * turn
    v = (y * math.cos(angle) - x * math.sin(angle)) * turn
    return np.asarray((np.cos(u) + np.cos(v)) * np.float32(0.25) + np.float32(0.5), dtype=np.float32)
