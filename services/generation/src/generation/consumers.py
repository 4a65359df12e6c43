"""What generation hears: its own news, from every replica, to wake its workers."""

from collections.abc import Sequence

from common.bus.consumer import Subscriptions
from common.events import ConfigChanged, Event, SceneChanged, SessionRevoked, TaskCreated
from common.revocations import on_session_revoked
from generation.deps import Deps

subscriptions = Subscriptions(group="generation")
subscriptions.overhear(SessionRevoked)(on_session_revoked)


@subscriptions.overhear(TaskCreated)
async def on_task_created(deps: Deps, events: Sequence[Event[TaskCreated]]) -> None:
    """Look for work. A hint: hearing it twice claims nothing twice, and what is missed is found by the idle poll."""
    for songs in {event.fact.kind == "song" for event in events}:
        deps.workers.heard_of([event.fact.task_id for event in events if (event.fact.kind == "song") == songs], songs=songs)


@subscriptions.overhear(SceneChanged)
async def on_scene_changed(deps: Deps, events: Sequence[Event[SceneChanged]]) -> None:
    """Some replica changed a scene: the next asker reads them anew."""
    deps.scenes.forget()


@subscriptions.overhear(ConfigChanged)
async def on_config_changed(deps: Deps, events: Sequence[Event[ConfigChanged]]) -> None:
    """Some replica changed a setting. What is missed is read a moment later anyway. It may be that more can begin now."""
    await deps.config.read()
    deps.workers.wake(songs=False)
