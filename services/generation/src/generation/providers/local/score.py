"""Composes: key, chords with led voices, a motif and what becomes of it, bass, arpeggio, percussion. Notes only, no sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

import numpy as np

from generation.providers.local.moods import MODE_NAMES, Mood

Part = Literal["pad", "bass", "arpeggio", "melody", "voice", "kick", "snap", "shaker"]
PITCH_NAMES = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
BEATS_PER_BAR = 4
TEMPO_RANGE = (84.0, 126.0)
LONG_FORM_TEMPO = 101.0
"""From here on there is time for twelve bars within 30 seconds."""
PAD_RANGE = (52, 74)
MELODY_RANGE = (67, 88)
TAIL_SECONDS = 0.55


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    part: Part
    beat: float
    beats: float
    pitch: int
    """MIDI number; unused by percussion."""
    velocity: float
    pan: float = 0.0
    """-1 is left, 1 is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is decided before the first note."""

    mood: Mood
    tonic: int
    """Pitch class, 0 is C."""
    tempo: float
    density: float
    swing: float
    seed: int
    without: frozenset[str] = frozenset()
    voice: bool = True

    @property
    def key_name(self) -> str:
        return f"{PITCH_NAMES[self.tonic]} {MODE_NAMES[self.mood.scale]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    section: Literal["intro", "verse", "chorus", "ending"]
    number: int
    """Within its section."""
    degree: int
    voicing: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    plan: Plan
    bars: tuple[Bar, ...]
    notes: tuple[Note, ...]

    @property
    def seconds_per_beat(self) -> float:
        return 60.0 / self.plan.tempo

    @property
    def duration_seconds(self) -> float:
        return len(self.bars) * BEATS_PER_BAR * self.seconds_per_beat + TAIL_SECONDS

    def seam_seconds(self) -> tuple[float, ...]:
        """Where one section meets the next."""
        pairs = zip(self.bars, self.bars[1:], strict=False)
        starts = [place for place, (one, other) in enumerate(pairs, start=1) if one.section != other.section]
        return tuple(place * BEATS_PER_BAR * self.seconds_per_beat for place in starts)


def compose(plan: Plan) -> Score:
    """The same plan gives the same score."""
    rng = np.random.default_rng((plan.seed % 2**63, 7))
    bars = _lay_out(plan)
    notes: list[Note] = []
    notes += _pads(bars)
    notes += _bass(plan, bars)
    notes += _arpeggio(plan, bars, rng)
    notes += _melody(plan, bars, rng)
    notes += _percussion(plan, bars, rng)
    kept = (note for note in notes if _family(note.part) not in plan.without and (plan.voice or note.part != "voice"))
    return Score(plan=plan, bars=bars, notes=tuple(_swung(note, plan.swing) for note in kept))


def _family(part: Part) -> str:
    return "percussion" if part in ("kick", "snap", "shaker") else part


def _swung(note: Note, swing: float) -> Note:
    if not swing or abs(note.beat % 1 - 0.5) > 0.01:
        return note
    return Note(part=note.part, beat=note.beat + swing, beats=note.beats, pitch=note.pitch, velocity=note.velocity, pan=note.pan)


def scale_pitch(plan: Plan, step: int, *, octave_of: int = 60) -> int:
    """The step of the scale counted from the tonic nearest above `octave_of`."""
    base = octave_of + (plan.tonic - octave_of) % 12
    octave, within = divmod(step, len(plan.mood.scale))
    return base + 12 * octave + plan.mood.scale[within]


def chord_classes(plan: Plan, degree: int) -> tuple[int, ...]:
    """Pitch classes from the root up: a triad with its root doubled, or a seventh chord."""
    steps = (0, 2, 4, 6) if plan.mood.sevenths else (0, 2, 4, 0)
    return tuple(scale_pitch(plan, degree + step) % 12 for step in steps)


def _lay_out(plan: Plan) -> tuple[Bar, ...]:
    mood = plan.mood
    long_form = plan.tempo >= LONG_FORM_TEMPO
    sections: list[tuple[Literal["intro", "verse", "chorus", "ending"], tuple[int, ...]]] = [
        ("intro", (0, mood.verse[-1]) if long_form else (0,)),
        ("verse", mood.verse),
        ("chorus", mood.chorus),
        ("ending", (mood.cadence, 0) if long_form else (0,)),
    ]
    bars: list[Bar] = []
    voices: tuple[int, ...] = ()
    for section, degrees in sections:
        for number, degree in enumerate(degrees):
            voices = _led(chord_classes(plan, degree), voices)
            bars.append(Bar(section=section, number=number, degree=degree, voicing=voices))
    return tuple(bars)


def _led(classes: Sequence[int], before: tuple[int, ...]) -> tuple[int, ...]:
    """Each voice moves as little as it can; the whole stays in the pad's range without doubling a pitch."""
    if not before:
        low = PAD_RANGE[0] + 2
        return tuple(sorted(low + (classes[place] - low) % 12 + (12 if place == len(classes) - 1 else 0) for place in range(len(classes))))
    best: tuple[int, tuple[int, ...]] | None = None
    for order in permutations(classes):
        voices = tuple(_nearest(pitch_class, was) for pitch_class, was in zip(order, before, strict=True))
        outside = sum(max(0, PAD_RANGE[0] - pitch) + max(0, pitch - PAD_RANGE[1]) for pitch in voices)
        doubled = len(voices) - len(set(voices))
        cost = sum(abs(pitch - was) for pitch, was in zip(voices, before, strict=True)) + 4 * outside + 9 * doubled
        if best is None or cost < best[0]:
            best = (cost, voices)
    assert best is not None
    return best[1]


def _nearest(pitch_class: int, pitch: int) -> int:
    return pitch + (pitch_class - pitch + 6) % 12 - 6


def _pads(bars: Sequence[Bar]) -> list[Note]:
    loudness = {"intro": 0.62, "verse": 0.72, "chorus": 0.88, "ending": 0.7}
    return [
        Note(part="pad", beat=place * 4, beats=4, pitch=pitch, velocity=loudness[bar.section], pan=(-0.55, 0.25, -0.2, 0.55)[voice % 4])
        for place, bar in enumerate(bars)
        for voice, pitch in enumerate(bar.voicing)
    ]


def _bass(plan: Plan, bars: Sequence[Bar]) -> list[Note]:
    notes: list[Note] = []
    for place, bar in enumerate(bars):
        root = scale_pitch(plan, bar.degree, octave_of=36)
        root = root - 12 if root > 47 else root
        fifth = root + 7 if (root + 7) % 12 in chord_classes(plan, bar.degree) else root
        beat = place * BEATS_PER_BAR
        if bar.section in ("intro", "ending"):
            notes.append(Note(part="bass", beat=beat, beats=3.8, pitch=root, velocity=0.62))
            continue
        figure: tuple[tuple[float, float, int], ...] = ((0, 1.9, root), (2, 1.4, fifth), (3.5, 0.45, root))
        if bar.section == "chorus" and plan.density > 0.35:
            figure = ((0, 1.4, root), (1.5, 0.45, root), (2, 1.4, fifth), (3.5, 0.45, root + 12 if root < 40 else root))
        notes += [Note(part="bass", beat=beat + at, beats=beats, pitch=pitch, velocity=0.8 - 0.1 * (at % 1)) for at, beats, pitch in figure]
    return notes


def _arpeggio(plan: Plan, bars: Sequence[Bar], rng: np.random.Generator) -> list[Note]:
    """Broken chords over the pad's own voices, an octave up; one of three shapes per song, finer in the chorus of a busy photo."""
    shape = ((0, 1, 2, 3, 2, 1, 2, 3), (0, 2, 1, 3, 2, 3, 1, 2), (3, 2, 1, 0, 1, 2, 3, 1))[int(rng.integers(3))]
    notes: list[Note] = []
    for place, bar in enumerate(bars):
        tones = sorted(pitch + 12 for pitch in bar.voicing)
        last = bar.section == "ending" and place == len(bars) - 1
        for number, tone in enumerate(shape[:4] if last else shape):
            at = number * 0.5
            soft = 0.5 if bar.section in ("intro", "ending") else 0.62
            velocity = soft + (0.14 if number % 4 == 0 else 0.0) + float(rng.uniform(-0.05, 0.05))
            pan = -0.6 + 1.2 * (number % 4) / 3
            notes.append(Note(part="arpeggio", beat=place * 4 + at, beats=2.4 if last else 1.0, pitch=tones[tone % len(tones)], velocity=velocity, pan=pan))
            if bar.section == "chorus" and plan.density > 0.62 and number % 2:
                again = tones[(tone + 1) % len(tones)]
                notes.append(Note(part="arpeggio", beat=place * 4 + at + 0.25, beats=0.6, pitch=again, velocity=velocity * 0.6, pan=-pan))
    return notes


@dataclass(frozen=True, slots=True)
class Motif:
    """Two bars: onsets and lengths in beats, and steps of the scale relative to the first note."""

    onsets: tuple[float, ...]
    lengths: tuple[float, ...]
    steps: tuple[int, ...]


def _invent_motif(plan: Plan, rng: np.random.Generator) -> Motif:
    grid = np.arange(0, 8, 0.5)
    weight = np.array([1.0 if at % 2 == 0 else 0.62 if at % 1 == 0 else 0.34 for at in grid])
    weight[-2:] = 0.0
    count = round(5 + 5 * plan.density)
    chosen = {0.0} | {float(at) for at in rng.choice(grid[1:], size=count - 1, replace=False, p=weight[1:] / weight[1:].sum())}
    onsets = tuple(sorted(chosen))
    ends = (*onsets[1:], 7.5)
    lengths = tuple(min(2.0, end - at) * 0.92 for at, end in zip(onsets, ends, strict=True))
    steps, at_step = [0], 0
    for _ in onsets[1:]:
        leap = int(rng.choice((-2, -1, -1, 1, 1, 2, 3))) if abs(at_step) < 4 else -int(np.sign(at_step))
        at_step += leap
        steps.append(at_step)
    return Motif(onsets, lengths, tuple(steps))


def _melody(plan: Plan, bars: Sequence[Bar], rng: np.random.Generator) -> list[Note]:
    """Verse: the motif, then again with another ending. Chorus: mirrored and higher, then the motif once more, home to the tonic."""
    motif = _invent_motif(plan, rng)
    starts = {section: next(place for place, bar in enumerate(bars) if bar.section == section) for section in ("verse", "chorus", "ending")}
    mirrored = Motif(motif.onsets, motif.lengths, tuple(-step for step in motif.steps))
    turned = Motif(motif.onsets, motif.lengths, _turned(motif.steps, rng))
    phrases = (
        (starts["verse"], motif, 2),
        (starts["verse"] + 2, turned, 2),
        (starts["chorus"], mirrored, 5),
        (starts["chorus"] + 2, motif, 4),
    )
    notes: list[Note] = []
    for bar_at, phrase, height in phrases:
        notes += _sing(plan, bars, phrase, bar_at=bar_at, height=height, chorus=bar_at >= starts["chorus"])
    home = len(bars) - 1
    notes.append(Note(part="melody", beat=home * 4, beats=3.6, pitch=_tonic_near(plan, notes[-1].pitch), velocity=0.7, pan=0.08))
    return notes


def _turned(steps: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    kept = max(1, len(steps) - 3)
    tail = [steps[kept - 1]]
    for _ in steps[kept:]:
        tail.append(tail[-1] + int(rng.choice((-1, 1, 2))))
    return (*steps[:kept], *tail[1:])


def _sing(plan: Plan, bars: Sequence[Bar], phrase: Motif, *, bar_at: int, height: int, chorus: bool) -> list[Note]:
    notes: list[Note] = []
    for onset, length, step in zip(phrase.onsets, phrase.lengths, phrase.steps, strict=True):
        bar = bars[min(len(bars) - 1, bar_at + int(onset // 4))]
        pitch = scale_pitch(plan, height + step, octave_of=MELODY_RANGE[0])
        strong = onset % 2 == 0 or length > 1
        pitch = _into_range(_onto_chord(plan, bar, pitch) if strong else pitch)
        beat = bar_at * 4 + onset
        velocity = (0.82 if strong else 0.68) + (0.06 if chorus else 0.0)
        notes.append(Note(part="melody", beat=beat, beats=length, pitch=pitch, velocity=velocity, pan=0.08))
        if chorus and length >= 0.45:
            notes.append(Note(part="voice", beat=beat, beats=length, pitch=pitch - 12, velocity=0.6, pan=-0.12))
    return notes


def _onto_chord(plan: Plan, bar: Bar, pitch: int) -> int:
    classes = chord_classes(plan, bar.degree)
    return min((pitch + shift for shift in range(-3, 4) if (pitch + shift) % 12 in classes), key=lambda near: abs(near - pitch), default=pitch)


def _into_range(pitch: int) -> int:
    low, high = MELODY_RANGE
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch


def _tonic_near(plan: Plan, pitch: int) -> int:
    return _into_range(_nearest(plan.tonic, pitch))


def _percussion(plan: Plan, bars: Sequence[Bar], rng: np.random.Generator) -> list[Note]:
    """Light: a shaker from the verse on, a soft kick, finger snaps on two and four in the chorus, a small lead-in before it."""
    notes: list[Note] = []

    def strike(part: Part, beat: float, velocity: float, pan: float = 0.0) -> None:
        notes.append(Note(part=part, beat=beat, beats=0.25, pitch=0, velocity=velocity, pan=pan))

    for place, bar in enumerate(bars):
        beat = place * BEATS_PER_BAR
        if bar.section == "intro":
            if place and plan.density > 0.3:
                for number in range(4, 8):
                    strike("shaker", beat + number * 0.5, 0.25 + 0.06 * (number - 4), 0.3)
            continue
        if bar.section == "ending":
            strike("kick", beat, 0.7)
            continue
        for number in range(8):
            strike("shaker", beat + number * 0.5, (0.52 if number % 2 == 0 else 0.34) + float(rng.uniform(-0.05, 0.05)), 0.3)
        strike("kick", beat, 0.85)
        strike("kick", beat + 2, 0.7)
        if plan.density > 0.45 or bar.section == "chorus":
            strike("kick", beat + 2.5 if plan.density < 0.6 else beat + 1.5, 0.5)
        if bar.section == "chorus" or bar.number >= 2:
            strike("snap", beat + 1, 0.62, -0.25)
            strike("snap", beat + 3, 0.68, -0.25)
        if bar.section == "verse" and bar.number == 3:
            for number in range(4):
                strike("snap", beat + 3 + number * 0.25, 0.3 + 0.1 * number, -0.25 + 0.15 * number)
    return notes
