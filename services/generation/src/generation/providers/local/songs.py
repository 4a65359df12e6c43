"""Makes one song from a photo, or from words alone: plan, score, parts, mix, master, Ogg Vorbis, cover, lyrics."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import soundfile

from generation.providers.base import Result
from generation.providers.local.covers import make_cover
from generation.providers.local.labels import label_song
from generation.providers.local.lyrics import write_lyrics
from generation.providers.local.mastering import echo, master
from generation.providers.local.moods import MOODS, Mood, asked_mood, asked_tempo_shift, asks_swing, parts_without
from generation.providers.local.score import TAIL_SECONDS, TEMPO_RANGE, Plan, Score, compose
from generation.providers.local.synth import RATE, Stereo, render_part, samples
from generation.providers.local.vision import Traits, describe_traits, look, mood_from

Report = Callable[[int, int, str], None]

PARTS: tuple[tuple[str, tuple[str, ...], float], ...] = (
    ("pads", ("pad",), 0.35),
    ("bass", ("bass",), 0.0),
    ("arpeggio", ("arpeggio",), 0.4),
    ("melody", ("melody",), 0.45),
    ("voice", ("voice",), 0.6),
    ("percussion", ("kick", "snap", "shaker"), 0.12),
)
"""Name, parts of the score, and how much of it is sent to the room."""
SEND_LEVEL = 0.34
ENCODE_QUALITY = 0.3
"""libsndfile's compression level: 0 is best, 1 is smallest."""
SWING_BEATS = 0.12
_WIDE_ENDS = "。！？"
_SENTENCE_ENDS = f".!?…{_WIDE_ENDS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Song:
    """A finished song and what there is to say about it."""

    result: Result
    title: str
    tags: tuple[str, ...]
    lyrics: str
    description: str


def make_song(
    photo: bytes | None,
    *,
    title: str,
    tags: Sequence[str],
    prompt: str,
    negative_tags: Sequence[str],
    instrumental: bool,
    seed: int,
    report: Report,
    index: int = 0,
    produce_id: str = "",
) -> Song:
    """20 to 30 seconds, stereo. The same input and seed give the same song. Raises Refused for a photo that does not decode."""
    planned = len(PARTS) + 5
    report(0, planned, "look at the photo" if photo else "read the words")
    traits = look(photo) if photo else None
    plan = plan_song(traits, words=" ".join((title, *tags, prompt)), negative_tags=negative_tags, instrumental=instrumental, seed=seed)
    report(1, planned, "compose")
    score = compose(plan)
    sound = _perform(score, report, planned)
    report(planned - 2, planned, "encode")
    said = describe_traits(traits) if traits else None
    name = title.strip() or (said.title if said else f"{plan.mood.nouns[seed % len(plan.mood.nouns)]} in {plan.key_name.split(' ')[0]}")
    label_id = produce_id or f"{seed}-{index}"
    body = label_song(_encode(sound, title=name), label_id)
    report(planned - 1, planned, "cover")
    cover = make_cover(photo, title=name, mood=plan.mood, tonic=plan.tonic, seed=seed, produce_id=label_id)
    report(planned, planned, "done")
    return Song(
        result=Result(index=index, body=body, content_type="audio/ogg", duration_seconds=len(sound) / RATE, cover=cover),
        title=name,
        tags=tuple(tags) or _own_tags(plan),
        lyrics="" if instrumental else write_lyrics(plan.mood, colours=traits.colours if traits else (), prompt=prompt, seed=seed),
        description=describe_song(plan, prompt or (said.prompt if said else "")),
    )


def plan_song(traits: Traits | None, *, words: str, negative_tags: Sequence[str], instrumental: bool, seed: int) -> Plan:
    """Hue gives the key, brightness the mode, contrast the tempo, edges the density; words lean on mood and tempo, and rule without a photo."""
    spread = np.random.default_rng((seed % 2**63, 3))
    hue = traits.hue if traits else float(spread.random())
    contrast = traits.contrast if traits else float(spread.uniform(0.35, 0.75))
    busyness = traits.busyness if traits else float(spread.uniform(0.3, 0.7))
    mood = _mood(traits, words, spread)
    tempo = TEMPO_RANGE[0] + contrast * (TEMPO_RANGE[1] - TEMPO_RANGE[0]) + mood.tempo_shift + asked_tempo_shift(words)
    return Plan(
        mood=mood,
        tonic=round(hue * 12) % 12,
        tempo=float(np.clip(round(tempo), *TEMPO_RANGE)),
        density=busyness,
        swing=SWING_BEATS if asks_swing(words) else 0.0,
        seed=seed,
        without=parts_without(negative_tags),
        voice=not instrumental,
    )


def _mood(traits: Traits | None, words: str, spread: np.random.Generator) -> Mood:
    asked = asked_mood(words)
    if asked:
        return asked
    return mood_from(traits) if traits else MOODS[int(spread.integers(len(MOODS)))]


def _perform(score: Score, report: Report, planned: int) -> Stereo:
    dry = np.zeros((samples(score.duration_seconds), 2), dtype=np.float32)
    send = np.zeros_like(dry)
    for done, (name, parts, to_room) in enumerate(PARTS, start=2):
        report(done, planned, name)
        track = render_part(score, parts)
        if name == "melody":
            track = echo(track, 0.75 * score.seconds_per_beat)
        dry += track
        send += track * np.float32(to_room * SEND_LEVEL)
    report(len(PARTS) + 2, planned, "mix and master")
    return master(dry, send, fade_out_seconds=min(TAIL_SECONDS + 1.2, score.duration_seconds / 4))


def _encode(sound: Stereo, *, title: str) -> bytes:
    """A second at a time: libsndfile's Vorbis encoder overflows its stack on one big write."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", samplerate=RATE, channels=2, format="OGG", subtype="VORBIS", compression_level=ENCODE_QUALITY) as file:
        file.title = title
        file.artist = "Darkroom"
        for start in range(0, len(sound), RATE):
            file.write(sound[start : start + RATE])
    return buffer.getvalue()


def _own_tags(plan: Plan) -> tuple[str, ...]:
    pace = "upbeat" if plan.tempo > 112 else "slow" if plan.tempo < 94 else "mid-tempo"
    return (plan.mood.name, pace, plan.mood.lead)


def describe_song(plan: Plan, prompt: str) -> str:
    """What was asked for and what was made of it, each a sentence."""
    made = f"{plan.key_name}, {plan.tempo:.0f} beats a minute, led by {plan.mood.lead}."
    asked = prompt.strip()
    if not asked:
        return made
    if asked[-1] not in _SENTENCE_ENDS:
        asked += "." if asked[-1].isascii() else "。"
    return asked + made if asked[-1] in _WIDE_ENDS else f"{asked} {made}"
