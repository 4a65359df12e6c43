"""Draws the demo's photo: a mountain lake in the evening, a boat, firs on the shore. Nobody's picture, so anybody may keep it."""

# mypy: disable-error-code="no-any-return"
# numpy types what comes out of an expression as Any, and nearly every line here is one.

from __future__ import annotations

import io
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane: TypeAlias = NDArray[Any]

WIDTH, HEIGHT = 1344, 896
HORIZON = 0.56
SUN = (0.605, 0.315)
SEED = 20


def draw_photo() -> bytes:
    """The photo as JPEG, always the same."""
    rng = np.random.default_rng(SEED)
    y, x = (grid.astype(np.float32) for grid in np.mgrid[0:HEIGHT, 0:WIDTH])
    x, y = x / WIDTH, y / HEIGHT
    light = _sky(x, y, rng)
    above = slice(0, int((HORIZON + 0.02) * HEIGHT))
    for depth in range(5):
        light[above] = _ridge(light[above], x[above], y[above], rng, depth=depth)
    light = _lake(light, x, y, rng)
    around = (slice(int(0.60 * HEIGHT), int(0.86 * HEIGHT)), slice(int(0.20 * WIDTH), int(0.45 * WIDTH)))
    light[around] = _boat(light[around], x[around], y[around])
    light = _firs(light, x, y, rng)
    light = _lens(light, x, y, rng)
    image = Image.fromarray((np.clip(light, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=92, subsampling=0)
    return out.getvalue()


def _sky(x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Deep blue above, gold at the horizon, a low sun, drawn-out clouds lit from below."""
    height = np.clip(y / HORIZON, 0, 1)[..., None]
    stops = np.array([[0.045, 0.09, 0.24], [0.16, 0.19, 0.38], [0.62, 0.30, 0.27], [1.0, 0.58, 0.24]], np.float32)
    place = height * (len(stops) - 1)
    low = np.clip(place.astype(int), 0, len(stops) - 2)
    sky = stops[low[..., 0]] * (1 - (place - low)) + stops[low[..., 0] + 1] * (place - low)
    away = np.hypot((x - SUN[0]) * WIDTH / HEIGHT, y - SUN[1])[..., None]
    sky = sky + np.array([1.0, 0.62, 0.25], np.float32) * (0.55 * np.exp(-((away / 0.28) ** 1.2)))
    sky = sky + np.array([3.0, 2.2, 1.2], np.float32) * _edge(0.034 - away, 0.006)
    clouds = _noise(rng, rows=22, columns=5) * 0.6 + _noise(rng, rows=70, columns=14) * 0.4
    cover = (_edge(clouds - 0.53, 0.1) * np.clip(1.15 - abs(y / HORIZON - 0.45) * 1.7, 0, 1))[..., None]
    lit = np.array([1.15, 0.50, 0.33], np.float32) * (0.35 + 0.9 * np.exp(-(away / 0.45))) + np.array([0.10, 0.09, 0.16], np.float32)
    return sky * (1 - cover * 0.72) + lit * cover * 0.72


def _ridge(light: Plane, x: Plane, y: Plane, rng: np.random.Generator, *, depth: int) -> Plane:
    """One chain of mountains; the farther, the more of the evening's haze lies before it."""
    top = HORIZON - 0.235 + depth * 0.052 + _skyline(rng, rough=0.5 + depth * 0.06) * (0.17 - depth * 0.024)
    inside = _edge(y - top[None, :], 0.0012)[..., None]
    near = (depth + 1) / 5
    rock = np.array([0.030, 0.034, 0.055], np.float32) * (1.0 + 0.9 * _noise(rng, rows=60, columns=90)[: len(x), :, None])
    below = np.clip((y - top[None, :]) / 0.2, 0, 1)[..., None]
    glow = np.exp(-abs(x - SUN[0]) * 2.4)[..., None]
    haze = np.array([0.42, 0.25, 0.28], np.float32) * (1 - glow) + np.array([0.98, 0.50, 0.26], np.float32) * glow
    share = (1 - near) * 0.70 + 0.10 * below
    return light * (1 - inside) + (rock * (1 - share) + haze * share) * inside


def _lake(light: Plane, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """The upper half again, upside down, drawn sideways by small waves that grow towards us, darker and bluer."""
    near = np.clip((y - HORIZON) / (1 - HORIZON), 0, 1)
    ripples = _noise(rng, rows=260, columns=10) - 0.5 + 0.6 * (_noise(rng, rows=520, columns=40) - 0.5)
    source_y = np.clip(HORIZON - (y - HORIZON) * 1.12 + ripples * (0.01 + 0.10 * near), 0, HORIZON - 0.002)
    source_x = np.clip(x + ripples * 0.010 * (0.3 + near), 0, 1)
    mirrored = light[(source_y * (HEIGHT - 1)).astype(int), (source_x * (WIDTH - 1)).astype(int)]
    water = mirrored * (0.80 - 0.34 * near)[..., None] + np.array([0.008, 0.018, 0.035], np.float32)
    path = np.exp(-(((x - SUN[0]) / (0.016 + 0.075 * near)) ** 2)) * _edge(ripples + 0.02 - 0.12 * near, 0.08) * (1 - 0.55 * near)
    water = water + np.array([1.25, 0.74, 0.34], np.float32) * path[..., None] * 0.85
    shore = np.exp(-(((y - HORIZON) / 0.004) ** 2))[..., None] * 0.55
    inside = _edge(y - HORIZON, 0.0008)[..., None]
    return (light * (1 - inside) + water * inside) * (1 - shore) + np.array([0.75, 0.42, 0.30], np.float32) * shore * 0.5


def _boat(light: Plane, x: Plane, y: Plane) -> Plane:
    """A rowing boat with somebody in it, and both again in the water."""
    for flip, strength in ((-1.0, 0.40), (1.0, 1.0)):
        u, v = (x - 0.315) * WIDTH / HEIGHT * 12, (y - 0.735) * 12 * flip
        hull = _edge(np.minimum(v + 0.26 * np.clip(abs(u) / 1.25, 0, 1) ** 3, 0.30 * (1 - (abs(u) / 1.32) ** 2.6) - v), 0.02)
        head = _edge(0.105 - np.hypot(u - 0.15, (v + 0.80) * 0.88), 0.02)
        hat = _edge(np.minimum(0.19 - abs(u - 0.15), 0.022 - abs(v + 0.865)), 0.015)
        back = _edge(0.33 - np.hypot((u - 0.06 + v * 0.14) * 1.45, (v + 0.30) * 0.80), 0.03) * (v < 0.06)
        oar = _edge(0.020 - abs(v + 0.36 - (u - 0.15) * 0.33), 0.012) * _edge(1.0 - abs(u - 0.95), 0.03)
        shape = np.max([hull, head, hat, back, oar], axis=0)[..., None] * strength
        wood = np.array([0.30, 0.050, 0.030], np.float32) * hull[..., None] + np.array([0.016, 0.015, 0.022], np.float32)
        rim = np.array([0.55, 0.30, 0.13], np.float32) * (np.exp(-(((v + 0.03) / 0.035) ** 2)) * hull)[..., None]
        light = light * (1 - shape) + (wood + rim) * shape
    return light


def _firs(light: Plane, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """Firs on both sides and some grass, near enough to be black."""
    ground = 0.965 - 0.06 * np.clip(1 - x / 0.30, 0, 1) - 0.04 * np.clip((x - 0.80) / 0.20, 0, 1) + 0.018 * _skyline(rng, rough=0.7)[None, :]
    dark = _edge(y - ground, 0.003)
    sides = [(0.015, 0.93), (0.075, 0.80), (0.13, 0.62), (0.185, 0.44), (0.235, 0.26), (0.855, 0.30), (0.905, 0.52), (0.955, 0.74), (1.0, 0.60)]
    needles = 0.80 + 0.4 * _noise(rng, rows=160, columns=300)
    for centre, tall in sides:
        reach = slice(max(0, int((centre - 0.12) * WIDTH)), int((centre + 0.12) * WIDTH))
        along = np.clip((y[:, reach] - (0.99 - tall)) / tall, 0, 1)
        saw = (along * (8 + tall * 16)) % 1
        wide = tall * 0.115 * along**0.85 * (0.42 + 0.58 * saw) * needles[:, reach]
        beside = abs(x[:, reach] - centre)
        fir = np.maximum(_edge(wide - beside * WIDTH / HEIGHT, 0.0035), _edge(0.0045 * (0.3 + along) - beside, 0.0015))
        dark[:, reach] = np.maximum(dark[:, reach], fir * (along > 0))
    shade = np.array([0.011, 0.013, 0.016], np.float32) * (0.6 + 0.8 * _noise(rng, rows=200, columns=300)[..., None])
    rim = np.array([0.20, 0.085, 0.035], np.float32) * (np.exp(-abs(x - SUN[0]) * 3)[..., None] * 0.35)
    return light * (1 - dark[..., None]) + (shade + rim * 0.2) * dark[..., None]


def _lens(light: Plane, x: Plane, y: Plane, rng: np.random.Generator) -> Plane:
    """What a camera adds: a bloom round the sun, darker corners, a film's shoulder, grain."""
    small = np.asarray(Image.fromarray(np.clip(light * 80, 0, 255).astype(np.uint8)).resize((90, 60)).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    light = light + np.clip(small.astype(np.float32) / 80 - 0.55, 0, 2) * 0.22
    light = light * (1.06 - 0.42 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))[..., None]
    light = 1 - np.exp(-1.45 * np.clip(light - 0.006, 0, None))
    light = light * (0.72 + 0.28 * _edge(light - 0.30, 0.6))
    grain = rng.normal(0, 1, (HEIGHT, WIDTH, 1)).astype(np.float32)
    grey = light.mean(axis=2, keepdims=True)
    light = grey + (light - grey) * 1.22
    return light * (1 + 0.025 * grain) + 0.0012 * grain


def _edge(distance: Any, soft: float) -> Plane:
    """0 outside, 1 inside, and a soft step between."""
    step = np.clip(np.asarray(distance, np.float32) / soft * 0.5 + 0.5, 0, 1)
    return step * step * (3 - 2 * step)


def _noise(rng: np.random.Generator, *, rows: int, columns: int) -> Plane:
    """Smooth random values from 0 to 1 over the whole picture."""
    coarse = rng.random((rows, columns)).astype(np.float32)
    image = Image.fromarray(coarse, mode="F").resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(image, np.float32), 0, 1)


def _skyline(rng: np.random.Generator, *, rough: float) -> Plane:
    """A mountain's outline, about -1 to 1: midpoints moved again and again, each time less."""
    line = rng.uniform(-0.6, 0.6, 5).astype(np.float32)
    size = 0.55
    while len(line) < WIDTH:
        middle = (line[:-1] + line[1:]) / 2 + rng.normal(0, size * 0.5, len(line) - 1).astype(np.float32)
        both = np.empty(len(line) * 2 - 1, np.float32)
        both[0::2], both[1::2] = line, middle
        line, size = both, size * rough
    place = np.linspace(0, len(line) - 1, WIDTH)
    return np.interp(place, np.arange(len(line)), line).astype(np.float32)
