"""What processes cost: CPU seconds and memory by label, read from /proc."""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")

Roots = Mapping[str, Sequence[int]]
"""Label -> the processes that carry it; their descendants count with the nearest labelled ancestor."""


@dataclass(frozen=True)
class Stat:
    """One process: its parent, and the CPU it and its ended children have used."""

    parent: int
    cpu_seconds: float


@dataclass(frozen=True)
class Memory:
    """What a label's processes hold in RAM; pss shares common pages among their users."""

    rss_bytes: int
    pss_bytes: int


def read_stats() -> dict[int, Stat]:
    """Every process of this machine."""
    stats = {}
    for name in os.listdir(PROC):
        if name.isdigit() and (stat := _read_stat(int(name))) is not None:
            stats[int(name)] = stat
    return stats


def _read_stat(pid: int) -> Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(b")") + 2 :].split()  # the name may hold spaces and brackets
    ticks = sum(int(field) for field in fields[11:15])  # utime, stime, and both of the children it has waited for
    return Stat(parent=int(fields[1]), cpu_seconds=ticks / TICKS_PER_SECOND)


def members(roots: Roots, stats: Mapping[int, Stat]) -> dict[str, list[int]]:
    """Each label's living processes."""
    label_of = {pid: label for label, pids in roots.items() for pid in pids}
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    found: dict[str, list[int]] = {label: [] for label in roots}
    for root, label in label_of.items():
        if root not in stats:
            continue
        waiting = [root]
        while waiting:
            pid = waiting.pop()
            found[label].append(pid)
            waiting += [child for child in children.get(pid, ()) if child not in label_of]
    return found


def cpu_seconds(roots: Roots) -> dict[str, float]:
    """CPU used so far, by label."""
    stats = read_stats()
    return {label: sum(stats[pid].cpu_seconds for pid in pids) for label, pids in members(roots, stats).items()}


def memory(roots: Roots) -> dict[str, Memory]:
    """Memory now, by label."""
    return {label: _memory(pids) for label, pids in members(roots, read_stats()).items()}


def _memory(pids: Iterable[int]) -> Memory:
    rss = pss = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("Rss:", "Pss:"))}
        rss += sizes.get("Rss", 0)
        pss += sizes.get("Pss", 0)
    return Memory(rss_bytes=rss, pss_bytes=pss)


def under(folder: Path) -> dict[int, str]:
    """Processes whose command line names the folder, with that command line."""
    found = {}
    for pid in read_stats():
        if (line := command_line(pid)) and str(folder) in line:
            found[pid] = line
    return found


def command_line(pid: int) -> str:
    """The process's arguments joined by spaces; empty when it is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


async def settle(roots: Roots, *, share_max: float = 0.08, slice_seconds: float = 0.5, seconds_max: float = 30.0) -> float:
    """Wait until the processes are idle (below share_max of one core); how long that took."""
    began = time.monotonic()
    before = sum(cpu_seconds(roots).values())
    while time.monotonic() - began < seconds_max:
        await asyncio.sleep(slice_seconds)
        now = sum(cpu_seconds(roots).values())
        if now - before < share_max * slice_seconds:
            break
        before = now
    return time.monotonic() - began
