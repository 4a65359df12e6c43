"""Every fact there is, with owner and hearers; the one list that topics, docs and the memory bus are made from."""

from common.events.base import Fact
from common.events.credits import CreditsChanged
from common.events.deliveries import DeliveryRequested
from common.events.orders import MembershipChanged, OrderExpired, OrderPaid, OrderRefunded
from common.events.scenes import ConfigChanged, SceneChanged
from common.events.sessions import SessionRevoked
from common.events.tasks import TaskCancelled, TaskCompleted, TaskCreated, TaskFailed, TaskProgressed
from common.events.users import UserRegistered, UserUpdated
from common.events.works import WorkCreated, WorkDeleted, WorkLiked, WorkPlayed, WorkUpdated

FACTS: tuple[type[Fact], ...] = (
    UserRegistered,
    UserUpdated,
    SessionRevoked,
    DeliveryRequested,
    TaskCreated,
    TaskProgressed,
    TaskCompleted,
    TaskFailed,
    TaskCancelled,
    WorkCreated,
    WorkUpdated,
    WorkDeleted,
    WorkPlayed,
    WorkLiked,
    SceneChanged,
    ConfigChanged,
    CreditsChanged,
    OrderPaid,
    OrderRefunded,
    OrderExpired,
    MembershipChanged,
)

BY_TOPIC: dict[str, type[Fact]] = {fact.topic: fact for fact in FACTS}


def groups_of(topic: str) -> tuple[str, ...]:
    """The consumer groups that must have heard a record before it may be forgotten; none for an unknown topic."""
    fact = BY_TOPIC.get(topic)
    return fact.groups if fact is not None else ()
