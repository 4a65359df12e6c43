"""Every change identity can make: lock, decide, save, announce."""

from identity.commands.people import change_people, log_in_through_wechat, register_people, replay
from identity.commands.sessions import revoke

__all__ = ["change_people", "log_in_through_wechat", "register_people", "replay", "revoke"]
