"""Facts about what operators set in generation: scenes and settings. Hints for its own replicas, and news for whoever keeps a copy."""

from typing import Any, ClassVar, Literal

from common.events.base import SELDOM, Fact, Service


class SceneChanged(Fact):
    """A scene is another now, or gone."""

    topic: ClassVar[str] = "scene.changed"
    partitions: ClassVar[int] = SELDOM
    owner: ClassVar[Service] = "generation"
    broadcast: ClassVar[tuple[Service, ...]] = ("generation",)
    example: ClassVar[dict[str, Any]] = {"sequence": 2, "scene_id": "paris-street", "change": "changed"}

    scene_id: str
    change: Literal["created", "changed", "deleted"]

    @property
    def subject(self) -> str:
        return f"scene/{self.scene_id}"


class ConfigChanged(Fact):
    """A setting of generation is another now; its value is asked of its owner."""

    topic: ClassVar[str] = "config.changed"
    partitions: ClassVar[int] = SELDOM
    owner: ClassVar[Service] = "generation"
    broadcast: ClassVar[tuple[Service, ...]] = ("generation",)
    audience: ClassVar[Literal["internal", "partner"]] = "internal"
    example: ClassVar[dict[str, Any]] = {"sequence": 1, "config_key": "queue_concurrency"}

    config_key: str

    @property
    def subject(self) -> str:
        return f"config/{self.config_key}"
