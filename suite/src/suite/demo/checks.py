"""What the demo checks of what it shows: files, books, frames. Each check is a sentence that is true or not."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from suite.demo.listener import Frame, Listener

DIFFERENCE_MIN = 8
SONG_SECONDS_MIN = 15
LOUDNESS_MIN = 0.02


@dataclass(frozen=True)
class Check:
    """One sentence and whether it holds; `seen` is what was found when it does not."""

    sentence: str
    holds: bool
    seen: str = ""


def check_hash(name: str, body: bytes, url: str) -> Check:
    """The name of a stored file ends in the sha256 of its bytes."""
    promised = re.findall(r"[0-9a-f]{64}", url.partition("?")[0])
    found = hashlib.sha256(body).hexdigest()
    return Check(f"{name} has the bytes its address promises", bool(promised) and promised[-1] == found, f"{found} at {url.partition('?')[0]}")


def check_pictures(pictures: list[bytes], asked: int) -> list[Check]:
    """All decode, and no two are alike: the mean difference at 64 x 64 pixels is more than 8 of 255."""
    small = [np.asarray(_open(body).convert("RGB").resize((64, 64)), np.float32) for body in pictures]
    closest = min((float(np.abs(a - b).mean()) for a, b in itertools.combinations(small, 2)), default=0.0)
    return [
        Check(f"all {asked} pictures came and decode", len(pictures) == asked, f"{len(pictures)} came"),
        Check(f"no two pictures are alike (closest pair differs by {closest:.0f} of 255)", closest > DIFFERENCE_MIN, f"{closest:.1f}"),
    ]


def check_song(body: bytes) -> list[Check]:
    """It decodes, is stereo and long enough, and is neither silence nor noise at full scale."""
    sound, rate = soundfile.read(io.BytesIO(body), always_2d=True)
    seconds, channels = len(sound) / rate, sound.shape[1]
    loud, wide = float(np.sqrt((sound**2).mean())), float(np.abs(sound[:, 0] - sound[:, -1]).max())
    return [
        Check(f"the song decodes: {seconds:.0f} s, {channels} channels, {rate} Hz", channels == 2 and seconds >= SONG_SECONDS_MIN, f"{seconds:.1f} s"),
        Check("the song is music, not silence: it sounds, and left is not right", loud > LOUDNESS_MIN and wide > LOUDNESS_MIN, f"{loud:.3f}, {wide:.3f}"),
    ]


def check_frames(listener: Listener, tasks: dict[str, str]) -> list[Check]:
    """Every task was told as it went and as it ended; stored frames have no gap; money was told too."""
    checks = []
    for name, task_id in tasks.items():
        steps = [frame["progress"] for _, frame in listener.of("task_progress", task_id)]
        checks.append(Check(f"the socket showed the {name} rising ({len(steps)} steps)", bool(steps) and steps == sorted(steps), str(steps)))
        checks.append(
            Check(f"the socket told the end of the {name} once", len(listener.of("task_complete", task_id)) == 1, str(listener.of("task_failed", task_id)))
        )
    stored = [frame for _, frame in listener.frames if "seq" in frame]
    numbers = [frame["seq"] for frame in stored]
    wanted = list(range(listener.first_seq + 1, listener.first_seq + 1 + len(numbers)))
    checks.append(Check(f"the feed has no gap ({len(numbers)} stored frames)", numbers == wanted and len(numbers) > 0, str(numbers)))
    works = [frame["work_id"] for frame in stored if frame["type"] == "work_created"]
    checks.append(Check("the socket told of the new work", tasks["pictures"] in works, str(works)))
    kinds = {(frame["asset"], frame["kind"]) for _, frame in listener.of("credits_changed")}
    wanted_kinds = {(asset, kind) for asset in ("credit", "point") for kind in ("held", "captured")}
    checks.append(Check("the socket told of credits and points held and captured", wanted_kinds <= kinds, str(sorted(kinds))))
    return checks


def check_books(records: list[dict[str, Any]], *, available: int, name: str, amount: str, after: str) -> Check:
    """The records, newest first, run from nothing to what is available without a jump."""
    running = 0
    for record in reversed(records):
        running += record[amount]
        if record[after] != running:
            return Check(f"every record of {name} adds up", False, f"{record} after {running}")
    return Check(f"every record of {name} adds up ({len(records)} records)", running == available, f"{running} in the records, {available} available")


def check_audit(audit: dict[str, Any]) -> Check:
    """Billing's own audit finds nothing: every number of it that must be 0 is."""
    counts: dict[str, int] = audit["disagreements"]
    wrong = {name: count for name, count in counts.items() if count != 0}
    sentence = f"billing's audit of the whole ledger finds nothing wrong ({len(counts)} questions)"
    return Check(sentence, bool(counts) and not wrong and audit["sound"] is True, str(wrong))


def failed(frame: Frame) -> str:
    """Why a task failed, as the socket told it."""
    return str(frame.get("error") or frame.get("reason") or frame.get("type"))


def _open(body: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(body))
    image.load()
    return image
