"""Looks at a photo without a model: colours, light, contrast, busyness; says so in words. No opinion about what is shown."""

import colorsys
from dataclasses import dataclass

import numpy as np

from generation.providers.base import Description
from generation.providers.local.canvas import Canvas, edges, luma, open_photo, to_linear
from generation.providers.local.moods import Mood, mood_of
from generation.providers.local.mounts import dominant

LOOK_PX = 192
COLOURS_NAMED = 3
GREY_SATURATION = 0.13
HUE_NAMES = (
    (0.03, "scarlet"), (0.085, "amber"), (0.14, "gold"), (0.2, "lemon"), (0.3, "leaf green"), (0.42, "emerald"),
    (0.52, "teal"), (0.6, "sky blue"), (0.7, "cobalt"), (0.78, "violet"), (0.88, "orchid"), (0.96, "rose"), (1.01, "scarlet"),
)  # fmt: skip
DARK_HUE_NAMES = (
    (0.04, "maroon"), (0.11, "umber"), (0.2, "olive"), (0.45, "pine green"), (0.55, "deep teal"), (0.7, "midnight blue"),
    (0.85, "plum"), (1.01, "maroon"),
)  # fmt: skip
PALE_HUE_NAMES = (
    (0.05, "blush"), (0.12, "sand"), (0.2, "cream"), (0.45, "mint"), (0.7, "pale blue"), (0.85, "lilac"), (1.01, "blush"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What can be measured of a photo; shares are 0 to 1."""

    hue: float
    saturation: float
    brightness: float
    contrast: float
    busyness: float
    warmth: float
    """-1 is cold, 1 is warm."""
    colours: tuple[str, ...]
    """Names of the dominant colours, most frequent first."""


def look(photo: bytes) -> Traits:
    """Raises Refused for a photo that does not decode."""
    return measure(to_linear(open_photo(photo, long_side_px=LOOK_PX)))


def measure(canvas: Canvas) -> Traits:
    seen = np.sqrt(np.clip(canvas, 0, 1))
    tone = np.sqrt(np.clip(luma(canvas), 0, 1))
    chroma = seen.max(axis=-1) - seen.min(axis=-1)
    hue = _mean_hue(seen, chroma)
    low, high = np.percentile(tone, (5, 95))
    return Traits(
        hue=hue,
        saturation=float(np.clip((chroma / np.maximum(seen.max(axis=-1), 0.05)).mean() * 1.3, 0, 1)),
        brightness=float(tone.mean()),
        contrast=float(np.clip((high - low) / 0.8, 0, 1)),
        busyness=float(np.clip((edges(tone) > 0.06).mean() * 3.2, 0, 1)),
        warmth=float(np.clip((seen[..., 0] - seen[..., 2]).mean() * 4, -1, 1)),
        colours=_colour_names(canvas),
    )


def _mean_hue(seen: Canvas, chroma: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> float:
    """The chroma-weighted direction on the colour wheel; red for a grey picture."""
    red, green, blue = seen[..., 0], seen[..., 1], seen[..., 2]
    across = float(((red - (green + blue) / 2) * chroma).sum())
    up = float(((green - blue) * (3**0.5 / 2) * chroma).sum())
    return float((np.arctan2(up, across) / (2 * np.pi)) % 1.0) if abs(across) + abs(up) > 1e-6 else 0.0


def _colour_names(canvas: Canvas) -> tuple[str, ...]:
    names: list[str] = []
    for rgb in dominant(canvas, COLOURS_NAMED + 3):
        name = colour_name(rgb[0] ** 0.5, rgb[1] ** 0.5, rgb[2] ** 0.5)
        if name not in names:
            names.append(name)
    return tuple(names[:COLOURS_NAMED])


def colour_name(red: float, green: float, blue: float) -> str:
    """The name of a colour given as eye-like shares, 0 to 1."""
    hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
    if value < 0.13:
        return "black"
    if saturation < GREY_SATURATION:
        return "white" if value > 0.88 else "silver" if value > 0.62 else "slate" if value > 0.3 else "charcoal"
    names = DARK_HUE_NAMES if value < 0.42 else PALE_HUE_NAMES if saturation < 0.3 and value > 0.7 else HUE_NAMES
    return next(name for limit, name in names if hue < limit)


def light_words(traits: Traits) -> str:
    light = "bright" if traits.brightness > 0.62 else "soft" if traits.brightness > 0.42 else "dim" if traits.brightness > 0.25 else "dark"
    edge = "high-contrast" if traits.contrast > 0.78 else "even" if traits.contrast < 0.4 else "gentle"
    return f"{light}, {edge} light"


def mood_from(traits: Traits) -> Mood:
    return mood_of(traits.brightness, traits.saturation, traits.warmth)


def tempo_word(traits: Traits) -> str:
    return "upbeat" if traits.contrast > 0.75 else "slow" if traits.contrast < 0.4 else "mid-tempo"


def describe_traits(traits: Traits) -> Description:
    mood = mood_from(traits)
    colours = traits.colours or ("silver",)
    noun = mood.nouns[int(traits.hue * 12 + traits.busyness * 5) % len(mood.nouns)]
    listed = colours[0] if len(colours) == 1 else f"{', '.join(colours[:-1])} and {colours[-1]}"
    detail = "full of detail" if traits.busyness > 0.55 else "with calm, open areas" if traits.busyness < 0.25 else "with a few clear shapes"
    temperature = "warm" if traits.warmth > 0.15 else "cool" if traits.warmth < -0.15 else "neutral"
    return Description(
        title=f"{colours[0].title()} {noun}",
        tags=tuple(dict.fromkeys((mood.name, temperature, tempo_word(traits), mood.lead, "melodic"))),
        prompt=f"A photo in {listed}, {detail}, in {light_words(traits)}. It feels {mood.feeling}; the song should too.",
        negative_tags=("harsh", "noisy"),
    )


def describe(photo: bytes) -> Description:
    """What a song is made from. Raises Refused for a photo that does not decode."""
    return describe_traits(look(photo))
