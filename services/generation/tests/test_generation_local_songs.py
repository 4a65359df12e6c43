"""Songs of the local engine are music by measurement: in key, on the beat, loud as asked, clean, stereo, with a form."""

import io
import json
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from PIL import Image

from generation.providers.base import Refused
from generation.providers.local.labels import label_song
from generation.providers.local.lettering import printable
from generation.providers.local.mastering import loudness_lufs
from generation.providers.local.moods import MOODS
from generation.providers.local.score import MELODY_RANGE, Plan, Score, compose, scale_pitch
from generation.providers.local.songs import Song, describe_song, make_song, plan_song
from generation.providers.local.synth import render_part
from generation.providers.local.vision import Traits, describe, look

Sound = npt.NDArray[np.float64]
PHOTO_COLOURS = {"bright": (250, 214, 120), "calm": (110, 140, 150), "night": (18, 22, 48)}


@cache
def photo(name: str) -> bytes:
    shade = np.array(PHOTO_COLOURS[name])
    ramp = np.linspace(0.55, 1.1, 240)[:, None, None] * shade
    noise = np.random.default_rng(1).normal(0, 22 if name == "night" else 4, (240, 320, 1))
    buffer = io.BytesIO()
    Image.fromarray((ramp + noise).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def sing(name: str | None, *, title: str = "", tags: tuple[str, ...] = (), instrumental: bool = False, seed: int = 5) -> Song:
    return make_song(
        photo(name) if name else None,
        title=title,
        tags=tags,
        prompt="",
        negative_tags=(),
        instrumental=instrumental,
        seed=seed,
        report=lambda *_: None,
    )


@cache
def song(name: str) -> Song:
    return sing(None, tags=("jazz", "slow")) if name == "words" else sing(name)


@cache
def sound(name: str) -> Sound:
    heard, rate = soundfile.read(io.BytesIO(song(name).result.body))
    assert rate == 44_100
    return np.asarray(heard, dtype=np.float64)


@cache
def score(name: str) -> Score:
    if name == "words":
        return compose(plan_song(None, words=" jazz slow ", negative_tags=(), instrumental=False, seed=5))
    return compose(plan_song(look(photo(name)), words="", negative_tags=(), instrumental=False, seed=5))


SONGS = pytest.mark.parametrize("name", ["bright", "calm", "night", "words"])


def onset_strength(heard: Sound, hop: int = 512) -> Sound:
    """How much new energy each moment brings, over frequency."""
    mono = heard.mean(axis=1)
    frames = np.lib.stride_tricks.sliding_window_view(mono, 2048)[::hop] * np.hanning(2048)
    levels = np.log1p(100 * np.abs(np.fft.rfft(frames, axis=1)))
    return np.asarray(np.maximum(np.diff(levels, axis=0), 0).sum(axis=1), dtype=np.float64)


@SONGS
def test_a_song_lasts_twenty_to_thirty_seconds_in_stereo(name: str) -> None:
    heard = sound(name)
    assert heard.shape[1] == 2
    assert 20 <= len(heard) / 44_100 <= 30.5
    assert song(name).result.duration_seconds == pytest.approx(len(heard) / 44_100, abs=0.05)


@SONGS
def test_its_loudness_is_near_the_target_without_clipping_or_dc(name: str) -> None:
    heard = sound(name)
    assert loudness_lufs(heard.astype(np.float32)) == pytest.approx(-14, abs=1.0)
    assert np.abs(heard).max() < 0.97
    assert np.abs(heard.mean(axis=0)).max() < 1e-3


@SONGS
def test_it_begins_and_ends_in_silence(name: str) -> None:
    heard = sound(name)
    assert np.abs(heard[:32]).max() < 0.02
    assert np.abs(heard[-64:]).max() < 0.02


@SONGS
def test_left_and_right_differ_but_agree(name: str) -> None:
    heard = sound(name)
    middle, side = heard.sum(axis=1), heard[:, 0] - heard[:, 1]
    width = float(np.sqrt((side**2).mean() / (middle**2).mean()))
    assert 0.08 < width < 0.9
    assert np.corrcoef(heard[:, 0], heard[:, 1])[0, 1] > 0.2


@SONGS
def test_its_notes_sound_in_its_key(name: str) -> None:
    plan = score(name).plan
    mono = sound(name).mean(axis=1)
    spectrum = np.abs(np.fft.rfft(mono)) ** 2
    at = np.fft.rfftfreq(len(mono), 1 / 44_100)
    band = (at > 110) & (at < 1_100)
    classes = np.round(69 + 12 * np.log2(at[band] / 440)).astype(int) % 12
    chroma = np.bincount(classes, weights=spectrum[band], minlength=12)
    in_key = [(plan.tonic + step) % 12 for step in plan.mood.scale]
    assert chroma[in_key].sum() / chroma.sum() > 0.9


@SONGS
def test_its_onsets_keep_the_beat(name: str) -> None:
    strength = onset_strength(sound(name))
    strength = strength - strength.mean()
    again = np.correlate(strength, strength, "full")[len(strength) - 1 :]
    half_beat = 30 / score(name).plan.tempo * 44_100 / 512
    beat = max(again[round(half_beat * 2) - 1 : round(half_beat * 2) + 2])
    off_beat = max(again[round(half_beat * 1.5) - 1 : round(half_beat * 1.5) + 2])
    assert beat / again[0] > 0.25
    assert beat > off_beat * 1.15


@SONGS
def test_its_tone_is_neither_dull_nor_harsh(name: str) -> None:
    mono = sound(name).mean(axis=1)
    spectrum = np.abs(np.fft.rfft(mono))
    centroid = float((np.fft.rfftfreq(len(mono), 1 / 44_100) * spectrum).sum() / spectrum.sum())
    assert 300 < centroid < 4_000


@SONGS
def test_the_sounding_parts_have_no_clicks_anywhere_least_of_all_at_the_seams(name: str) -> None:
    """Without percussion a waveform this mellow bends smoothly; a cut or a jump would stand out from its surroundings."""
    whole = score(name)
    tuned = render_part(whole, ("pad",)) + render_part(whole, ("bass",)) + render_part(whole, ("voice",))
    bend = np.abs(np.diff(tuned.astype(np.float64), n=2, axis=0)).max(axis=1)
    assert bend.max() < 0.02
    usual = float(np.percentile(bend, 99.9))
    for seam in whole.seam_seconds():
        middle = round(seam * 44_100)
        assert bend[middle - 441 : middle + 441].max() < 4 * usual


@SONGS
def test_it_has_a_form_the_parts_differ_and_the_chorus_is_fuller(name: str) -> None:
    whole = score(name)
    sections = list(dict.fromkeys(bar.section for bar in whole.bars))
    assert sections == ["intro", "verse", "chorus", "ending"]
    bar_seconds = 4 * whole.seconds_per_beat
    heard, levels = sound(name), {}
    for section in sections:
        places = [place for place, bar in enumerate(whole.bars) if bar.section == section]
        part = heard[round(places[0] * bar_seconds * 44_100) : round((places[-1] + 1) * bar_seconds * 44_100)]
        levels[section] = float(np.sqrt((part**2).mean()))
    assert levels["intro"] < levels["verse"] < levels["chorus"] * 1.1
    assert levels["ending"] < levels["chorus"]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mood", MOODS, ids=lambda mood: mood.name)
def test_every_score_stays_in_key_leads_its_voices_and_comes_home(mood: object, seed: int) -> None:
    chosen = next(each for each in MOODS if each is mood)
    plan = Plan(mood=chosen, tonic=seed, tempo=84 + 3.5 * seed, density=seed / 11, swing=0.0, seed=seed)
    whole = compose(plan)
    key = {scale_pitch(plan, step) % 12 for step in range(7)}
    pitched = [note for note in whole.notes if note.part in ("pad", "bass", "arpeggio", "melody", "voice")]
    assert all(note.pitch % 12 in key or note.part == "bass" for note in pitched)
    assert all(note.pitch % 12 in key for note in pitched)
    for one, other in zip(whole.bars, whole.bars[1:], strict=False):
        assert max(abs(before - after) for before, after in zip(one.voicing, other.voicing, strict=True)) <= 7
    melody = [note for note in whole.notes if note.part == "melody"]
    assert melody[-1].pitch % 12 == plan.tonic
    assert all(MELODY_RANGE[0] <= note.pitch <= MELODY_RANGE[1] for note in melody)
    assert 20 <= whole.duration_seconds <= 30.5


def test_the_motif_returns_and_is_varied() -> None:
    whole = score("bright")
    start = {section: 4 * next(place for place, bar in enumerate(whole.bars) if bar.section == section) for section in ("verse", "chorus")}
    melody = [note for note in whole.notes if note.part == "melody"]

    def rhythm(first: float) -> list[float]:
        return [round(note.beat - first, 2) for note in melody if first <= note.beat < first + 8]

    def tune(first: float) -> list[int]:
        return [note.pitch for note in melody if first <= note.beat < first + 8]

    assert rhythm(start["verse"]) == rhythm(start["verse"] + 8) == rhythm(start["chorus"])
    assert tune(start["verse"]) != tune(start["verse"] + 8)
    assert tune(start["verse"])[:2] == tune(start["verse"] + 8)[:2] or tune(start["verse"])[0] != tune(start["chorus"])[0]


def traits(*, hue: float = 0.1, brightness: float = 0.5, contrast: float = 0.5, busyness: float = 0.5) -> Traits:
    return Traits(hue=hue, saturation=0.5, brightness=brightness, contrast=contrast, busyness=busyness, warmth=0.2, colours=("amber", "teal"))


def plan(seen: Traits, words: str = "") -> Plan:
    return plan_song(seen, words=words, negative_tags=(), instrumental=True, seed=1)


def test_hue_is_the_key_brightness_the_mode_contrast_the_tempo_edges_the_density() -> None:
    assert {plan(traits(hue=step / 12)).tonic for step in range(12)} == set(range(12))
    assert [plan(traits(brightness=value)).mood.name for value in (0.7, 0.5, 0.3, 0.1)] == ["bright", "warm", "wistful", "nocturnal"]
    assert plan(traits(contrast=0.2)).tempo < plan(traits(contrast=0.5)).tempo < plan(traits(contrast=0.9)).tempo
    assert plan(traits(busyness=0.1)).density < plan(traits(busyness=0.9)).density


def test_words_lean_on_the_mood_and_the_tempo() -> None:
    assert plan(traits(brightness=0.7), "a sad song").mood.name == "nocturnal"
    assert plan(traits(), "欢快").mood.name == "bright"
    assert plan(traits(), "slow").tempo < plan(traits()).tempo < plan(traits(), "fast").tempo
    assert plan(traits(), "lofi").swing > 0


def test_negative_tags_take_parts_out_but_never_the_melody() -> None:
    bare = compose(plan_song(traits(), words="", negative_tags=("drums", "bass", "guitar", "vocals", "synth", "noise"), instrumental=False, seed=1))
    assert {note.part for note in bare.notes} == {"melody"}


def test_an_instrumental_song_has_no_voice_and_no_words() -> None:
    made = sing("calm", instrumental=True)
    assert made.lyrics == ""
    assert "voice" not in {note.part for note in compose(plan_song(look(photo("calm")), words="", negative_tags=(), instrumental=True, seed=5)).notes}


@pytest.mark.parametrize(
    ("prompt", "begins"),
    [
        ("a calm evening at the lake", "a calm evening at the lake. "), ("waves. ", "waves. "), ("why?", "why? "), ("湖边的黄昏", "湖边的黄昏。"), ("", ""),
    ],
)  # fmt: skip
def test_what_was_asked_and_what_was_made_of_it_are_two_sentences(prompt: str, begins: str) -> None:
    plan = plan_song(traits(), words=prompt, negative_tags=(), instrumental=False, seed=1)
    made = f"{plan.key_name}, {plan.tempo:.0f} beats a minute, led by {plan.mood.lead}."
    assert describe_song(plan, prompt) == begins + made


@SONGS
def test_a_sung_song_comes_with_title_tags_and_four_lines(name: str) -> None:
    made = song(name)
    assert made.title
    assert made.tags
    assert made.description
    assert len(made.lyrics.splitlines()) == 4
    assert all(printable(line) == line or len(line) > 42 for line in made.lyrics.splitlines())


def test_the_same_seed_gives_the_same_song_and_another_seed_another() -> None:
    assert sing("night").result.body == song("night").result.body
    assert sing("night", seed=6).result.body != song("night").result.body


@SONGS
def test_the_cover_is_a_labelled_square_webp(name: str) -> None:
    cover = song(name).result.cover
    assert cover is not None
    image = Image.open(io.BytesIO(cover))
    assert image.format == "WEBP"
    assert image.width == image.height >= 512
    assert b"TC260:AIGC" in image.info["xmp"]


def comments_of(ogg: bytes) -> dict[str, str]:
    """Read the comment header the way the format describes it."""
    at = ogg.index(b"\x03vorbis") + 7
    at += 4 + int.from_bytes(ogg[at : at + 4], "little")
    count, at = int.from_bytes(ogg[at : at + 4], "little"), at + 4
    found = {}
    for _ in range(count):
        size = int.from_bytes(ogg[at : at + 4], "little")
        key, _, value = ogg[at + 4 : at + 4 + size].decode().partition("=")
        found[key] = value
        at += 4 + size
    assert ogg[at] == 1
    return found


@SONGS
def test_the_song_carries_the_hidden_label_beside_its_title(name: str) -> None:
    found = comments_of(song(name).result.body)
    assert json.loads(found["AIGC"])["Label"] == "1"
    assert found["TITLE"] == song(name).title


def test_labelling_changes_no_sample_even_when_the_header_grows_by_pages() -> None:
    body = song("calm").result.body
    before, _ = soundfile.read(io.BytesIO(body))
    after, _ = soundfile.read(io.BytesIO(label_song(body, "x" * 70_000)))
    assert np.array_equal(before, after)


def test_progress_of_a_song_rises_to_the_planned_steps() -> None:
    said: list[tuple[int, int, str]] = []
    make_song(None, title="", tags=(), prompt="", negative_tags=(), instrumental=True, seed=1, report=lambda *step: said.append(step))
    assert [done for done, _, _ in said] == sorted({done for done, _, _ in said})
    assert said[-1][0] == said[-1][1]
    assert {"compose", "melody", "mix and master"} <= {doing for _, _, doing in said}


def test_a_song_from_something_that_is_no_photo_is_refused() -> None:
    with pytest.raises(Refused):
        make_song(b"nope", title="", tags=(), prompt="", negative_tags=(), instrumental=True, seed=1, report=lambda *_: None)


def test_a_photo_is_described_by_its_colours_and_light() -> None:
    said = describe(photo("night"))
    assert "midnight blue" in said.prompt
    assert "nocturnal" in said.tags
    assert said.title
    assert len(set(said.tags)) == len(said.tags)
    assert describe(photo("bright")).tags[0] == "bright"
