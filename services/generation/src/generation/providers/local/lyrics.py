"""Four lines of lyrics text from a photo's colours and a song's mood."""

import re
from collections.abc import Sequence

import numpy as np

from generation.providers.local.moods import Mood

OPENINGS = (
    "In {first} light and {second} shade",
    "{First} over {second}, and the hours fade",
    "There is {first} in the picture, there is {second} in the air",
    "Between the {first} and the {second}",
)
TURNS = (
    "keep this picture, keep the sound",
    "what we saw is what we sing",
    "one small frame to hold it all",
    "press the shutter, let it ring",
)
COLOUR_WORDS = ("gold", "silver", "blue", "amber", "violet", "green", "rose")


def write_lyrics(mood: Mood, *, colours: Sequence[str], prompt: str, seed: int) -> str:
    """The same seed gives the same words."""
    rng = np.random.default_rng((seed % 2**63, 5))
    first, second = _pair(colours, prompt)
    opening = OPENINGS[int(rng.integers(len(OPENINGS)))].format(first=first, First=first.capitalize(), second=second)
    order = rng.permutation(len(mood.images))
    lines = (opening, mood.images[order[0]], mood.images[order[1]], TURNS[int(rng.integers(len(TURNS)))])
    return "\n".join(line[0].upper() + line[1:] for line in lines)


def _pair(colours: Sequence[str], prompt: str) -> tuple[str, str]:
    """The photo's colours first, then those the prompt names, then gold and silver."""
    asked = [word for word in re.findall(r"[a-z]+", prompt.lower()) if word in COLOUR_WORDS]
    found = list(dict.fromkeys((*colours, *asked, *COLOUR_WORDS)))
    return found[0], found[1]
