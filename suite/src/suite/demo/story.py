"""What happens in the demo, in order; it knows nothing of the console."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from suite.demo.checks import Check, check_audit, check_books, check_frames, check_hash, check_pictures, check_song, failed
from suite.demo.keepsakes import Keepsakes
from suite.demo.listener import Frame, Listener, listening
from suite.demo.visitor import Money, Visitor
from suite.home import SuiteError
from suite.operator import Operator

PICTURES = 4
TASKS_SECONDS_MAX = 180
AFTERMATH_SECONDS_MAX = 15

Say = Callable[[str], None]
OnProgress = Callable[[str, int, str], None]
"""Called with (which task, percent, what is being done)."""


@dataclass
class Story:
    """Everything that is known at the end."""

    visitor: str = ""
    before: Money = field(default_factory=lambda: Money(0, 0))
    after: Money = field(default_factory=lambda: Money(0, 0))
    tasks: dict[str, str] = field(default_factory=dict)
    """Task ids by name: pictures, song."""
    ordered_at: dict[str, float] = field(default_factory=dict)
    holds: dict[str, dict[str, Any]] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    times: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    """By task: states and the seconds after the order at which the visitor learnt of each."""
    checks: list[Check] = field(default_factory=list)
    song_title: str = ""


async def live(operator: Operator, url: str, photo: bytes, keepsakes: Keepsakes, *, say: Say, on_progress: OnProgress) -> Story:
    """Sign up, upload, order, watch, download, check. Raises SuiteError when something is refused or fails."""
    story = Story()
    say(f"A photo is drawn: {keepsakes.keep('input-photo.jpg', photo)}")
    facts_before = await operator.facts_told()
    async with Visitor(url) as visitor:
        await visitor.sign_up()
        story.visitor, story.before = visitor.name, await visitor.money()
        say(f"{visitor.name} signs up and is given {story.before.credits} credits and {story.before.points} points")
        names: dict[str, str] = {}

        def on_frame(frame: Frame) -> None:
            name = names.get(str(frame.get("task_id")))
            if name is not None:
                _show(name, frame, on_progress)

        async with listening(visitor, on_frame) as listener:
            await _order(visitor, photo, story, names, say)
            await _watch(listener, story)
            await _wait_for_aftermath(listener, story)
        await _collect(visitor, story, keepsakes, photo)
        story.after = await visitor.money()
        story.holds = await operator.holds(list(story.tasks.values()))
        facts_after = await operator.facts_told()
        story.facts = {topic: count - facts_before.get(topic, 0) for topic, count in sorted(facts_after.items()) if count > facts_before.get(topic, 0)}
        story.facts["task.progressed"] = sum(len(listener.of("task_progress", task_id)) for task_id in story.tasks.values())
        story.checks += check_frames(listener, story.tasks)
        story.checks += await _check_money(visitor, operator, story)
    return story


def _show(name: str, frame: Frame, on_progress: OnProgress) -> None:
    if frame["type"] == "task_progress":
        on_progress(name, int(frame["progress"]), str(frame.get("message") or ""))
    elif frame["type"] == "task_complete":
        on_progress(name, 100, "completed")


async def _order(visitor: Visitor, photo: bytes, story: Story, names: dict[str, str], say: Say) -> None:
    uploaded = await visitor.upload(photo)
    say(f"The photo is uploaded ({uploaded['file_size'] / 1024:.0f} KiB, its metadata stripped)")
    work_id = await visitor.keep_photo(uploaded["file_url"])
    story.ordered_at["pictures"] = time.monotonic()
    story.tasks["pictures"] = (await visitor.order_pictures(uploaded["file_url"], count=PICTURES))["task_id"]
    names[story.tasks["pictures"]] = "pictures"
    story.ordered_at["song"] = time.monotonic()
    story.tasks["song"] = (await visitor.order_song(work_id))["taskId"]
    names[story.tasks["song"]] = "song"
    say(f"{PICTURES} pictures and a song from the photo are ordered; the socket tells how they go")


async def _watch(listener: Listener, story: Story) -> None:
    """Until both ended; raises SuiteError when one failed or takes too long."""
    in_time = await listener.wait_for(lambda: all(listener.ended(task_id) for task_id in story.tasks.values()), within_seconds=TASKS_SECONDS_MAX)
    for name, task_id in story.tasks.items():
        for kind in ("task_failed", "task_cancelled"):
            for _, frame in listener.of(kind, task_id):
                raise SuiteError(f"The {name} did not come: {failed(frame)}.")
        shift = listener.started_at - story.ordered_at[name]
        running, complete = listener.of("task_progress", task_id), listener.of("task_complete", task_id)
        moments = [("queued", [0.0]), ("running", [at + shift for at, _ in running]), ("completed", [at + shift for at, _ in complete])]
        story.times[name] = [(state, max(0.0, times[0])) for state, times in moments if times]
    if not in_time:
        late = ", ".join(name for name, task_id in story.tasks.items() if not listener.ended(task_id))
        raise SuiteError(f"Still waiting for the {late} after {TASKS_SECONDS_MAX} s; `darkroom status` shows which part is away.")


async def _wait_for_aftermath(listener: Listener, story: Story) -> None:
    """The end of a task is told first; that it was paid and kept is told a moment later."""

    def all_told() -> bool:
        captured = {frame["asset"] for _, frame in listener.of("credits_changed") if frame["kind"] == "captured"}
        return len(captured) == 2 and any(frame["work_id"] == story.tasks["pictures"] for _, frame in listener.of("work_created"))

    await listener.wait_for(all_told, within_seconds=AFTERMATH_SECONDS_MAX)


async def _collect(visitor: Visitor, story: Story, keepsakes: Keepsakes, photo: bytes) -> None:
    """Download everything from the addresses the task's own page gives, and look at it."""
    answer = await visitor.picture_task(story.tasks["pictures"])
    images = sorted((answer["work"] or answer["task"])["images"], key=lambda image: image["batch_index"])
    pictures = []
    for number, image in enumerate(images, start=1):
        body, _ = await visitor.download(image["url"])
        keepsakes.keep(f"picture-{number}.webp", body)
        story.checks.append(check_hash(f"picture-{number}.webp", body, image["url"]))
        pictures.append(body)
    story.checks += await asyncio.to_thread(check_pictures, pictures, PICTURES)
    song = await visitor.song_task(story.tasks["song"])
    body, content_type = await visitor.download(song["audioUrl"])
    path = keepsakes.keep_song(body, content_type)
    story.checks.append(check_hash(path.name, body, song["audioUrl"]))
    story.checks += await asyncio.to_thread(check_song, body)
    cover = (await visitor.download(song["imageUrl"]))[0] if song.get("imageUrl") else None
    await asyncio.to_thread(keepsakes.keep_sheet, photo, cover, pictures)
    story.song_title = str(song.get("title") or (song.get("params") or {}).get("title") or "")


async def _check_money(visitor: Visitor, operator: Operator, story: Story) -> list[Check]:
    prices = {"pictures": PICTURES, "song": 100}
    spent = {"pictures": story.before.credits - story.after.credits, "song": story.before.points - story.after.points}
    checks = [
        Check(
            f"the {name} cost {price}, and the hold of {price} was captured whole",
            spent[name] == price and _captured(story, name) == price,
            f"{spent[name]} spent, {story.holds.get(story.tasks[name])}",
        )
        for name, price in prices.items()
    ]
    records, history = await visitor.credit_records(), await visitor.points_history()
    checks.append(check_books(records, available=story.after.credits, name="credits", amount="amount", after="balance_after"))
    checks.append(check_books(history, available=story.after.points, name="points", amount="amount", after="balance"))
    checks.append(check_audit(await operator.audit()))
    return checks


def _captured(story: Story, name: str) -> int:
    hold = story.holds.get(story.tasks[name], {})
    return int(hold.get("captured_amount", 0)) if hold.get("state") == "captured" else 0
