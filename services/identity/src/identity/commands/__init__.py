"""Every change identity can make: lock, decide, save, announce."""

from identity.commands.guesses import forgive_guesses, take_guesses
from identity.commands.links import answer_reset_requests, request_links, set_passwords, verify_addresses
from identity.commands.people import begin_changes, change_people, log_in_through_wechat, register_people, replay
from identity.commands.sessions import begin_sessions, end_sessions, refresh_sessions, revoke

__all__ = [
    "answer_reset_requests",
    "begin_changes",
    "begin_sessions",
    "change_people",
    "end_sessions",
    "forgive_guesses",
    "log_in_through_wechat",
    "refresh_sessions",
    "register_people",
    "replay",
    "request_links",
    "revoke",
    "set_passwords",
    "take_guesses",
    "verify_addresses",
]
