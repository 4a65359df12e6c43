"""Waiting callers become batches: sign-ups, people by id, and the question to billing."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from common.client import ServiceClient
from common.db import Database
from common.errors import ServiceError, Unauthorized
from common.ids import UserId
from common.lane import Lane
from identity import clients, commands, store
from identity.domain import NewSession, Person, Purse, Refresh, Refreshed, Registered, Registration, WechatLogin, WechatPerson


def signup_lane(db: Database) -> Lane[Registration, Registered]:
    return Lane(partial(_register, db), name="sign-ups", batch_max=64)


def wechat_lane(db: Database) -> Lane[WechatLogin, WechatPerson]:
    return Lane(partial(_log_in, db), name="wechat logins", batch_max=64)


def seen_lane(db: Database) -> Lane[UserId, None]:
    return Lane(partial(_mark_seen, db), name="seen")


def sessions_lane(db: Database) -> Lane[NewSession, UUID]:
    return Lane(partial(_begin_sessions, db), name="sessions")


def refreshes_lane(db: Database) -> Lane[Refresh, Refreshed]:
    return Lane(partial(_refresh_sessions, db), name="refreshes")


def people_lane(db: Database) -> Lane[UserId, Person]:
    return Lane(partial(_list_people, db), name="people")


def purse_lane(billing: ServiceClient, *, deadline_seconds: float) -> Lane[UserId, Purse]:
    return Lane(partial(_list_purses, billing, deadline_seconds), name="purses", batch_max=100, flushers=2, deadline_seconds=deadline_seconds)


async def _register(db: Database, asks: Sequence[Registration]) -> Sequence[Registered | ServiceError]:
    async with db.transaction() as tx:
        return await commands.register_people(tx, asks)


async def _log_in(db: Database, asks: Sequence[WechatLogin]) -> Sequence[WechatPerson | ServiceError]:
    async with db.transaction() as tx:
        return await commands.log_in_through_wechat(tx, asks)


async def _mark_seen(db: Database, asks: Sequence[UserId]) -> Sequence[None]:
    async with db.read() as conn:
        await store.mark_seen(conn, sorted(set(asks)), db.clock.now())
    return [None] * len(asks)


async def _begin_sessions(db: Database, asks: Sequence[NewSession]) -> Sequence[UUID | ServiceError]:
    async with db.transaction() as tx:
        return await commands.begin_sessions(tx, asks)


async def _refresh_sessions(db: Database, asks: Sequence[Refresh]) -> Sequence[Refreshed | ServiceError]:
    async with db.transaction() as tx:
        return await commands.refresh_sessions(tx, asks)


async def _list_people(db: Database, asks: Sequence[UserId]) -> Sequence[Person | ServiceError]:
    async with db.read() as conn:
        found = await store.list_people(conn, list(set(asks)))
    return [found.get(user_id) or Unauthorized("the account is gone") for user_id in asks]


async def _list_purses(billing: ServiceClient, deadline_seconds: float, asks: Sequence[UserId]) -> Sequence[Purse | ServiceError]:
    people = list(dict.fromkeys(asks))
    purses = dict(zip(people, await clients.list_purses(billing, people, deadline_seconds=deadline_seconds), strict=True))
    return [purses[user_id] for user_id in asks]
