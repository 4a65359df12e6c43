"""The last hands on a song: echo, room, tone, loudness after ITU-R BS.1770, a soft limiter, faded ends."""

# mypy: disable-error-code="no-any-return"
# numpy types an indexed array as Any, and nearly every line here ends in one.

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from generation.providers.local.synth import RATE, Mono, Stereo, samples

LOUDNESS_TARGET_LUFS = -14.0
CEILING = 0.84
"""About -1.5 dBFS: a lossy encoder overshoots a little."""
ROOM_SECONDS = 1.5
LIMITER_BLOCK = 32
LIMITER_REACH_BLOCKS = 7
LIMITER_RELEASE_SECONDS = 0.18
LOW_CUT_HERTZ = 32.0


def echo(track: Stereo, seconds: float, *, repeats: int = 3, strength: float = 0.3) -> Stereo:
    """A ping-pong delay: each repeat quieter and on the other side."""
    wet = track.copy()
    for number in range(1, repeats + 1):
        shift = samples(seconds * number)
        if shift >= len(track):
            break
        source = track[:-shift]
        wet[shift:] += (source[:, ::-1] if number % 2 else source) * np.float32(strength**number)
    return wet


@lru_cache(maxsize=2)
def _room() -> npt.NDArray[np.float32]:
    """A small hall: decaying noise, darker as it fades, different left and right."""
    count = samples(ROOM_SECONDS)
    rng = np.random.default_rng(11)
    at = np.arange(count) / RATE
    noise = rng.standard_normal((count, 2))
    dark = np.cumsum(noise, axis=0)
    dark = (dark - np.concatenate([np.zeros((24, 2)), dark[:-24]])) / 24**0.5
    mix = np.clip(at / 0.5, 0, 1)[:, None]
    tail = (noise * (1 - mix) + dark * mix) * np.exp(-at / 0.3)[:, None]
    tail[: samples(0.012)] = 0
    tail *= np.clip((at - 0.012) / 0.02, 0, 1)[:, None]
    return (tail / np.sqrt((tail**2).sum(axis=0))).astype(np.float32)


def _fast_length(count: int) -> int:
    """The next length whose Fourier transform is quick: only factors 2, 3, 5."""
    best = 1 << (count - 1).bit_length()
    for fives in (1, 5, 25, 125):
        for threes in (1, 3, 9, 27):
            odd = fives * threes
            power = odd << max(0, (-(-count // odd) - 1).bit_length())
            best = min(best, power) if power >= count else best
    return best


def k_weighting(frequencies: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Magnitude of BS.1770's two filters (a high shelf of 4 dB, a low cut near 38 Hz), from their analog prototypes."""
    at = np.maximum(frequencies, 1e-3) / 1681.97
    gain = 10 ** (3.99984 / 20)
    s = 1j * at
    root, quality = gain**0.4996667, 0.7071752
    shelf = (gain * s * s + root / quality * s + 1) / (s * s + s / quality + 1)
    low = 1j * np.maximum(frequencies, 1e-3) / 38.1355
    cut = low * low / (low * low + low / 0.5003270 + 1)
    return np.abs(shelf * cut).astype(np.float32)


def loudness_lufs(sound: Stereo, rate: int = RATE) -> float:
    """Gated integrated loudness of a whole file."""
    count = _fast_length(len(sound) + rate // 10)
    weights = k_weighting(np.fft.rfftfreq(count, 1 / rate))
    weighted = np.fft.irfft(np.fft.rfft(sound, count, axis=0) * weights[:, None], count, axis=0)[: len(sound)]
    return _gated(weighted, rate)


def _gated(weighted: npt.NDArray[np.floating], rate: int) -> float:
    power = (weighted.astype(np.float64) ** 2).sum(axis=1)
    hop, block = rate // 10, 4 * (rate // 10)
    sums = np.concatenate([[0.0], np.cumsum(power)])
    starts = np.arange(0, max(1, len(power) - block), hop)
    means = (sums[np.minimum(starts + block, len(power))] - sums[starts]) / block
    levels = -0.691 + 10 * np.log10(np.maximum(means, 1e-12))
    heard = means[levels > -70]
    if not len(heard):
        return -70.0
    gate = -0.691 + 10 * np.log10(heard.mean()) - 10
    kept = heard[-0.691 + 10 * np.log10(heard) > gate]
    return float(-0.691 + 10 * np.log10(kept.mean()))


def mix_down(dry: Stereo, send: Stereo) -> tuple[Stereo, float]:
    """Room on what was sent to it, the low end cut, all in one transform. Gives back the mix and its loudness."""
    count = _fast_length(len(dry) + samples(ROOM_SECONDS))
    at = np.fft.rfftfreq(count, 1 / RATE)
    tone = (1 / np.sqrt(1 + (LOW_CUT_HERTZ / np.maximum(at, 1e-3)) ** 8)).astype(np.float32)
    tone *= (1 + 0.1 * (1 / (1 + (3_500 / np.maximum(at, 1)) ** 2))).astype(np.float32)
    weights = k_weighting(at)
    sides, weighted = [], []
    for side in (0, 1):
        spectrum = np.fft.rfft(dry[:, side], count) + np.fft.rfft(send[:, side], count) * np.fft.rfft(_room()[:, side], count)
        spectrum *= tone
        sides.append(np.fft.irfft(spectrum, count)[: len(dry)])
        weighted.append(np.fft.irfft(spectrum * weights, count)[: len(dry)])
    return np.stack(sides, axis=1).astype(np.float32), _gated(np.stack(weighted, axis=1), RATE)


def limit(sound: Stereo) -> Stereo:
    """Look ahead a few milliseconds, lean back before the peak, recover slowly; no sample passes the ceiling."""
    blocks = -(-len(sound) // LIMITER_BLOCK)
    padded = np.zeros(blocks * LIMITER_BLOCK, dtype=np.float32)
    padded[: len(sound)] = np.abs(sound).max(axis=1)
    peaks = padded.reshape(blocks, LIMITER_BLOCK).max(axis=1)
    need = np.minimum(1.0, CEILING / np.maximum(peaks, 1e-6))
    held = need.copy()
    for shift in range(1, LIMITER_REACH_BLOCKS + 1):
        held[shift:] = np.minimum(held[shift:], need[:-shift])
        held[:-shift] = np.minimum(held[:-shift], need[shift:])
    window = np.ones(LIMITER_REACH_BLOCKS) / LIMITER_REACH_BLOCKS
    smooth = np.convolve(np.pad(_recovering(held), LIMITER_REACH_BLOCKS // 2, mode="edge"), window, mode="valid")
    middles = (np.arange(blocks) + 0.5) * LIMITER_BLOCK
    gain = np.interp(np.arange(len(sound)), middles, smooth).astype(np.float32)
    return np.clip(sound * gain[:, None], -CEILING, CEILING)


def _recovering(held: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    pace = 1 - np.exp(-LIMITER_BLOCK / RATE / LIMITER_RELEASE_SECONDS)
    gain, result = 1.0, np.empty(len(held))
    for place, ask in enumerate(held.tolist()):
        gain = min(ask, gain + (1 - gain) * pace)
        result[place] = gain
    return result


def master(dry: Stereo, send: Stereo, *, fade_out_seconds: float) -> Stereo:
    """To the target loudness under the ceiling, starting and ending at silence, without DC."""
    mixed, before = mix_down(dry, send)
    tail = samples(fade_out_seconds)
    curve: Mono = (0.5 + 0.5 * np.cos(np.linspace(0, np.pi, tail))).astype(np.float32)
    mixed[-tail:] *= curve[:, None]
    mixed[: samples(0.004)] *= np.linspace(0, 1, samples(0.004), dtype=np.float32)[:, None]
    gain_db = LOUDNESS_TARGET_LUFS - before
    limited = mixed
    for _ in range(2):
        limited = limit(mixed * np.float32(10 ** (gain_db / 20)))
        gain_db += min(3.0, LOUDNESS_TARGET_LUFS - loudness_lufs(limited))
    return limit(mixed * np.float32(10 ** (gain_db / 20)))
