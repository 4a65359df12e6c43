"""The moods a song can have: scale, chords, instruments, words; and which one a photo or a few words ask for."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Lead = Literal["electric piano", "kalimba", "music box", "guitar"]

IONIAN = (0, 2, 4, 5, 7, 9, 11)
LYDIAN = (0, 2, 4, 6, 7, 9, 11)
DORIAN = (0, 2, 3, 5, 7, 9, 10)
AEOLIAN = (0, 2, 3, 5, 7, 8, 10)
MODE_NAMES: dict[tuple[int, ...], str] = {IONIAN: "major", LYDIAN: "Lydian", DORIAN: "Dorian", AEOLIAN: "minor"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """Chords are scale steps counted from 0, one a bar; `verse` and `chorus` are the song's two parts."""

    name: str
    feeling: str
    scale: tuple[int, ...]
    verse: tuple[int, int, int, int]
    chorus: tuple[int, int, int, int]
    cadence: int
    sevenths: bool
    lead: Lead
    arpeggio: Lead
    nouns: tuple[str, ...]
    images: tuple[str, ...]
    tempo_shift: float = 0.0


MOODS: tuple[Mood, ...] = (
    Mood(
        name="bright", feeling="light-hearted and open", scale=IONIAN, verse=(0, 4, 5, 3), chorus=(3, 4, 2, 5), cadence=4, sevenths=False,
        lead="kalimba", arpeggio="guitar", nouns=("Morning", "Holiday", "Avenue", "Sail", "Laughter", "Kite"),
        images=("the window lets the morning in", "we ran until the street turned gold", "your laughter is the road I take"), tempo_shift=6,
    ),
    Mood(
        name="warm", feeling="warm and at home", scale=IONIAN, verse=(0, 5, 1, 4), chorus=(3, 2, 1, 4), cadence=4, sevenths=True,
        lead="electric piano", arpeggio="guitar", nouns=("Afternoon", "Porch", "Letter", "Harbour", "Ember", "Orchard"),
        images=("the kettle hums an older song", "your hand is resting close to mine", "the day is slow to say goodbye"),
    ),
    Mood(
        name="airy", feeling="weightless and clear", scale=LYDIAN, verse=(0, 1, 5, 1), chorus=(4, 1, 2, 1), cadence=1, sevenths=True,
        lead="music box", arpeggio="kalimba", nouns=("Glass", "Feather", "Cloud", "Paper", "Skyline", "Snow"),
        images=("a feather settles on the glass", "the air is made of paper light", "we hardly touch the ground at all"), tempo_shift=-4,
    ),
    Mood(
        name="wistful", feeling="thoughtful, with a smile behind it", scale=DORIAN, verse=(0, 3, 0, 6), chorus=(2, 6, 3, 0), cadence=6, sevenths=True,
        lead="electric piano", arpeggio="kalimba", nouns=("Postcard", "Station", "Garden", "Tide", "Echo", "Evening"),
        images=("a postcard folded in my coat", "the station clock forgets the time", "I know the way, I take it slow"),
    ),
    Mood(
        name="nocturnal", feeling="quiet and wide like a night street", scale=AEOLIAN, verse=(0, 5, 2, 6), chorus=(3, 0, 5, 6), cadence=6, sevenths=False,
        lead="guitar", arpeggio="music box", nouns=("Midnight", "Lantern", "River", "Signal", "Shadow", "Moon"),
        images=("the lanterns count the river bends", "a signal blinks beyond the roofs", "the night has room for both of us"), tempo_shift=-2,
    ),
)  # fmt: skip

BY_NAME = {mood.name: mood for mood in MOODS}
MOOD_WORDS: dict[str, tuple[str, ...]] = {
    "bright": ("happy", "upbeat", "joy", "cheer", "party", "summer", "dance", "energetic", "sunny", "bright", "欢快", "快乐", "开心", "阳光"),
    "warm": ("warm", "love", "cosy", "cozy", "romantic", "acoustic", "folk", "soul", "home", "温暖", "爱", "浪漫", "民谣"),
    "airy": ("airy", "ambient", "dream", "light", "calm", "sky", "ethereal", "meditation", "peace", "梦", "安静", "空灵", "宁静"),
    "wistful": ("wistful", "nostalg", "jazz", "lofi", "lo-fi", "autumn", "rain", "memory", "blues", "怀旧", "回忆", "爵士", "雨"),
    "nocturnal": ("night", "dark", "sad", "melanchol", "minor", "lonely", "cinematic", "electronic", "夜", "忧伤", "悲伤", "孤独", "电子"),
}
FAST_WORDS = ("fast", "upbeat", "dance", "energetic", "party", "快")
SLOW_WORDS = ("slow", "ballad", "ambient", "calm", "sleep", "慢", "安静")
SWING_WORDS = ("jazz", "lofi", "lo-fi", "swing", "blues", "hip hop", "hip-hop", "爵士")
PART_WORDS: dict[str, tuple[str, ...]] = {
    "percussion": ("drum", "percussion", "beat", "鼓"),
    "bass": ("bass", "贝斯"),
    "arpeggio": ("arpeggio", "guitar", "吉他"),
    "pad": ("pad", "synth", "strings"),
    "voice": ("vocal", "voice", "singing", "choir", "人声"),
}
"""Which part of the arrangement a negative tag takes out; the melody always stays."""


def mood_of(brightness: float, saturation: float, warmth: float) -> Mood:
    if brightness > 0.58:
        return BY_NAME["airy"] if saturation < 0.22 else BY_NAME["bright"]
    if brightness > 0.4:
        return BY_NAME["warm"] if warmth > -0.1 else BY_NAME["airy"]
    return BY_NAME["wistful"] if brightness > 0.24 else BY_NAME["nocturnal"]


def _mentions(text: str, words: Iterable[str]) -> int:
    return sum(word in text for word in words)


def asked_mood(text: str) -> Mood | None:
    """The mood most often named in title, tags and prompt; None when no word is known."""
    counts = {name: _mentions(text.lower(), words) for name, words in MOOD_WORDS.items()}
    best = max(counts, key=lambda name: counts[name])
    return BY_NAME[best] if counts[best] else None


def asked_tempo_shift(text: str) -> float:
    lower = text.lower()
    return 14.0 * (bool(_mentions(lower, FAST_WORDS)) - bool(_mentions(lower, SLOW_WORDS)))


def asks_swing(text: str) -> bool:
    return bool(_mentions(text.lower(), SWING_WORDS))


def parts_without(negative_tags: Iterable[str]) -> frozenset[str]:
    text = " ".join(negative_tags).lower()
    return frozenset(part for part, words in PART_WORDS.items() if _mentions(text, words))
