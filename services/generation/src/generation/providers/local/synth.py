"""Turns notes into sound: small instruments made of tables, sines and filtered noise. Every note begins and ends at zero."""

# mypy: disable-error-code="no-any-return"
# numpy types an indexed array as Any, and nearly every line here ends in one.

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from generation.providers.local.moods import Lead
from generation.providers.local.score import Note, Score

Mono = npt.NDArray[np.float32]
Stereo = npt.NDArray[np.float32]
"""Samples x 2."""

RATE = 44_100
TABLE_SIZE = 8_192
HARMONIC_TOP_HZ = 9_000
TWO_PI = 2 * np.pi
HUMAN_SECONDS = 0.005
"""How far off the beat a played note may fall."""


def hertz(pitch: float) -> float:
    return float(440.0 * 2 ** ((pitch - 69) / 12))


def samples(seconds: float) -> int:
    return max(1, round(seconds * RATE))


def seconds_axis(count: int) -> Mono:
    return np.arange(count, dtype=np.float32) / np.float32(RATE)


def fade(sound: Mono, *, attack_seconds: float, release_seconds: float) -> Mono:
    """Raised-cosine ends, so that nothing clicks."""
    attack = min(samples(attack_seconds), len(sound) // 2)
    release = min(samples(release_seconds), len(sound) // 2)
    if attack:
        sound[:attack] *= (0.5 - 0.5 * np.cos(np.linspace(0, np.pi, attack))).astype(np.float32)
    if release:
        sound[-release:] *= (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, release))).astype(np.float32)
    return sound


@lru_cache(maxsize=512)
def _table(weights: tuple[float, ...]) -> Mono:
    turn = np.arange(TABLE_SIZE) / TABLE_SIZE * TWO_PI
    wave = sum(weight * np.sin(number * turn + 0.7 * number * number) for number, weight in enumerate(weights, start=1))
    return np.asarray(wave / sum(abs(weight) for weight in weights), dtype=np.float32)


def _limited(weights: Sequence[float], pitch_hertz: float) -> tuple[float, ...]:
    count = max(1, min(len(weights), int(HARMONIC_TOP_HZ / pitch_hertz)))
    return tuple(weights[:count])


def tone(pitch_hertz: float, count: int, weights: Sequence[float], *, phase: float = 0.0) -> Mono:
    turns = np.arange(count, dtype=np.float64) * (pitch_hertz / RATE) + phase
    return _table(_limited(weights, pitch_hertz))[(turns * TABLE_SIZE).astype(np.int64) & (TABLE_SIZE - 1)]


def sine(pitch_hertz: float, count: int) -> Mono:
    return tone(pitch_hertz, count, (1.0,))


def decay(count: int, seconds: float) -> Mono:
    return np.exp(seconds_axis(count) / np.float32(-seconds))


# instruments: (pitch, seconds) -> mono, peak about 1

MELLOW = tuple(1 / number**2.1 for number in range(1, 9))
BRIGHT = tuple(1 / number**1.35 for number in range(1, 17))
ROUND = (1.0, 0.45, 0.2, 0.09, 0.04)


@lru_cache(maxsize=256)
def electric_piano(pitch: int, seconds: float) -> Mono:
    """Two sines, one bending the other: a bell that softens into a hum."""
    count = samples(seconds + 0.5)
    turn = (np.arange(count) * (hertz(pitch) / RATE) % 1.0 * TWO_PI).astype(np.float32)
    bend = np.float32(1.15) * decay(count, 0.42) + np.float32(0.12)
    body = np.sin(turn + bend * np.sin(turn)) * decay(count, 1.1)
    tine = np.sin(turn * np.float32(7)) * decay(count, 0.09) * np.float32(0.07 if pitch < 86 else 0.02)
    return fade((body + tine).astype(np.float32), attack_seconds=0.004, release_seconds=0.18)


@lru_cache(maxsize=256)
def kalimba(pitch: int, seconds: float) -> Mono:
    count = samples(seconds + 0.7)
    base = hertz(pitch)
    sound = sine(base, count) * decay(count, 0.5) + sine(base * 2, count) * decay(count, 0.2) * np.float32(0.22)
    sound += sine(base * 5.42, count) * decay(count, 0.05) * np.float32(0.16)
    return fade(sound * np.float32(0.9), attack_seconds=0.003, release_seconds=0.2)


@lru_cache(maxsize=256)
def music_box(pitch: int, seconds: float) -> Mono:
    count = samples(seconds + 0.9)
    base = hertz(pitch)
    sound = sine(base, count) * decay(count, 0.75) + sine(base * 3.01, count) * decay(count, 0.28) * np.float32(0.16)
    sound += sine(base * 6.27, count) * decay(count, 0.07) * np.float32(0.08 if pitch < 84 else 0.02)
    return fade(sound * np.float32(0.85), attack_seconds=0.003, release_seconds=0.25)


@lru_cache(maxsize=256)
def guitar(pitch: int, seconds: float) -> Mono:
    """A plucked string: high harmonics die first."""
    count = samples(seconds + 0.5)
    base = hertz(pitch)
    sound = tone(base, count, (1.0, 0.5)) * decay(count, 0.75)
    sound += tone(base, count, (0.0, 0.0, 0.5, 0.4, 0.3)) * decay(count, 0.28) * np.float32(0.5)
    sound += tone(base, count, (0.0,) * 5 + (0.3, 0.26, 0.2, 0.18, 0.12, 0.1)) * decay(count, 0.09) * np.float32(0.4)
    return fade(sound, attack_seconds=0.003, release_seconds=0.15)


PLUCKED: dict[Lead, Callable[[int, float], Mono]] = {
    "electric piano": electric_piano,
    "kalimba": kalimba,
    "music box": music_box,
    "guitar": guitar,
}


@lru_cache(maxsize=64)
def bass_note(pitch: int, seconds: float) -> Mono:
    count = samples(seconds + 0.08)
    body = tone(hertz(pitch), count, ROUND) * (np.float32(0.45) * decay(count, 0.22) + np.float32(0.55) * decay(count, 1.6))
    return fade(np.tanh(body * np.float32(1.5)), attack_seconds=0.008, release_seconds=0.08)


@lru_cache(maxsize=64)
def pad_note(pitch: int, seconds: float) -> Stereo:
    """Two slightly detuned voices left and right that slowly open and close."""
    count = samples(seconds + 0.85)
    base = hertz(pitch)
    open_up = np.float32(0.5) - np.float32(0.5) * np.cos(seconds_axis(count) * np.float32(TWO_PI / (2 * (seconds + 0.85))))
    sides = []
    for cents, phase in ((-5.0, 0.13), (5.5, 0.61)):
        side_hertz = base * 2 ** (cents / 1200)
        soft = tone(side_hertz, count, MELLOW, phase=phase)
        bright = tone(side_hertz, count, BRIGHT, phase=phase)
        centre = tone(base, count, MELLOW, phase=phase + 0.31)
        sides.append(fade(soft + (bright - soft) * open_up * np.float32(0.45) + centre * np.float32(0.5), attack_seconds=0.42, release_seconds=0.8))
    return np.stack(sides, axis=1)


FORMANTS = ((690.0, 130.0, 1.0), (1120.0, 150.0, 0.5), (2550.0, 240.0, 0.16))


@lru_cache(maxsize=64)
def voice_note(pitch: int, seconds: float) -> Mono:
    """A wordless `ah`: a buzz shaped by three formants, vibrato that arrives late."""
    count = samples(seconds + 0.22)
    base = hertz(pitch)
    axis = seconds_axis(count).astype(np.float64)
    vibrato = 0.0022 * np.clip((axis - 0.25) / 0.3, 0, 1)
    turns = np.cumsum(base * (1 + vibrato * np.sin(TWO_PI * 5.3 * axis)) / RATE)
    weights = [
        (1 / number**0.9) * (0.04 + sum(gain / (1 + ((base * number - centre) / width) ** 2) for centre, width, gain in FORMANTS)) for number in range(1, 33)
    ]
    sound = _table(_limited(weights, base))[(turns * TABLE_SIZE).astype(np.int64) & (TABLE_SIZE - 1)]
    return fade(sound.copy(), attack_seconds=0.09, release_seconds=0.2)


def _noise(seed: int, count: int, *, low_hertz: float, high_hertz: float) -> Mono:
    """Noise between two corner frequencies, the same for the same seed."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    at = np.fft.rfftfreq(count, 1 / RATE)
    shape = 1 / np.sqrt(1 + (low_hertz / np.maximum(at, 1)) ** 6) / np.sqrt(1 + (at / high_hertz) ** 6)
    sound = np.fft.irfft(spectrum * shape, count)
    return (sound / np.abs(sound).max()).astype(np.float32)


@lru_cache(maxsize=4)
def kick() -> Mono:
    count = samples(0.32)
    sweep = np.cumsum(48 + 92 * np.exp(-seconds_axis(count).astype(np.float64) / 0.035)) / RATE
    return fade((np.sin(TWO_PI * sweep) * decay(count, 0.11)).astype(np.float32), attack_seconds=0.003, release_seconds=0.08)


@lru_cache(maxsize=8)
def snap(take: int) -> Mono:
    count = samples(0.16)
    sound = _noise(100 + take, count, low_hertz=1_300, high_hertz=5_200) * decay(count, 0.032)
    return fade(sound, attack_seconds=0.002, release_seconds=0.05)


@lru_cache(maxsize=8)
def shaker(take: int) -> Mono:
    count = samples(0.09)
    sound = _noise(200 + take, count, low_hertz=5_500, high_hertz=11_000) * decay(count, 0.026)
    return fade(sound, attack_seconds=0.009, release_seconds=0.03)


LEVELS = {"pad": 0.105, "bass": 0.34, "arpeggio": 0.15, "melody": 0.3, "voice": 0.26, "kick": 0.5, "snap": 0.2, "shaker": 0.075}
TAKES = 4


def render_part(score: Score, parts: Sequence[str]) -> Stereo:
    """All notes of these parts on one stereo track as long as the song."""
    track = np.zeros((samples(score.duration_seconds), 2), dtype=np.float32)
    rng = np.random.default_rng((score.plan.seed % 2**63, sum(map(ord, parts[0]))))
    for number, note in enumerate(each for each in score.notes if each.part in parts):
        late = float(rng.uniform(0, HUMAN_SECONDS)) if note.part in ("arpeggio", "melody", "voice", "shaker") else 0.0
        _add(track, samples(note.beat * score.seconds_per_beat + late), _sound(score, note, number), note)
    return track


def _sound(score: Score, note: Note, number: int) -> npt.NDArray[np.float32]:
    seconds = round(note.beats * score.seconds_per_beat, 4)
    mood = score.plan.mood
    match note.part:
        case "pad":
            return pad_note(note.pitch, seconds)
        case "bass":
            return bass_note(note.pitch, seconds)
        case "arpeggio":
            return PLUCKED[mood.arpeggio](note.pitch, seconds)
        case "melody":
            return PLUCKED[mood.lead](note.pitch, seconds)
        case "voice":
            return voice_note(note.pitch, seconds)
        case "kick":
            return kick()
        case "snap":
            return snap(number % TAKES)
        case "shaker":
            return shaker(number % TAKES)


def _add(track: Stereo, start: int, sound: npt.NDArray[np.float32], note: Note) -> None:
    """Mix one note in, equal power across the stage; what rings past the end of the song is faded with it by the master."""
    room = min(len(sound), len(track) - start)
    if room <= 0:
        return
    level = LEVELS[note.part] * note.velocity
    angle = (note.pan + 1) * np.pi / 4
    gains = np.array([np.cos(angle), np.sin(angle)], dtype=np.float32) * np.float32(level * 1.414)
    part = sound[:room]
    track[start : start + room] += (part[:, None] if part.ndim == 1 else part) * gains
