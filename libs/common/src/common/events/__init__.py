"""The facts: the contract between services and with other teams."""

from common.events.base import Event, Fact
from common.events.catalog import BY_TOPIC, FACTS, groups_of
from common.events.credits import CreditsChanged
from common.events.deliveries import DeliveryRequested
from common.events.orders import MembershipChanged, OrderExpired, OrderPaid, OrderRefunded
from common.events.scenes import ConfigChanged, SceneChanged
from common.events.sessions import SessionRevoked
from common.events.tasks import Item, TaskCancelled, TaskCompleted, TaskCreated, TaskEnded, TaskFailed, TaskProgressed
from common.events.users import UserRegistered, UserUpdated
from common.events.works import WorkCreated, WorkDeleted, WorkLiked, WorkPlayed, WorkUpdated

__all__ = [
    "BY_TOPIC",
    "FACTS",
    "ConfigChanged",
    "CreditsChanged",
    "DeliveryRequested",
    "Event",
    "Fact",
    "Item",
    "MembershipChanged",
    "OrderExpired",
    "OrderPaid",
    "OrderRefunded",
    "SceneChanged",
    "SessionRevoked",
    "TaskCancelled",
    "TaskCompleted",
    "TaskCreated",
    "TaskEnded",
    "TaskFailed",
    "TaskProgressed",
    "UserRegistered",
    "UserUpdated",
    "WorkCreated",
    "WorkDeleted",
    "WorkLiked",
    "WorkPlayed",
    "WorkUpdated",
    "groups_of",
]
