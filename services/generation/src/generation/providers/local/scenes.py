"""What the light of each scene does to a photo: recipes of named steps, all in linear light."""

# mypy: disable-error-code="no-any-return"
# numpy types an indexed array as Any, and nearly every line here ends in one.

import hashlib
from collections.abc import Mapping

import numpy as np

from generation.providers.base import Kind
from generation.providers.local.canvas import (
    Canvas,
    Plane,
    as_light,
    blur,
    blur_canvas,
    box_along,
    colour,
    curve,
    dot_screen,
    grid,
    luma,
    mix,
    saturate,
    shrink_plane,
    smooth_step,
    soft_plane,
)
from generation.providers.local.sitting import Sitting, Step

EXPOSURE_GAIN = (0.75, 1.7)
"""How far a badly exposed photo is pulled: a night stays a night."""


def expose(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Set black and white points from the photo's own histogram, gently."""
    tone = shrink_plane(luma(canvas), 8)
    low, high = (float(value) for value in np.percentile(tone, (1.0, 98.5)))
    black = min(low * 0.7, 0.02)
    gain = float(np.clip(0.82 / max(high - black, 1e-3), *EXPOSURE_GAIN))
    return np.maximum(canvas - np.float32(black), 0) * np.float32(gain)


def balance(red: float, green: float, blue: float, *, saturation: float = 1.0) -> Step:
    def run(canvas: Canvas, sitting: Sitting) -> Canvas:
        return saturate(canvas, saturation) * as_light((red, green, blue))

    return Step("balance colours", run)


def split_tone(canvas: Canvas, *, shadows: str, highlights: str, strength: float) -> Canvas:
    """Tint dark and light parts apart, keeping their lightness."""
    tone = np.clip(np.sqrt(np.maximum(luma(canvas), 0)), 0, 1)
    dark, light = as_light(colour(shadows)), as_light(colour(highlights))
    dark, light = dark / float(dark.mean()), light / float(light.mean())
    first = 1 + (dark - 1) * np.float32(strength)
    return canvas * (first + ((light - dark) * np.float32(strength)) * tone[..., None])


def toning(shadows: str, highlights: str, strength: float) -> Step:
    return Step("split toning", lambda canvas, sitting: split_tone(canvas, shadows=shadows, highlights=highlights, strength=strength))


def contrast(*points: tuple[float, float]) -> Step:
    return Step("contrast curve", lambda canvas, sitting: curve(canvas, points))


def vignette(strength: float, *, centre_y: float = 0.48) -> Step:
    """Light falls off from a slightly wandering centre, deeper below than above, as if the lens were near."""

    def run(canvas: Canvas, sitting: Sitting) -> Canvas:
        centre_x = sitting.between(0.44, 0.56)

        def fall_off(x: Plane, y: Plane) -> Plane:
            away = ((x - centre_x) / 0.72) ** 2 + ((y - centre_y) / 0.74) ** 2
            return 1 - np.float32(strength) * smooth_step(away, 0.25, 1.25)

        return canvas * soft_plane(canvas.shape, fall_off)[..., None]

    return Step("vignette", run)


def clarity(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Lift local contrast without touching the overall tone."""
    tone = np.sqrt(np.maximum(luma(canvas), 1e-6))
    detail = tone - blur(tone, 22 * sitting.unit)
    gain = np.clip((tone + np.float32(0.35) * detail) / tone, 0.6, 1.6)
    return canvas * (gain * gain)[..., None]


# beach-sunset


def sky_glow(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Violet above, orange towards the horizon, screened so that whites do not burn."""
    _, y = grid(canvas.shape)
    horizon = sitting.between(0.5, 0.62)
    up = np.clip((horizon - y) / horizon, 0, 1)
    glow = np.exp(-(((y - horizon) / np.float32(0.17)) ** 2))
    high = as_light(colour("#5a3794")) * np.float32(0.6)
    low = as_light(colour("#ff6a3a")) * np.float32(0.42)
    light = high * up[..., None] + low * glow[..., None]
    return canvas + light * np.clip(1 - canvas * np.float32(0.75), 0, 1)


def low_sun(canvas: Canvas, sitting: Sitting) -> Canvas:
    """A low sun at one side with its bloom, and a broken path of light below it."""
    height, width = canvas.shape[:2]
    sun_x = sitting.between(0.12, 0.3) if sitting.chance(0.5) else sitting.between(0.7, 0.88)
    sun_y = sitting.between(0.36, 0.46)

    def away(x: Plane, y: Plane) -> Plane:
        return np.asarray(np.hypot((x - sun_x) * width, (y - sun_y) * height) / max(height, width), dtype=np.float32)

    def bloom(x: Plane, y: Plane) -> Plane:
        far = away(x, y)
        return np.exp(far / np.float32(-0.055)) * np.float32(0.75) + np.exp(far / np.float32(-0.2)) * np.float32(0.26)

    warm, white = as_light(colour("#ffb45c")), as_light(colour("#fff0c2"))
    lit = canvas + (soft_plane(canvas.shape, bloom)[..., None] * warm) * np.clip(np.float32(1.15) - canvas * np.float32(0.6), 0.1, 1)
    lit = mix(lit, white * np.float32(1.15), (1 - smooth_step(away(*grid(canvas.shape)), 0.036, 0.046)) * np.float32(0.9))
    return lit + _glitter(sitting, canvas.shape, sun_x, sun_y)[..., None] * warm


def _glitter(sitting: Sitting, shape: tuple[int, ...], sun_x: float, sun_y: float) -> Plane:
    """Short level strokes of light, denser under the sun, longer as they come nearer."""
    height, width = shape[:2]
    path = np.zeros((height, width), dtype=np.float32)
    first = min(0.95, sun_y + 0.2)
    for _ in range(260):
        depth = float(sitting.rng.random()) ** 1.4
        row = int((first + (1 - first) * depth) * (height - 1))
        middle = sun_x + float(sitting.rng.normal()) * (0.015 + 0.06 * depth)
        half = (3 + 26 * depth) * sitting.unit * sitting.between(0.4, 1.0)
        thick = max(1, round((0.8 + 2.2 * depth) * sitting.unit))
        left, right = int(middle * width - half), int(middle * width + half)
        path[row : row + thick, max(0, left) : max(0, right)] += np.float32(sitting.between(0.25, 0.8))
    top = max(0, int(first * height) - round(30 * sitting.unit))
    near = np.minimum(path[top:], 1.2)
    path[top:] = blur(near, 1.1 * sitting.unit) + blur(near, 9 * sitting.unit) * np.float32(0.6)
    return path


def light_leak(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Red and orange light that crept into the camera along one edge."""
    mirrored = sitting.chance(0.5)
    wide, bends, turn = sitting.between(0.1, 0.2), sitting.between(2, 5), sitting.between(0, 6)

    def near_edge(x: Plane, y: Plane) -> Plane:
        reach = np.float32(wide) * (np.float32(0.65) + np.float32(0.5) * np.sin(y * np.float32(bends) + np.float32(turn)))
        return np.exp(-(1 - x if mirrored else x) / np.maximum(reach, np.float32(0.03)))

    near = soft_plane(canvas.shape, near_edge)
    leak = near[..., None] * as_light((0.62, 0.17, 0.05)) + (near * near * near)[..., None] * as_light((0.4, 0.28, 0.1))
    return canvas + leak * np.clip(np.float32(1.1) - canvas, 0.15, 1)


# paris-street

LAMPS = ("#ffb259", "#ffc26b", "#ffd9a0", "#ff9a4a", "#ffe0b0", "#ff6a4d", "#9fd4ff")


def wet_street(canvas: Canvas, sitting: Sitting) -> Canvas:
    """The foot of the picture mirrors the light above it, drawn out downwards and rippled, as on wet paving."""
    height, width = canvas.shape[:2]
    deep = max(4, int(height * sitting.between(0.17, 0.22)))
    line = height - deep
    mirrored = box_along(canvas[line - deep : line][::-1], max(2, deep // 3), 0)
    ripple = np.sin(np.linspace(0, 60, deep) ** 1.15 + sitting.between(0, 6)) * np.linspace(1, 10, deep) * sitting.unit
    columns = np.clip(np.arange(width)[None, :] + np.round(ripple)[:, None].astype(np.intp), 0, width - 1)
    wavy = np.take_along_axis(mirrored, columns[..., None], axis=1) * as_light((0.98, 1.02, 1.12))
    weight = smooth_step(np.linspace(0, 1, deep).astype(np.float32), 0.0, 0.9)[:, None] * np.ones((1, width), dtype=np.float32)
    wet = canvas.copy()
    wet[line:] = mix(canvas[line:], wavy, weight * np.float32(0.5))
    return wet


def rain_bokeh(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Street lamps out of focus: discs with a brighter rim, away from the middle where the person is."""
    height, width = canvas.shape[:2]
    light = np.zeros_like(canvas)
    for _ in range(54):
        x = float(sitting.rng.random())
        y = float(sitting.rng.beta(1.4, 2.6))
        if abs(x - 0.5) < 0.2 and y > 0.22:
            continue
        radius = max(2.0, (9 + 44 * float(sitting.rng.random()) ** 2.2) * sitting.unit)
        strength = sitting.between(0.12, 0.5) * (0.55 + 9 * sitting.unit / radius)
        lamp = as_light(colour(LAMPS[int(sitting.rng.integers(len(LAMPS)))])) * np.float32(strength)
        _add_disc(light, x * width, y * height, radius, lamp)
    haze = np.float32(0.5) * blur_canvas(light, 60 * sitting.unit)
    return canvas + (light + haze) * np.clip(np.float32(1.2) - canvas, 0.2, 1)


def _add_disc(light: Canvas, x: float, y: float, radius: float, lamp: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    height, width = light.shape[:2]
    reach = int(radius + 3)
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    bottom, right = min(height, int(y) + reach), min(width, int(x) + reach)
    if top >= bottom or left >= right:
        return
    rows = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
    columns = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)
    away = (np.sqrt(rows * rows + columns * columns) / radius).astype(np.float32)
    soft = np.float32(min(0.3, 2.0 / radius))
    shape = (1 - smooth_step(away, 1 - float(soft), 1.0)) * (0.76 + 0.24 * smooth_step(away, 0.6, 0.95))
    light[top:bottom, left:right] += shape[..., None] * lamp


def rain_streaks(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Thin slanting rain, brighter where there is light behind it."""
    height, width = canvas.shape[:2]
    rain = np.zeros((height, width), dtype=np.float32)
    slant = sitting.between(-0.16, 0.16)
    for _ in range(190):
        length = int(sitting.between(16, 62) * sitting.unit)
        top, left = int(sitting.rng.integers(height)), int(sitting.rng.integers(width))
        rows = np.arange(top, min(height, top + max(2, length)))
        columns = np.clip(left + ((rows - top) * slant).astype(np.intp), 0, width - 1)
        rain[rows, columns] = np.float32(sitting.between(0.25, 0.8))
    rain = blur(rain, max(0.6, 0.7 * sitting.unit))
    behind = blur(luma(canvas), 14 * sitting.unit)
    seen: Plane = rain * (np.float32(0.08) + np.float32(0.75) * np.minimum(behind, np.float32(1)))
    return canvas + seen[..., None] * as_light((0.9, 0.97, 1.1))


def shadow_halftone(canvas: Canvas, sitting: Sitting) -> Canvas:
    """A magazine's dots, felt in the shadows only."""
    dots = dot_screen(canvas.shape, pitch_px=max(3.0, 5.5 * sitting.unit), degrees=32)
    dark = 1 - smooth_step(np.sqrt(np.maximum(luma(canvas), 0)), 0.2, 0.62)
    return canvas * (1 - np.float32(0.34) * dark * smooth_step(dots, 0.4, 0.6))[..., None]


# studio-simple


def neutral_light(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Half way to a grey-world white balance: clean, yet still the same afternoon."""
    means = canvas.reshape(-1, 3)[::97].mean(axis=0) + np.float32(1e-3)
    correction = np.clip(means.mean() / means, 0.8, 1.25)
    return canvas * (1 + (correction - 1) * np.float32(0.5)).astype(np.float32)


def key_light(canvas: Canvas, sitting: Sitting) -> Canvas:
    """A big soft lamp from one upper corner, a weak fill from the other."""
    mirrored = sitting.chance(0.5)

    def lamp(x: Plane, y: Plane) -> Plane:
        side = 1 - x if mirrored else x
        return np.exp(-(((side - 0.22) / np.float32(0.6)) ** 2 + ((y - 0.2) / np.float32(0.65)) ** 2))

    return canvas * (np.float32(0.86) + np.float32(0.42) * soft_plane(canvas.shape, lamp))[..., None]


# without a scene


def window_light(canvas: Canvas, sitting: Sitting) -> Canvas:
    """Bars of late light through a window, out of focus, lying over the picture."""
    x, y = grid(canvas.shape)
    lean = sitting.between(0.25, 0.5) * (1 if sitting.chance(0.5) else -1)
    along = x + lean * y + sitting.between(0, 1)
    bars = smooth_step(np.abs(np.mod(along * np.float32(1.9), 1) - 0.5), 0.16, 0.34)
    return canvas * (np.float32(0.84) + np.float32(0.34) * bars)[..., None] * as_light((1.03, 1.0, 0.95))


def clear_sky(canvas: Canvas, sitting: Sitting) -> Canvas:
    """A graduated blue filter over the upper part and a breath of warmth below."""
    _, y = grid(canvas.shape)
    up = 1 - smooth_step(y, 0.05, 0.62)
    tint = 1 + up[..., None] * (as_light((0.8, 0.96, 1.2)) - 1) + (1 - up)[..., None] * (as_light((1.06, 1.01, 0.92)) - 1)
    return canvas * tint.astype(np.float32)


def own_tint(canvas: Canvas, sitting: Sitting) -> Canvas:
    """A scene nobody wrote a recipe for gets a pair of tones of its own, drawn from its name."""
    pairs = (("#24406b", "#ffd9a8"), ("#3d2a55", "#ffe1c4"), ("#1f4a45", "#f6e7b8"), ("#5a2a2f", "#ffe6d0"), ("#2e3350", "#d8f0e4"))
    pick = hashlib.sha256((sitting.scene or "").encode()).digest()[0] % len(pairs)
    return split_tone(canvas, shadows=pairs[pick][0], highlights=pairs[pick][1], strength=0.5)


EXPOSE = Step("set exposure", expose)
CLARITY = Step("local contrast", clarity)

SCENES: Mapping[str, tuple[Step, ...]] = {
    "beach-sunset": (
        EXPOSE,
        balance(1.06, 0.86, 0.78, saturation=1.16),
        contrast((0, 0), (0.3, 0.22), (0.7, 0.7), (1, 0.97)),
        Step("sky glow", sky_glow),
        Step("low sun over the water", low_sun),
        Step("light leak", light_leak),
        toning("#4a2f74", "#ffc58a", 0.42),
        vignette(0.42),
    ),
    "paris-street": (
        EXPOSE,
        balance(0.9, 0.95, 1.06, saturation=0.74),
        contrast((0, 0.01), (0.3, 0.29), (0.7, 0.73), (1, 0.97)),
        Step("wet paving", wet_street),
        Step("lamps in the rain", rain_bokeh),
        Step("rain", rain_streaks),
        Step("halftone shadows", shadow_halftone),
        toning("#274a63", "#ffe7bf", 0.4),
        vignette(0.5),
    ),
    "studio-simple": (
        EXPOSE,
        Step("neutral light", neutral_light),
        CLARITY,
        Step("key light", key_light),
        contrast((0, 0), (0.25, 0.24), (0.75, 0.8), (1, 1)),
        vignette(0.16),
    ),
}

KINDS: Mapping[Kind, tuple[Step, ...]] = {
    "fitting": (EXPOSE, Step("neutral light", neutral_light), CLARITY, contrast((0, 0.02), (0.5, 0.53), (1, 1)), vignette(0.14)),
    "photography": (
        EXPOSE,
        CLARITY,
        Step("window light", window_light),
        contrast((0, 0.01), (0.3, 0.27), (0.7, 0.75), (1, 1)),
        toning("#31405e", "#ffe3bd", 0.26),
        vignette(0.36),
    ),
    "travel": (
        EXPOSE,
        balance(1.03, 1.0, 0.97, saturation=1.28),
        Step("clear sky", clear_sky),
        CLARITY,
        contrast((0, 0), (0.28, 0.25), (0.7, 0.75), (1, 1)),
        vignette(0.22),
    ),
}

DEFAULT_KIND: Kind = "photography"


def recipe(kind: Kind, scene: str | None) -> tuple[Step, ...]:
    """The scene's steps; without a known scene the kind's own, tinted by the scene's name if it has one."""
    if scene is not None and scene in SCENES:
        return SCENES[scene]
    steps = KINDS.get(kind, KINDS[DEFAULT_KIND])
    return (*steps, Step("own tint", own_tint)) if scene else steps


PALETTES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "beach-sunset": (
        ("#2b1b4d", "#d6456b", "#ff9e4f", "#fff1d6"),
        ("#13315c", "#c8553d", "#f8a94a", "#fdf3df"),
        ("#40163f", "#e0543f", "#ffc15e", "#fff4e0"),
    ),
    "paris-street": (
        ("#16243a", "#6d3241", "#c9a66b", "#f2ead9"),
        ("#20252e", "#3f6375", "#d5a253", "#f1ede4"),
        ("#1c2b33", "#7c4a3a", "#b8b08d", "#f4eee1"),
    ),
    "studio-simple": (
        ("#22303c", "#b8644a", "#e3b7a0", "#f6f1ea"),
        ("#2d2a32", "#5f7a6b", "#cdb891", "#f5f3ec"),
        ("#1f2d4d", "#6f86b4", "#e6b8a8", "#f4f1ee"),
    ),
    "": (
        ("#10314f", "#d9534a", "#f2b84b", "#f7f0e1"),
        ("#23233f", "#2f8f83", "#f08a5d", "#f8f3e6"),
        ("#2a1a3a", "#8a4f9e", "#f3b6a0", "#faf3ea"),
        ("#14342b", "#bf5b3d", "#e2bd5a", "#f6f1e0"),
    ),
}


def palettes(scene: str | None) -> tuple[tuple[str, ...], ...]:
    return PALETTES.get(scene or "", PALETTES[""])
